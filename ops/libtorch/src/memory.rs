/// Has the C library keep the memory of tensors that are freed for those that come next, for the rest of
/// the process: it does so of small pieces only, and a training step would get most of its memory anew from the
/// system, which clears every page of it.
///
/// `malloc_trim` gives back what is kept.
pub fn keep_memory() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: they touch nothing that is in use, and may be called at any time.
    unsafe {
        libc::mallopt(libc::M_MMAP_MAX, 0);
        libc::mallopt(libc::M_TRIM_THRESHOLD, -1);
    }
}
