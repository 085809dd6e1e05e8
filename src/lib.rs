//! Trains image classifiers for top-k accuracy: the library of the `topk-train` command.
//!
//! [`train`] takes a [`Config`] and leaves, in a folder of its own, a log, the best checkpoints and
//! their ONNX models. Everything random follows from the configuration's seed, whatever the number
//! of threads that prepare the images.

pub mod args;
mod augment;
mod batches;
mod config;
mod evaluate;
mod label_noise;
mod log;
mod models;
mod progress;
mod random;
mod schedule;
mod split;
mod training;
mod training_loss;

use std::io;
use std::path::PathBuf;

use thiserror::Error;
use topk_data::DataError;
use topk_models::{ArchitectureError, CheckpointError, ExportError, LoadError, MatchError};
use topk_native::RuntimeError;
use topk_ops::LossError;
use topk_ops_tch::{DeviceError, TensorLossError};
use topk_weights::WeightsError;

pub use config::{Config, DataSet, LossKind};
pub use evaluate::label_ranks;
pub use label_noise::NoiseError;
pub use models::models;
pub use schedule::Schedule;
pub use split::SplitError;
pub use training::train;

/// Why training cannot start or go on.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum TrainError {
    /// The data set cannot be read.
    #[error(transparent)]
    Data(#[from] DataError),
    /// It cannot be split as asked.
    #[error(transparent)]
    Split(#[from] SplitError),
    /// Its labels cannot be made noisy as asked.
    #[error(transparent)]
    Noise(#[from] NoiseError),
    /// There is no such network.
    #[error(transparent)]
    Architecture(#[from] ArchitectureError),
    /// The device cannot be used.
    #[error(transparent)]
    Device(#[from] DeviceError),
    /// The loss cannot be had with these settings or this number of classes.
    #[error(transparent)]
    Loss(#[from] LossError),
    /// k is out of range for top-k accuracy.
    #[error("--topk {k} is more than the {classes} classes of the data set")]
    TopK {
        /// The k asked for.
        k: usize,
        /// Number of classes.
        classes: usize,
    },
    /// The loss of a batch could not be computed.
    #[error(
        "epoch {epoch}, batch {batch}: {error}. Scores that are not finite mean that the training \
         has diverged: try a lower --lr"
    )]
    Step {
        /// The epoch, from 1.
        epoch: usize,
        /// The batch in the epoch, from 1.
        batch: usize,
        /// What is wrong.
        error: TensorLossError,
    },
    /// The network gives NaN for an image.
    #[error(
        "after epoch {epoch}, the scores of {part} image {image} are NaN: the training has \
         diverged, try a lower --lr"
    )]
    NanScores {
        /// The epoch, from 1.
        epoch: usize,
        /// Which images: validation or test.
        part: &'static str,
        /// Index of the image among them.
        image: usize,
    },
    /// The folder already holds a run.
    #[error(
        "{} already holds a run (it has a {}): choose another --out, or remove it",
        .0.display(),
        log::FILE
    )]
    OutputExists(PathBuf),
    /// A file or folder cannot be written.
    #[error("cannot write {}: {error}", path.display())]
    Write {
        /// The file or folder.
        path: PathBuf,
        /// What the system says.
        error: io::Error,
    },
    /// The weights to start from are not the network's.
    #[error("{}: {error}\n--head new starts with a new last layer", path.display())]
    Pretrained {
        /// Their file.
        path: PathBuf,
        /// What is wrong with them.
        error: MatchError,
    },
    /// A file of weights cannot be read, or a checkpoint not written.
    #[error(transparent)]
    Weights(#[from] WeightsError),
    /// A checkpoint cannot be read back.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// A checkpoint has become one of another network.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// The models to be exported cannot be verified.
    #[error(transparent)]
    Runtime(#[from] RuntimeError),
    /// A checkpoint cannot be exported.
    #[error(transparent)]
    Export(#[from] ExportError),
}
