//! The cache as libtorch's allocator.

use std::ffi::c_void;
use std::ptr;
use std::sync::{LazyLock, Mutex, MutexGuard, Once, PoisonError};

use crate::cache::Cache;

/// Tensors of so many bytes and more get their memory from the cache. Others the C library keeps well by itself.
const SMALLEST: usize = 64 << 10;

static CACHE: LazyLock<Mutex<Cache>> = LazyLock::new(Mutex::default);

unsafe extern "C" {
    fn topk_set_allocator(
        take: extern "C" fn(usize) -> *mut c_void,
        put_back: extern "C" fn(*mut c_void) -> bool,
    );
}

pub(crate) fn set() {
    static SET: Once = Once::new();
    // SAFETY: called once; the functions do what C++ expects of them, and are there as long as the process.
    SET.call_once(|| unsafe { topk_set_allocator(take, put_back) });
}

pub(crate) fn empty() {
    cache().empty();
}

fn cache() -> MutexGuard<'static, Cache> {
    CACHE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Null for what libtorch's own allocator is to see to: because it is little, or because there is no more.
extern "C" fn take(len: usize) -> *mut c_void {
    if len < SMALLEST {
        return ptr::null_mut();
    }
    let address = cache().take(len);
    address.map_or(ptr::null_mut(), ptr::with_exposed_provenance_mut)
}

/// Whether it came from [`take`].
extern "C" fn put_back(memory: *mut c_void) -> bool {
    cache().put_back(memory.addr())
}
