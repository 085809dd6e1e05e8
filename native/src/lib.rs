//! Locates and loads the native libraries: libtorch, ONNX Runtime and CUDA.
//!
//! Programs that link libtorch find its CPU library through their run path. Everything else is located and loaded here
//! at run time, so that one binary works on machines with and without a GPU, and in Python environments.

mod cuda;
mod device;
mod elf;
mod gpu;
mod library;
mod machine;
mod memory;
pub mod onnxruntime;
#[cfg(feature = "ort")]
mod provider_library;
mod python;
#[cfg(feature = "ort")]
mod runtime;
pub mod torch;

pub use cuda::{driver_version, runtime_version};
pub use device::{Device, Devices, ParseDeviceError, ParseDevicesError};
pub use gpu::Gpu;
pub use library::LoadError;
pub use machine::{load_average, platform, processor};
pub use memory::{gpu_memory_in_use, keep_freed_memory, peak_resident, resident, restart_peak};
#[cfg(feature = "ort")]
pub use provider_library::ProviderLibrary;
#[cfg(feature = "ort")]
pub use runtime::{Runtime, RuntimeError};
