//! Scores of a checkpoint, without a network of its own memory.

use std::collections::BTreeMap;

use tch::{Device, Kind, Tensor, no_grad};
use topk_models::Checkpoint;
use topk_weights::Tensor as Weight;

use crate::network::Mode;
use crate::plan::Plan;
use crate::tensor::tensor_of;

/// Scores `[N, classes]` of a checkpoint's network for normalised images `[N, C, H, W]` on the CPU, in [`Mode::Eval`].
/// Weights are read where they are, so that they are in memory once.
pub fn scores(checkpoint: &Checkpoint, images: &Tensor) -> Tensor {
    let architecture = checkpoint.architecture();
    let weights = checkpoint.weights().iter();
    // SAFETY: the checkpoint outlives the tensors, which are dropped below, and in evaluation nothing writes to them.
    let tensors: BTreeMap<_, _> = weights
        .map(|(name, weight)| (name.clone(), unsafe { borrowed(weight) }))
        .collect();
    let plan = Plan::new(architecture);
    no_grad(|| plan.scores(architecture, &tensors, images, Mode::Eval, None))
}

/// A tensor in the memory of an `f32` weight; a copy where this memory is not aligned.
///
/// # Safety
/// The weight must outlive the tensor and all that share its memory, and nothing may write to them.
unsafe fn borrowed(weight: &Weight) -> Tensor {
    let values = weight.bytes().as_ptr();
    if values.align_offset(align_of::<f32>()) != 0 {
        return tensor_of(weight);
    }
    let shape: Vec<i64> = weight.shape().iter().map(|&dim| dim as i64).collect();
    let mut strides = vec![1; shape.len()];
    for dim in (1..shape.len()).rev() {
        strides[dim - 1] = strides[dim] * shape[dim];
    }
    // SAFETY: a weight has as many bytes as its shape says, and checkpoints are of f32.
    unsafe { Tensor::from_blob(values, &shape, &strides, Kind::Float, Device::Cpu) }
}
