//! What needs libtorch: the network to compare with, and the initial weights of a new classifier.

use anyhow::Result;
use tch::{Device, Tensor};
use topk_models::{Architecture, Checkpoint, Classifier};
use topk_models_tch::{Network, scores};
use topk_onnx::ModelCard;
use topk_weights::StateDict;

/// Logits `[N, classes]` of the network for normalised images of this shape, `[N, C, H, W]`.
pub(crate) fn reference_logits(
    checkpoint: &Checkpoint,
    images: &[f32],
    shape: [usize; 4],
) -> Option<Vec<f32>> {
    let images = Tensor::from_slice(images).reshape(shape.map(|dim| dim as i64));
    let logits = scores(checkpoint, &images);
    Some(Vec::try_from(logits.view(-1)).expect("logits are f32"))
}

/// A checkpoint of these weights, except for those of the classifier, which are drawn with this seed.
pub(crate) fn with_new_classifier(
    card: ModelCard,
    architecture: Architecture,
    weights: StateDict,
    seed: i64,
) -> Result<Checkpoint> {
    tch::manual_seed(seed);
    let mut network = Network::new(architecture, Device::Cpu);
    let matched = network.architecture().matched(weights, Classifier::New)?;
    network.load(&matched.tensors)?;
    Ok(network.checkpoint(card))
}
