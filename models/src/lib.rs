//! Network architectures, each defined once as data.
//!
//! An [`Architecture`] lists a network's operations in order ([`op`]). Everything else is derived from it:
//! the names, shapes and initial values of its parameters, its ONNX graph ([`onnx_model`]), and, in the
//! crate `topk-models-tch`, the network that trains in libtorch. Weights pass between these as a
//! [`Checkpoint`], a safetensors file under PyTorch's parameter names.
//!
//! This crate needs no native library.

mod architecture;
mod architectures;
mod builder;
mod checkpoint;
mod input_channels;
mod layer_groups;
mod onnx;
pub mod op;
mod renaming;
mod triton;

pub use architecture::{Architecture, ArchitectureError, Classifier, MatchError, Stage};
pub use architectures::{Images, architecture, architecture_of, architectures, images};
pub use checkpoint::{Checkpoint, CheckpointError};
pub use onnx::{
    CLASSES, GRAD, INPUT, LABELS, LOGITS, LOSS, OnnxError, OnnxOptions, Outputs, PROBABILITIES,
    onnx_model,
};
pub use renaming::Renamed;
pub use triton::{TritonError, triton_config};
