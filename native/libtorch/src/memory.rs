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

/// Returns unused tensor memory to the system: the free blocks of the cache of [`use_caching_allocator`], and those of
/// the C library.
pub fn empty_cache() {
    #[cfg(target_os = "linux")]
    crate::allocator::trim();
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: `malloc_trim` may be called at any time and touches only free memory.
    unsafe {
        libc::malloc_trim(0);
    }
}
