//! Replaces the module `libtorch` where the program is built without it.

use anyhow::{Result, bail};
use topk_models::{Architecture, Checkpoint};
use topk_onnx::ModelCard;
use topk_weights::StateDict;

/// No logits.
pub(crate) fn reference_logits(
    _checkpoint: &Checkpoint,
    _images: &[f32],
    _shape: [usize; 4],
) -> Option<Vec<f32>> {
    None
}

/// Always an error.
pub(crate) fn with_new_classifier(
    _card: ModelCard,
    _architecture: Architecture,
    _weights: StateDict,
    _seed: i64,
) -> Result<Checkpoint> {
    bail!(
        "--classifier new draws weights with libtorch, which this topk-export was built without: build it \
         with the feature `libtorch`"
    )
}
