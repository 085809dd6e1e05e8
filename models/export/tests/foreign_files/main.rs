//! Checkpoints of other programs, and outputs, as their users have them: what `topk-export` makes of each, and what
//! it prints.
//!
//! The checkpoints are written here as PyTorch writes them. Nothing needs libtorch or ONNX Runtime.

#[path = "../command/mod.rs"]
mod command;
#[cfg(unix)]
mod outputs;
mod python;
mod weights;
