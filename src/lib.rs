//! Trains image classifiers for top-k accuracy.
//!
//! A [`Trainer`] trains with the settings of a [`Config`], on the data sets that these name or on images of the calling
//! program ([`Images`]), and tells an [`Observer`] what happens. It prints nothing. The command `topk-train` is a client
//! of it: [`Args`] parses the command line, and an observer prints.
//!
//! Inside, the module `train` sets up a run, `training_loop` has its loop, `step` one optimizer step, `validation` how
//! epochs are judged, `checkpoints` which of them are kept, `logging` what a run reports, `ranks` what the processes of a
//! run do together.
//!
//! All random numbers follow from the seed in the settings, whatever the number of threads that load images. A run
//! that was interrupted at any moment resumes as if it had not been.

mod annealed;
mod args;
mod batching;
mod captured;
mod changes;
mod checkpoints;
mod class_weights;
mod config;
mod data_record;
mod dataset;
mod defaults;
mod delivery;
mod dry_run;
mod ema;
mod final_test;
mod images;
mod layers;
mod list_models;
mod logging;
mod loss;
mod machine;
mod observer;
mod optimizer;
mod order;
mod plan;
mod progress;
mod random;
mod ranks;
mod recipe;
mod resume;
mod run_folder;
#[cfg(test)]
#[path = "../tests/sample/mod.rs"]
mod sample;
mod schedule;
mod state;
mod statistics;
mod step;
mod sweep;
mod teacher;
mod train;
mod trainer;
mod training_loop;
mod validation;

use std::path::PathBuf;

use tch::TchError;
use thiserror::Error;
use topk_distributed::DistributedError;
use topk_history::{EventsError, RunError};
use topk_libtorch::DeviceError;
use topk_models::{ArchitectureError, CheckpointError, MatchError};
use topk_models_tch::LoadError;
use topk_native::RuntimeError;
use topk_ops::{AccuracyError, LossError};
use topk_weights::WeightsError;

pub use annealed::{Annealed, ParseAnnealedError};
pub use args::Args;
pub use checkpoints::CheckpointSettings;
pub use class_weights::ClassWeights;
pub use config::{Config, ErrorPolicy};
pub use dataset::{
    AugmentSettings, EraseMode, SamplingSettings, TrainCropMode, TrainInterpolation,
};
pub use logging::{LogFormat, LoggingSettings};
pub use loss::LossSettings;
pub use machine::{AmpDtype, Machine, Tf32};
pub use observer::{BatchProgress, Extent, Observer, TrainingEvent};
pub use optimizer::{Betas, ClipMode, OptimizerName, OptimizerSettings, ParseBetasError};
pub use order::{Sampler, Shuffle};
pub use ranks::report;
pub use schedule::{LrScale, Milestones, ParseMilestonesError, ScheduleSettings, Scheduler};
pub use topk_ops::LossName;
pub use train::Outcome;
pub use trainer::{Error, Images, Trainer};
pub use validation::{Ks, Metric, ParseKsError, ParseMetricError, ValidationSettings};

use batching::BatchingError;
use config::ConfigError;
use dataset::DatasetError;
use final_test::FinalTestError;
use images::{BadImage, BatchError};
use optimizer::FreezeError;
use ranks::AgreementError;
use resume::ResumeError;
use run_folder::FolderError;
use state::StateError;

impl From<BatchError> for TrainError {
    fn from(error: BatchError) -> Self {
        match error {
            BatchError::BadImage(error) => Self::BadImage(error),
            BatchError::Tch(error) => Self::Tch(error),
        }
    }
}

impl From<ArchitectureError> for TrainError {
    fn from(error: ArchitectureError) -> Self {
        use ArchitectureError::{InputSize, Sides, TooSmall};
        match error {
            InputSize { .. } | Sides { .. } | TooSmall { .. } => Self::InputSize(error),
            _ => Self::Architecture(error),
        }
    }
}

/// A run cannot start, continue or finish.
#[derive(Debug, Error)]
#[non_exhaustive]
pub(crate) enum TrainError {
    /// A setting is out of range.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The data set cannot be used.
    #[error(transparent)]
    Data(#[from] DatasetError),
    /// An image cannot be read.
    #[error(transparent)]
    BadImage(#[from] BadImage),
    /// The network cannot be built.
    #[error(transparent)]
    Architecture(ArchitectureError),
    /// The network does not take images of this size.
    #[error("{0}; choose another --input-size or another --model")]
    InputSize(ArchitectureError),
    /// The device is not available.
    #[error(transparent)]
    Device(#[from] DeviceError),
    /// The loss cannot be computed.
    #[error(transparent)]
    Loss(#[from] LossError),
    /// The teacher cannot be used.
    #[error(transparent)]
    Teacher(#[from] teacher::TeacherError),
    /// The weights of the classes cannot be used.
    #[error(transparent)]
    ClassWeights(#[from] class_weights::ClassWeightsError),
    /// The loss of an epoch cannot be computed.
    #[error("the loss of epoch {epoch} of {epochs}: {error}")]
    EpochLoss {
        /// From 1.
        epoch: usize,
        /// Number of epochs.
        epochs: usize,
        /// The cause.
        error: LossError,
    },
    /// k is larger than the number of classes.
    #[error("--{setting} is more than the {classes} classes of the data set")]
    TopK {
        /// The flag and its value.
        setting: String,
        /// Number of classes.
        classes: usize,
    },
    /// The loss or a gradient is not finite.
    #[error(
        "training diverged in epoch {epoch}, batch {batch}, at learning rate {lr}: {reason}. The last saved state \
         is kept. Try a lower --lr, --warmup-epochs or --clip-grad, or skip such steps with --on-nan skip"
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
    /// The training images do not make usable batches.
    #[error(transparent)]
    Batching(#[from] BatchingError),
    /// The scores of a validation image are NaN.
    #[error(
        "training diverged: after epoch {epoch} the scores of validation image {image} are NaN, although the weights are \
         finite: they are too large, or the running statistics of batch normalisation do not fit them. The last saved \
         state is kept. Try a lower --lr, --warmup-epochs or --clip-grad"
    )]
    NanScores {
        /// From 1.
        epoch: usize,
        /// Index of the image among the validation images.
        image: usize,
    },
    /// The scores of the validation images do not fit their labels.
    #[error("cannot compute the accuracy on the validation images after epoch {epoch}: {error}")]
    Accuracy {
        /// From 1.
        epoch: usize,
        /// The cause.
        error: AccuracyError,
    },
    /// A tensor of the state is not finite.
    #[error(
        "training diverged in epoch {epoch}, before batch {batch}: {tensor} is not finite{}. The last saved state is \
         kept. Try a lower --lr, --warmup-epochs or --clip-grad",
        if is_statistic(tensor) { STATISTIC } else { "" }
    )]
    NotFiniteState {
        /// From 1.
        epoch: usize,
        /// From 1.
        batch: usize,
        /// Name of the tensor.
        tensor: String,
    },
    /// All steps of an epoch were skipped.
    #[error(
        "all {steps} steps of epoch {epoch} were skipped because the loss or a gradient was not finite, so the network \
         no longer learns. The last saved state is kept. Try a lower --lr, --warmup-epochs or --clip-grad"
    )]
    AllStepsSkipped {
        /// From 1.
        epoch: usize,
        /// Their number.
        steps: usize,
    },
    /// No training image of an epoch can be used.
    #[error(
        "none of the {count} training images of epoch {epoch} can be used{}. Repair the images, then run the same \
         command again",
        such_as(first.as_ref())
    )]
    NoTrainingImages {
        /// From 1.
        epoch: usize,
        /// Number of images.
        count: usize,
        /// The first of them that cannot be read.
        first: Option<BadImage>,
    },
    /// No validation image can be read.
    #[error(
        "none of the {count} validation images can be read after epoch {epoch}{}. The state is saved: repair the \
         images, then run the same command to resume with this validation",
        such_as(first.as_ref())
    )]
    NoValidationImages {
        /// From 1.
        epoch: usize,
        /// Number of images.
        count: usize,
        /// The first of them.
        first: Option<BadImage>,
    },
    /// The weights in --checkpoint do not fit the network.
    #[error("{}: {error}", path.display())]
    Checkpoint {
        /// Their file.
        path: PathBuf,
        /// How they differ.
        error: Box<MatchError>,
    },
    /// The network of the weights in --checkpoint is not known.
    #[error(
        "{} does not record its architecture, and its weights do not fit {default}, the default for these \
         images: give --model, such as --model resnet50 (topk-train --list-models lists all)",
        path.display()
    )]
    UnknownModel {
        /// The file.
        path: PathBuf,
        /// The default network.
        default: String,
    },
    /// A file of weights cannot be read or written.
    #[error(transparent)]
    Weights(#[from] WeightsError),
    /// Weights do not fit the network.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// The folder of the run cannot be used.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// The run cannot be resumed with these settings or data.
    #[error(transparent)]
    Resume(#[from] ResumeError),
    /// A best checkpoint cannot be read.
    #[error(transparent)]
    BestCheckpoint(#[from] CheckpointError),
    /// The state of the run cannot be read or written.
    #[error(transparent)]
    State(#[from] StateError),
    /// The log cannot be read.
    #[error(transparent)]
    Log(#[from] RunError),
    /// TensorBoard files cannot be written.
    #[error(transparent)]
    Events(#[from] EventsError),
    /// ONNX Runtime, which verifies and evaluates the exported models, is not available.
    #[error(transparent)]
    Runtime(#[from] RuntimeError),
    /// The best checkpoints cannot be exported or evaluated.
    #[error(transparent)]
    FinalTest(#[from] FinalTestError),
    /// A step cannot be captured as a CUDA graph.
    #[error("--cuda-graphs: {0}. Omit --cuda-graphs")]
    Graphs(TchError),
    /// The network draws random numbers.
    #[error(
        "--cuda-graphs: the layer {layer} of {model} draws random numbers, which would not follow from --seed in a \
         graph. Omit --cuda-graphs, or choose another --model"
    )]
    RandomLayer {
        /// The network.
        model: String,
        /// Its first layer that draws.
        layer: String,
    },
    /// The ranks cannot join, or one of them does not answer any more.
    #[error(transparent)]
    Ranks(#[from] DistributedError),
    /// The ranks do not fit together.
    #[error(transparent)]
    Agreement(#[from] AgreementError),
    /// Another rank failed.
    #[error("rank {rank} failed: {message}")]
    OtherRank {
        /// The rank.
        rank: usize,
        /// Its error.
        message: String,
    },
    /// --freeze does not fit the network.
    #[error(transparent)]
    Freeze(#[from] FreezeError),
    /// libtorch failed.
    #[error("libtorch: {0}")]
    Tch(#[from] TchError),
}

/// Why a statistic of batch normalisation is usually not finite.
const STATISTIC: &str =
    ", a running statistic of batch normalisation: the values before that layer became too large";

fn is_statistic(tensor: &str) -> bool {
    tensor.contains("running_")
}

/// Names an image that cannot be used, if one is known.
fn such_as(image: Option<&BadImage>) -> String {
    image.map_or_else(String::new, |BadImage { set, name, reason }| {
        format!(", such as {name} of {}: {reason}", set.display())
    })
}
