use std::fmt;

use tch::Tensor;
use topk_models::op::BatchNorm;

/// Batch normalisation in training whose statistics are those of the images of several processes.
///
/// A [`Network`](crate::Network) is told of it with
/// [`synchronize_batch_norm`](crate::Network::synchronize_batch_norm).
pub trait SyncBatchNorm: fmt::Debug {
    /// The normalised images `[N, C, H, W]`, which the network may overwrite. Updates the running statistics.
    fn batch_norm(&self, x: &Tensor, tensors: BatchNormTensors<'_>, settings: BatchNorm) -> Tensor;
}

/// The tensors of a batch normalisation, each of shape `[C]`.
#[derive(Clone, Copy, Debug)]
pub struct BatchNormTensors<'a> {
    /// The factor after normalisation, trainable.
    pub weight: &'a Tensor,
    /// What is added after that, trainable.
    pub bias: &'a Tensor,
    /// The running mean.
    pub running_mean: &'a Tensor,
    /// The running variance, unbiased.
    pub running_var: &'a Tensor,
}
