//! What training needs of libtorch and `tch` does not have: SGD in one pass over the parameters, with a
//! state that can be saved; autocast to bfloat16 on the CPU too; channels last; a caching allocator
//! for the CPU.

#[cfg(target_os = "linux")]
mod allocator;
#[cfg(target_os = "linux")]
mod cache;
mod call;
mod memory;
mod memory_format;
mod precision;
mod sgd;
mod tensors;

pub use memory::{empty_cache, use_caching_allocator};
pub use memory_format::channels_last;
pub use precision::autocast;
pub use sgd::{Sgd, SgdOptions};
pub use tensors::{copy_all, move_towards};
