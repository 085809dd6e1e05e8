use std::io;
use std::path::PathBuf;

use thiserror::Error;
use topk_files::Placeholder;
use topk_onnx::CardError;

use crate::provider::Provider;

/// A model that cannot be loaded or run.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ModelError {
    /// The file cannot be read.
    #[error("cannot read the model {}: {error}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The cause.
        error: io::Error,
    },
    /// The file is not a model, but was left by a download that failed or did not take place.
    #[error("cannot load the ONNX model {}: the file is {found}", path.display())]
    Placeholder {
        /// The file.
        path: PathBuf,
        /// What it is.
        found: Placeholder,
    },
    /// A file with weights of the model cannot be used.
    #[error(
        "cannot load the ONNX model {}: the file with its weights, `{location}`, {reason}",
        path.display()
    )]
    ExternalData {
        /// The model file.
        path: PathBuf,
        /// The other file, as the model names it.
        location: String,
        /// What is wrong with it.
        reason: String,
    },
    /// ONNX Runtime cannot load the file.
    #[error("cannot load the ONNX model {}: {reason}", path.display())]
    Load {
        /// The file.
        path: PathBuf,
        /// ONNX Runtime's message.
        reason: String,
    },
    /// The inputs or outputs are not those of an image classifier.
    #[error("{} is not a supported image classifier: {reason}", path.display())]
    Signature {
        /// The file.
        path: PathBuf,
        /// The mismatch.
        reason: String,
    },
    /// The requested output does not exist, or cannot be scores.
    #[error("--output {output}: {reason} in {}", path.display())]
    Output {
        /// The file.
        path: PathBuf,
        /// The requested output.
        output: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The label offset leaves no classes.
    #[error(
        "--label-offset {offset} leaves no classes of the {outputs} outputs of {}",
        path.display()
    )]
    LabelOffset {
        /// The file.
        path: PathBuf,
        /// The offset.
        offset: usize,
        /// Number of outputs.
        outputs: usize,
    },
    /// It is not known whether the labels count a background class.
    #[error(
        "{} has 1001 outputs, as models with a background class have, and the numbers of the labels do not \
         show whether they count that class: pass --label-offset 1 if they are ImageNet's 0 to 999, or \
         --label-offset 0 if they are indices of the model's outputs",
        path.display()
    )]
    Background {
        /// The file.
        path: PathBuf,
    },
    /// The metadata is invalid.
    #[error("{}: {error}", path.display())]
    Card {
        /// The file.
        path: PathBuf,
        /// The cause.
        error: CardError,
    },
    /// The requested execution provider is not available.
    #[error(
        "cannot use provider {provider}: {reason}. `topk-eval devices` lists providers and what is missing; \
         --provider cpu runs on the CPU"
    )]
    Provider {
        /// The provider.
        provider: Provider,
        /// The cause.
        reason: String,
    },
    /// The images do not fit the input.
    #[cfg(feature = "ndarray")]
    #[error("{} takes images as {expected}, got {found}", path.display())]
    Images {
        /// The file.
        path: PathBuf,
        /// Type and shape of the input.
        expected: String,
        /// Type and shape of the images.
        found: String,
    },
    /// A score is not a probability, as it should be.
    #[cfg(feature = "ndarray")]
    #[error(
        "{}: the score of image {image}, class {class} is {score}, which is not a probability: open the model \
         with the output kind Logits if its scores are logits",
        path.display()
    )]
    NotProbability {
        /// The file.
        path: PathBuf,
        /// Index of the image.
        image: usize,
        /// The class.
        class: usize,
        /// The score.
        score: f32,
    },
    /// A run failed.
    #[error("{} failed while running: {reason}", path.display())]
    Run {
        /// The file.
        path: PathBuf,
        /// ONNX Runtime's message.
        reason: String,
    },
}
