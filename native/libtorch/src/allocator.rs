//! Installs the cache as libtorch's CPU allocator.

use std::ffi::c_void;
use std::ptr;
use std::sync::{LazyLock, Mutex, MutexGuard, Once, PoisonError};

use crate::cache::Cache;
use crate::owned_pages;

/// Allocations of at least this many bytes come from the cache; malloc caches smaller ones well enough.
const MIN_BYTES: usize = 64 << 10;

static CACHE: LazyLock<Mutex<Cache>> = LazyLock::new(Mutex::default);

unsafe extern "C" {
    fn topk_set_allocator(
        allocate: extern "C" fn(usize) -> *mut c_void,
        free: extern "C" fn(*mut c_void) -> bool,
    );
}

pub(crate) fn set() {
    static SET: Once = Once::new();
    // SAFETY: called once; the functions have the contract that libtorch.cpp states, and live as long as the process.
    SET.call_once(|| unsafe { topk_set_allocator(allocate, free) });
}

pub(crate) fn trim() {
    cache().trim();
}

fn cache() -> MutexGuard<'static, Cache> {
    CACHE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Returns null if libtorch's default allocator should handle the request: it is small, or memory is exhausted.
extern "C" fn allocate(len: usize) -> *mut c_void {
    if len < MIN_BYTES {
        return ptr::null_mut();
    }
    let address = cache().allocate(len);
    address.map_or(ptr::null_mut(), ptr::with_exposed_provenance_mut)
}

/// Returns whether the memory came from [`allocate`].
extern "C" fn free(memory: *mut c_void) -> bool {
    // The many frees of small tensors do not wait for the lock.
    owned_pages::may_contain(memory.addr()) && cache().free(memory.addr())
}
