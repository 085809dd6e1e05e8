use tch::{Kind, Tensor};
use topk_ops::{CrossEntropy, Loss, LossError, SmoothTopkSvm};
use topk_ops_tch::{TensorLossError, loss};

use crate::config::LossKind;

/// The loss that a run trains with.
#[derive(Clone, Copy, Debug)]
pub(crate) enum TrainingLoss {
    Svm(SmoothTopkSvm),
    CrossEntropy(CrossEntropy),
}

impl TrainingLoss {
    pub(crate) fn new(kind: LossKind, k: usize) -> Result<Self, LossError> {
        Ok(match kind {
            LossKind::Svm { tau, alpha } => Self::Svm(SmoothTopkSvm::new(k, tau, alpha)?),
            LossKind::CrossEntropy => Self::CrossEntropy(CrossEntropy),
        })
    }

    /// Whether the loss can be computed with this number of classes.
    pub(crate) fn check_classes(&self, classes: usize) -> Result<(), LossError> {
        match self {
            Self::Svm(svm) => svm.check_classes(classes),
            Self::CrossEntropy(cross_entropy) => cross_entropy.check_classes(classes),
        }
    }

    /// Mean over a batch.
    pub(crate) fn mean(&self, scores: &Tensor, labels: &Tensor) -> Result<Tensor, TensorLossError> {
        let values = match self {
            Self::Svm(svm) => loss(svm, scores, labels),
            Self::CrossEntropy(cross_entropy) => loss(cross_entropy, scores, labels),
        }?;
        Ok(values.mean(Kind::Float))
    }
}
