//! How steps fail.

use tch::TchError;
use topk_distributed::DistributedError;
use topk_ops_tch::TensorLossError;

use crate::TrainError;
use crate::teacher::TeacherError;

/// Steps that did not change the weights, because a gradient was not finite.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Skipped {
    pub(crate) steps: usize,
    /// Number of images that they were made with.
    pub(crate) images: usize,
}

/// A step failed.
#[derive(Debug)]
pub(crate) enum StepError {
    /// The scores or gradients are not finite; the reason as a clause.
    NotFinite(String),
    /// libtorch failed.
    Tch(TchError),
    /// Another rank does not take part.
    Ranks(DistributedError),
    /// The teacher cannot be run.
    Teacher(Box<TeacherError>),
}

impl StepError {
    /// The error that ends a run; epochs and batches count from 1.
    pub(crate) fn at(self, epoch: usize, batch: usize, lr: f64) -> TrainError {
        match self {
            Self::Tch(error) => TrainError::Tch(error),
            Self::Ranks(error) => TrainError::Ranks(error),
            Self::Teacher(error) => TrainError::Teacher(*error),
            Self::NotFinite(reason) => TrainError::Diverged {
                epoch,
                batch,
                lr,
                reason,
            },
        }
    }
}

impl From<TchError> for StepError {
    fn from(error: TchError) -> Self {
        Self::Tch(error)
    }
}

impl From<TensorLossError> for StepError {
    fn from(error: TensorLossError) -> Self {
        match error {
            TensorLossError::Tch(error) => Self::Tch(error),
            // Labels, shapes and types have been checked, so the scores are the only possible cause.
            error => Self::NotFinite(error.to_string()),
        }
    }
}

impl From<TeacherError> for StepError {
    fn from(error: TeacherError) -> Self {
        Self::Teacher(Box::new(error))
    }
}

impl From<DistributedError> for StepError {
    fn from(error: DistributedError) -> Self {
        Self::Ranks(error)
    }
}
