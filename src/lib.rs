//! Trains image classifiers for top-k accuracy: the library of the `topk-train` command.
//!
//! [`train`] takes a [`Config`] and leaves, in a folder of its own, a log, the best checkpoints, their
//! ONNX models and what these reach on the test images. Everything random follows from the
//! configuration's seed, whatever the number of threads that prepare the images, and a run that was
//! stopped at any moment goes on as if it had not been.

pub mod args;
mod conclusion;
mod config;
mod data;
mod dry_run;
mod folder;
mod images;
mod learner;
mod loss;
mod models;
mod progress;
mod ramp;
mod random;
mod recipe;
mod schedule;
mod state;
mod sweep;
mod training;

use std::path::PathBuf;

use tch::TchError;
use thiserror::Error;
use topk_history::{EventsError, RunError};
use topk_models::{ArchitectureError, MatchError};
use topk_models_tch::LoadError;
use topk_native::RuntimeError;
use topk_ops::LossError;
use topk_ops_tch::DeviceError;
use topk_weights::WeightsError;

pub use conclusion::ConclusionError;
pub use config::{Config, ConfigError, OnBad};
pub use data::TrainingDataError;
pub use dry_run::dry_run;
pub use folder::FolderError;
pub use images::{BadImage, PreparationError};
pub use loss::LossSettings;
pub use models::models;
pub use ramp::{ParseRampError, Ramp};
pub use recipe::RecipeError;
pub use schedule::ScheduleKind;
pub use state::StateError;
pub use training::{Outcome, PAGE, Saving, train};

/// Why a run cannot start, go on or end.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum TrainError {
    /// A setting is out of range.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// There is no data to train on.
    #[error(transparent)]
    Data(#[from] TrainingDataError),
    /// An image cannot be used.
    #[error(transparent)]
    BadImage(#[from] BadImage),
    /// The network cannot be made.
    #[error(transparent)]
    Architecture(#[from] ArchitectureError),
    /// The device cannot be had.
    #[error(transparent)]
    Device(#[from] DeviceError),
    /// The loss cannot be computed.
    #[error(transparent)]
    Loss(#[from] LossError),
    /// There are fewer classes than k.
    #[error("--topk {k} is more than the {classes} classes of the data set")]
    TopK {
        /// The k asked for.
        k: usize,
        /// Number of classes.
        classes: usize,
    },
    /// A step would spoil the network.
    #[error(
        "the training has diverged in epoch {epoch}, batch {batch}, at learning rate {lr}: {reason}. \
         The state before is kept. Try a lower --lr, --warmup-epochs or --clip-norm, or leave such steps \
         out with --on-nan skip"
    )]
    Diverged {
        /// From 1.
        epoch: usize,
        /// From 1.
        batch: usize,
        /// Learning rate.
        lr: f64,
        /// What is not finite.
        reason: String,
    },
    /// The scores of an image are NaN.
    #[error(
        "after epoch {epoch}, the scores of validation image {image} are NaN: the training has \
         diverged, try a lower --lr"
    )]
    NanScores {
        /// From 1.
        epoch: usize,
        /// Place of the image among those for validation.
        image: usize,
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
    /// Weights are of another network.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// The folder of the run cannot be used.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// The state of the run cannot be read or written.
    #[error(transparent)]
    State(#[from] StateError),
    /// The log cannot be read back.
    #[error(transparent)]
    Log(#[from] RunError),
    /// Files for TensorBoard cannot be written.
    #[error(transparent)]
    Events(#[from] EventsError),
    /// ONNX Runtime, which models are verified and measured with, cannot be had.
    #[error(transparent)]
    Runtime(#[from] RuntimeError),
    /// The best checkpoints cannot be exported or measured.
    #[error(transparent)]
    Conclusion(#[from] ConclusionError),
    /// libtorch failed.
    #[error("libtorch: {0}")]
    Tch(#[from] TchError),
}
