use std::fmt;

use thiserror::Error;
use topk_calibration::LogitsError;
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
        "{model} has {expected} classes but the data has {found}{with_images}. {hint}pass a file with the \
         output of the model for each class as --class-map, one per line:\n{example}"
    )]
    Classes {
        /// The model file.
        model: String,
        /// Number of classes of the model.
        expected: usize,
        /// Number of classes of the data.
        found: usize,
        /// How many of these have images, if not all.
        with_images: String,
        /// When which flag is right.
        hint: &'static str,
        /// Lines of a class map.
        example: String,
    },
    /// The model and the data have different classes.
    #[error(
        "the data has images of the class `{found}`, which {model} does not name, or not uniquely (its class \
         {class} is `{expected}`). If they are the same classes under other names, pass the output of each class with \
         --class-map"
    )]
    ClassName {
        /// The model file.
        model: String,
        /// The name in the data.
        found: String,
        /// Index of the class.
        class: usize,
        /// Its name in the model.
        expected: String,
    },
    /// Two classes of the data have the same class of the model.
    #[error(
        "two classes of the data match `{name}` of {model}; pass the output of each class with --class-map"
    )]
    SharedClass {
        /// The model file.
        model: String,
        /// The name in the model.
        name: String,
    },
    /// The order of class folders depends on folders without images.
    #[error("{0}")]
    ClassFolders(String),
    /// Two models have their classes in ways that do not fit into one set of results.
    #[error(
        "{first} and {second} have different classes, or in orders that cannot be combined; evaluate them in \
         separate runs"
    )]
    ClassOrders {
        /// A model file.
        first: String,
        /// Another.
        second: String,
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
    /// Logits cannot be kept.
    #[error(transparent)]
    Logits(#[from] LogitsError),
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
