/// Keeps the memory of tensors on the CPU when they are freed, for those that come next, for the rest of the
/// process. On Linux; elsewhere it does nothing.
///
/// libtorch gives it back to the C library, and that gives large pieces back to the system, which clears every page of
/// them for the next tensor: a good part of a training step. The cache holds at most about an eighth more than the
/// tensors ever did at one time, in huge pages where the system has them, and [`empty_cache`] gives back what is free.
pub fn use_caching_allocator() {
    #[cfg(target_os = "linux")]
    crate::allocator::set();
}

/// Gives the system back what is free of the memory that tensors had: what [`use_caching_allocator`] keeps, and what
/// the C library does.
pub fn empty_cache() {
    #[cfg(target_os = "linux")]
    crate::allocator::empty();
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: it touches nothing that is in use, and may be called at any time.
    unsafe {
        libc::malloc_trim(0);
    }
}
