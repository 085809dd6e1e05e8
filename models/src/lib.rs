//! Network architectures, each defined once as data.
//!
//! From an [`Architecture`] are made the network that trains ([`Network`], through tch) and the one
//! that is served ([`onnx_model`]), so that the two cannot drift apart. Weights go between them as a
//! [`Checkpoint`], a safetensors file under PyTorch's parameter names.

mod architecture;
pub mod args;
mod basic;
mod checkpoint;
mod export;
mod network;
mod triton;

pub use architecture::{Architecture, ArchitectureError, architecture};
pub use checkpoint::{Checkpoint, CheckpointError, Weight};
pub use export::{
    CLASSES, ExportError, ExportOptions, Head, INPUT, LABELS, LOGITS, LOSS, PROBABILITIES, export,
    onnx_model,
};
pub use network::{Mode, Network};
pub use triton::{TritonRepositoryError, write_triton};
