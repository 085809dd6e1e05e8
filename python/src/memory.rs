//! Slices of memory that Python owns.

use std::slice;

/// `len` entries at `address`, which need not be valid if `len` is 0.
///
/// # Safety
/// If `len` is not 0, `address` is that of `len` initialised entries, aligned for `T`, that nothing writes to
/// during `'a`.
pub(crate) unsafe fn entries<'a, T>(address: usize, len: usize) -> &'a [T] {
    if len == 0 {
        return &[];
    }
    // SAFETY: the caller's promise.
    unsafe { slice::from_raw_parts(address as *const T, len) }
}

/// As [`entries`], to write to.
///
/// # Safety
/// If `len` is not 0, `address` is that of `len` initialised entries, aligned for `T`, that nothing else accesses
/// during `'a`.
pub(crate) unsafe fn entries_mut<'a, T>(address: usize, len: usize) -> &'a mut [T] {
    if len == 0 {
        return &mut [];
    }
    // SAFETY: the caller's promise.
    unsafe { slice::from_raw_parts_mut(address as *mut T, len) }
}
