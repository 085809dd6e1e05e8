use topk_ops::{Criterion, CrossEntropy, LossError, SmoothTopkSvm};
use topk_ops_tch::TensorLoss;

use crate::config::LossKind;

/// The loss that a run trains with: the mean over a batch.
pub(crate) type TrainingLoss = Criterion<Box<dyn TensorLoss>>;

pub(crate) fn training_loss(kind: LossKind, k: usize) -> Result<TrainingLoss, LossError> {
    Ok(Criterion::new(match kind {
        LossKind::Svm { tau, alpha } => Box::new(SmoothTopkSvm::new(k, tau, alpha)?),
        LossKind::CrossEntropy => Box::new(CrossEntropy),
    }))
}
