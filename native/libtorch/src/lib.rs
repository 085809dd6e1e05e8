//! The parts of libtorch that training needs and `tch` does not expose.
//!
//! | item | what it does |
//! | --- | --- |
//! | [`Sgd`] | fused SGD whose momentum buffers can be saved and restored |
//! | [`autocast`] | mixed precision in bfloat16, on the CPU and on CUDA |
//! | [`channels_last`] | the channels-last memory format |
//! | [`lerp_all`], [`copy_all`] | interpolation and copies of many tensors at once |
//! | [`use_caching_allocator`], [`empty_cache`] | a caching allocator for tensors on the CPU |
//! | [`adapt_spinning_to_load`] | speed while other processes need the CPUs |
//! | [`select_device`] | the device for a choice of the user; loads CUDA |
//! | [`call`] | results of C++ functions that catch exceptions |

#[cfg(target_os = "linux")]
mod allocator;
#[cfg(target_os = "linux")]
mod cache;
pub mod call;
mod device;
mod memory;
mod memory_format;
mod precision;
mod sgd;
mod spinning;
mod tensors;

pub use device::{DeviceError, select_device};
pub use memory::{empty_cache, use_caching_allocator};
pub use memory_format::channels_last;
pub use precision::autocast;
pub use sgd::{Sgd, SgdOptions};
pub use spinning::adapt_spinning_to_load;
pub use tensors::{copy_all, lerp_all};
