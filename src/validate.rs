//! Evaluation of a network on the validation images.

use std::sync::Arc;

use tch::{Device, Kind, Tensor, no_grad};
use topk_models_tch::{Mode, Network};
use topk_ops::accuracy;

use crate::images::{BadImage, Batch, Images};

/// For each image, in order, the number of classes with a higher score than the label's, as counted by
/// [`accuracy::label_ranks`]. Skipped images have no entry.
///
/// # Errors
/// If an image cannot be read, or its scores contain a NaN.
pub(crate) fn label_ranks(
    network: &Network,
    images: &Arc<Images>,
    shape: [usize; 3],
    batch_size: usize,
) -> Result<Vec<usize>, ValidationError> {
    let mut ranks = Vec::with_capacity(images.len());
    for batch in images.in_order(batch_size) {
        let batch = batch?;
        if batch.labels.is_empty() {
            continue;
        }
        let scores = scores(network, &batch, shape);
        let start = ranks.len();
        let batch_ranks = accuracy::label_ranks(&scores, &batch.labels);
        ranks.extend(batch_ranks.map_err(|image| ValidationError::NanScores(start + image))?);
    }
    Ok(ranks)
}

/// The scores of a batch in evaluation mode, in host memory: `[images, classes]`, row by row.
pub(crate) fn scores(network: &Network, batch: &Batch, shape: [usize; 3]) -> Vec<f32> {
    let input = image_tensor(batch, shape, network.variables().device());
    let scores = no_grad(|| network.forward(&input, Mode::Eval));
    let scores = scores
        .to_device(Device::Cpu)
        .to_kind(Kind::Float)
        .contiguous();
    Vec::try_from(scores.view(-1)).expect("a flat f32 tensor converts to a vector of f32")
}

/// The images of a batch on the device: `[images, channels, height, width]`.
pub(crate) fn image_tensor(batch: &Batch, shape: [usize; 3], device: Device) -> Tensor {
    let [c, h, w] = shape.map(|dim| dim as i64);
    let images = Tensor::from_slice(&batch.images);
    images.view([-1, c, h, w]).to_device(device)
}

/// Validation failed.
#[derive(Debug)]
pub(crate) enum ValidationError {
    BadImage(BadImage),
    /// The scores of the image with this index contain a NaN.
    NanScores(usize),
}

impl From<BadImage> for ValidationError {
    fn from(error: BadImage) -> Self {
        Self::BadImage(error)
    }
}
