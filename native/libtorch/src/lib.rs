//! The parts of libtorch that training needs and `tch` does not expose.
//!
//! | item | what it does |
//! | --- | --- |
//! | [`Optimizer`] | SGD, Adam, AdamW, RMSprop and LAMB whose state can be saved and restored; clipping of gradients |
//! | [`autocast`] | mixed precision in bfloat16 or float16, on the CPU and on CUDA |
//! | [`LossScaler`] | the scale of the loss that float16 needs |
//! | [`CopyStream`] | copies to a GPU while it computes |
//! | [`Graph`] | CUDA graphs |
//! | [`Numerics`] | TF32, determinism and cuDNN's search for algorithms |
//! | [`channels_last`] | the channels-last memory format |
//! | [`lerp_all`], [`lerp_all_by`], [`copy_all`] | interpolation and copies of many tensors at once |
//! | [`use_caching_allocator`], [`empty_cache`] | a caching allocator for tensors on the CPU |
//! | [`adapt_spinning_to_load`] | speed while other processes need the CPUs |
//! | [`select_device`] | the device for a choice of the user; loads CUDA |
//! | [`exit()`] | the end of a program, without the destructors of native libraries |
//! | [`call`] | results of C++ functions that catch exceptions |

#[cfg(target_os = "linux")]
mod allocator;
#[cfg(target_os = "linux")]
mod cache;
pub mod call;
mod device;
mod exit;
mod gradients;
mod graph;
mod memory;
mod memory_format;
mod numerics;
mod optimizer;
#[cfg(target_os = "linux")]
mod owned_pages;
mod precision;
mod scaler;
mod spinning;
mod stream;
mod tensors;

pub use device::{DeviceError, select_device};
pub use exit::exit;
pub use graph::Graph;
pub use memory::{empty_cache, use_caching_allocator};
pub use memory_format::channels_last;
pub use numerics::Numerics;
pub use optimizer::{Algorithm, Optimizer, ParameterOptions};
pub use precision::autocast;
pub use scaler::LossScaler;
pub use spinning::adapt_spinning_to_load;
pub use stream::{CopyStream, Upload};
pub use tensors::{copy_all, lerp_all, lerp_all_by};
