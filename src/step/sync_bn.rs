//! Batch normalisation with the images of all ranks.

use std::sync::{Arc, Mutex, PoisonError};

use tch::Tensor;
use topk_distributed::{BatchNorm, DistributedError, Group, sync_batch_norm};
use topk_models::op;
use topk_models_tch::{BatchNormTensors, SyncBatchNorm};

/// The batch normalisation of a network, which cannot return an error itself.
#[derive(Clone, Debug)]
pub(super) struct OverRanks {
    group: Group,
    /// The first error of a forward pass.
    error: Arc<Mutex<Option<DistributedError>>>,
}

impl OverRanks {
    pub(super) fn new(group: &Group) -> Self {
        Self {
            group: group.clone(),
            error: Arc::default(),
        }
    }

    /// The error of the forward pass before, if it failed; its scores are meaningless then.
    pub(super) fn take_error(&self) -> Option<DistributedError> {
        self.lock().take()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<DistributedError>> {
        self.error.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl SyncBatchNorm for OverRanks {
    fn batch_norm(
        &self,
        x: &Tensor,
        tensors: BatchNormTensors<'_>,
        settings: op::BatchNorm,
    ) -> Tensor {
        let BatchNormTensors {
            weight,
            bias,
            running_mean,
            running_var,
        } = tensors;
        let op::BatchNorm { momentum, eps } = settings;
        // After an error, each further layer would wait for the time-out.
        if self.lock().is_some() {
            return x.shallow_clone();
        }
        let norm = BatchNorm {
            weight,
            bias,
            running_mean,
            running_var,
            momentum,
            eps,
        };
        match sync_batch_norm(&self.group, x, norm) {
            Ok(normalized) => normalized,
            Err(error) => {
                *self.lock() = Some(error);
                x.shallow_clone()
            }
        }
    }
}
