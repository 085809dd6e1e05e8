//! Files of other programs, as their users have them: what `topk-export` makes of each, and what it prints.
//!
//! The files are written here as PyTorch writes them. Nothing needs libtorch or ONNX Runtime.

#[path = "../command/mod.rs"]
mod command;
mod python;
mod weights;
