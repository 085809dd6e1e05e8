//! Writes classifiers and losses as ONNX files.
//!
//! [`export()`] converts a checkpoint, runs the model in ONNX Runtime, and compares its outputs with those of
//! the network in libtorch before the file appears under its name. Built without the feature `libtorch`,
//! it checks only that the outputs are finite and have the right shapes. [`args`] is the command line of
//! `topk-export`.

pub mod args;
mod attach;
mod draft;
mod export;
#[cfg(feature = "libtorch")]
mod libtorch;
#[cfg(not(feature = "libtorch"))]
#[path = "without_libtorch.rs"]
mod libtorch;
mod test_images;
mod triton;
mod verification;

pub use attach::{AttachError, AttachOptions, Attached, LossCheck, Run, attach};
pub use draft::DRAFT_PREFIX;
pub use export::{ExportError, ExportOptions, export};
pub use triton::{TritonRepositoryError, export_triton};
pub use verification::{Comparison, Verification, VerificationError};
