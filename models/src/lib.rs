//! Network architectures, each defined once as data.
//!
//! From an [`Architecture`] are made the network that trains ([`Network`], through tch) and the one
//! that is served ([`onnx_model`]), so that the two cannot drift apart. Weights go between them as a
//! [`Checkpoint`], a safetensors file under PyTorch's parameter names.

mod architecture;
mod architectures;
pub mod args;
mod builder;
mod checkpoint;
mod export;
mod network;
mod onnx_nodes;
mod op;
mod triton;

pub use architecture::{Architecture, ArchitectureError};
pub use architectures::{architecture, architectures};
pub use checkpoint::{Checkpoint, CheckpointError, Weight};
pub use export::{
    CLASSES, ExportError, ExportOptions, Head, INPUT, LABELS, LOGITS, LOSS, PROBABILITIES, export,
    onnx_model,
};
pub use network::{Mode, Network};
pub use triton::{TritonRepositoryError, write_triton};
