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
mod verification;

pub use architecture::{Architecture, ArchitectureError, Classifier, MatchError, Stage};
pub use architectures::{Images, architecture, architecture_of, architectures, images};
pub use checkpoint::{Checkpoint, CheckpointError};
pub use export::{
    CLASSES, DRAFT_FOLDER, ExportError, ExportOptions, Head, INPUT, LABELS, LOGITS, LOSS,
    PROBABILITIES, export, onnx_model,
};
pub use network::{LoadError, Mode, Network, tensor_of, weight_of};
pub use triton::{TritonRepositoryError, export_triton};
pub use verification::{Verification, VerificationError};
