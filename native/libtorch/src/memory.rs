use std::ffi::c_char;

use crate::call::check;

/// Installs a caching allocator for tensors on the CPU, for the rest of the process. Linux only; on other systems this
/// does nothing.
///
/// Without it, libtorch frees large tensors to the C library, which unmaps them, and the kernel clears every page again
/// for the next tensor: a considerable part of a training step. The cache holds at most about an eighth more than the
/// peak use by tensors, in huge pages if the system has them. [`empty_cache`] returns its free blocks.
pub fn use_caching_allocator() {
    #[cfg(target_os = "linux")]
    crate::allocator::set();
}

unsafe extern "C" {
    safe fn topk_empty_cuda_cache() -> *mut c_char;
}

/// Returns unused tensor memory to the system: the free blocks of the cache of [`use_caching_allocator`], those of
/// the C library and, if CUDA is in use, those of libtorch's caches on the GPUs and of page-locked memory, so that other
/// libraries can allocate them.
pub fn empty_cache() {
    // Nothing depends on it, and without CUDA there is nothing to release.
    // SAFETY: a string from `strdup`, or null.
    let _ = unsafe { check(topk_empty_cuda_cache()) };
    #[cfg(target_os = "linux")]
    crate::allocator::trim();
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: `malloc_trim` may be called at any time and touches only free memory.
    unsafe {
        libc::malloc_trim(0);
    }
}
