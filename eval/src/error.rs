use std::fmt;

use thiserror::Error;
use topk_data::DataError;
use topk_native::RuntimeError;
use topk_preprocessing::PreprocessingError;
use topk_report::text::one_line;
use topk_results::{InvalidResults, ScoreError};

use crate::model::ModelError;
use crate::pipeline::{MemoryError, SizeError};
use crate::transform::TransformError;

/// An evaluation that is not possible, or failed.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum EvaluationError {
    /// The model and the data have different numbers of classes.
    #[error(
        "{model} has {expected} classes but the data has {found}: the model and the data set do not \
         match (map the classes with --class-map or --valid-labels)"
    )]
    Classes {
        /// The model file.
        model: String,
        /// Number of classes of the model.
        expected: usize,
        /// Number of classes of the data.
        found: usize,
    },
    /// The model and the data have different classes.
    #[error(
        "class {class} is `{expected}` in {model} but `{found}` in the data: the model and the data \
         set do not match"
    )]
    ClassName {
        /// The model file.
        model: String,
        /// Index of the first class that differs.
        class: usize,
        /// Its name in the model.
        expected: String,
        /// Its name in the data.
        found: String,
    },
    /// The number of class names is wrong.
    #[error("{names} has {found} names, but {model} has {expected} classes")]
    ClassNames {
        /// The file of names.
        names: String,
        /// Names in it.
        found: usize,
        /// The model file.
        model: String,
        /// Number of classes of the model.
        expected: usize,
    },
    /// k is out of range.
    #[error("--topk {k} is larger than the number of classes, {classes}")]
    TopK {
        /// The requested k.
        k: usize,
        /// Number of valid classes.
        classes: usize,
    },
    /// The scores of a model are invalid.
    #[error("{model}: {error}")]
    Score {
        /// The model file.
        model: String,
        /// The cause.
        error: ScoreError,
    },
    /// The preprocessing is unknown or does not fit the model.
    #[error(transparent)]
    Transform(#[from] TransformError),
    /// A preprocessing setting is out of range.
    #[error(transparent)]
    Preprocessing(#[from] PreprocessingError),
    /// Preprocessed images do not have the size of the model's input.
    #[error(transparent)]
    Size(#[from] SizeError),
    /// A model failed.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// The data set cannot be read.
    #[error(transparent)]
    Data(#[from] DataError),
    /// ONNX Runtime is not available.
    #[error(transparent)]
    Runtime(#[from] RuntimeError),
    /// Images cannot be evaluated, and [`OnBadImage::Fail`](crate::OnBadImage::Fail) is set.
    #[error(transparent)]
    BadImages(BadImages),
    /// A batch does not fit into memory.
    #[error(transparent)]
    Memory(#[from] MemoryError),
    /// The results contradict themselves; this is a bug.
    #[error(transparent)]
    Results(#[from] InvalidResults),
}

/// Images that cannot be read, or whose scores are invalid.
#[derive(Debug, Error)]
pub struct BadImages {
    /// Name of each image, and the reason.
    pub images: Vec<(String, String)>,
}

/// One line per image.
impl fmt::Display for BadImages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plural = if self.images.len() == 1 { "" } else { "s" };
        write!(
            f,
            "{} image{plural} cannot be evaluated (use --on-bad-image count-wrong or skip to evaluate the \
             others):",
            self.images.len()
        )?;
        for (name, reason) in &self.images {
            write!(f, "\n  {}: {}", one_line(name), one_line(reason))?;
        }
        Ok(())
    }
}
