use tch::{Device, Kind, Tensor, no_grad};
use topk_data::Dataset;
use topk_image::NormalizationTable;
use topk_models::{Mode, Network};
use topk_ops::accuracy;

use crate::batches::{Batch, plain_batch};

/// Rank of the label's score for each image of these indices (see [`accuracy::label_rank`]), in
/// batches of `batch_size`.
///
/// # Errors
/// The place in `indices` of the first image with a score that is NaN.
pub fn label_ranks(
    network: &Network,
    dataset: &Dataset,
    table: &NormalizationTable,
    indices: &[usize],
    batch_size: usize,
) -> Result<Vec<usize>, usize> {
    let device = network.variables().device();
    let mut ranks = Vec::with_capacity(indices.len());
    for indices in indices.chunks(batch_size) {
        let batch = plain_batch(dataset, table, indices);
        let images = image_tensor(&batch, dataset.shape, device);
        let scores = no_grad(|| network.forward(&images, Mode::Eval));
        let scores = scores
            .to_device(Device::Cpu)
            .to_kind(Kind::Float)
            .contiguous();
        let scores: Vec<f32> =
            Vec::try_from(scores.view(-1)).expect("a flat tensor of f32 is a vector of f32");
        let start = ranks.len();
        ranks.extend(accuracy::label_ranks(&scores, &batch.labels).map_err(|image| start + image)?);
    }
    Ok(ranks)
}

/// Images `[N, C, H, W]` of a batch on a device.
pub(crate) fn image_tensor(batch: &Batch, shape: [usize; 3], device: Device) -> Tensor {
    let [c, h, w] = shape.map(|dim| dim as i64);
    Tensor::from_slice(&batch.images)
        .view([-1, c, h, w])
        .to_device(device)
}
