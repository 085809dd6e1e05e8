//! The native libraries that the tools run on: where they are, and how to load the CUDA part of them.
//!
//! Programs that link libtorch hold the place of its CPU library in their run path; everything else
//! is found and loaded here at run time, so that one binary serves machines with and without a GPU.

mod cuda;
mod device;
mod library;
mod machine;
pub mod onnxruntime;
#[cfg(feature = "ort")]
mod runtime;
pub mod torch;

pub use cuda::{driver_version, runtime_version};
pub use device::{Device, ParseDeviceError};
pub use library::LoadError;
pub use machine::{platform, processor};
#[cfg(feature = "ort")]
pub use runtime::{Runtime, RuntimeError};
