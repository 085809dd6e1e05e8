//! The store through which ranks find each other: libtorch's `TCPStore`.

use std::ffi::{CString, c_char, c_void};
use std::ptr;
use std::time::Duration;

use tch::TchError;
use topk_libtorch::call::check;

/// A store of libtorch.
#[repr(C)]
pub(crate) struct RawStore([u8; 0]);

unsafe extern "C" {
    fn topk_store_connect(
        host: *const c_char,
        port: u16,
        server: bool,
        prefix: *const c_char,
        timeout_ms: i64,
        result: *mut *mut RawStore,
    ) -> *mut c_char;
    fn topk_store_free(store: *mut RawStore);
    fn topk_store_set(
        store: *mut RawStore,
        key: *const c_char,
        data: *const u8,
        length: usize,
    ) -> *mut c_char;
    fn topk_store_set_first(
        store: *mut RawStore,
        key: *const c_char,
        data: *const u8,
        length: usize,
    ) -> *mut c_char;
    fn topk_store_add(
        store: *mut RawStore,
        key: *const c_char,
        number: i64,
        result: *mut i64,
    ) -> *mut c_char;
    fn topk_store_has(store: *mut RawStore, key: *const c_char, result: *mut bool) -> *mut c_char;
    fn topk_store_wait(store: *mut RawStore, key: *const c_char, timeout_ms: i64) -> *mut c_char;
    fn topk_store_get(
        store: *mut RawStore,
        key: *const c_char,
        data: *mut *mut u8,
        length: *mut usize,
    ) -> *mut c_char;
}

/// A connection to the store. Operations of one connection run one after the other.
#[derive(Debug)]
pub(crate) struct Store {
    store: *mut RawStore,
}

// SAFETY: a store of libtorch may be used by several threads; it locks its connection.
unsafe impl Send for Store {}
// SAFETY: as above.
unsafe impl Sync for Store {}

impl Drop for Store {
    fn drop(&mut self) {
        // SAFETY: made by `topk_store_connect`, and owned by this.
        unsafe { topk_store_free(self.store) }
    }
}

fn c_string(text: &str) -> Result<CString, TchError> {
    CString::new(text).map_err(TchError::from)
}

/// Milliseconds, at least 1: libtorch takes 0 for no limit.
pub(crate) fn milliseconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis())
        .unwrap_or(i64::MAX)
        .max(1)
}

impl Store {
    /// Connects to the store at an address, which this process hosts if `server`. Keys get the prefix.
    pub(crate) fn connect(
        host: &str,
        port: u16,
        server: bool,
        prefix: &str,
        timeout: Duration,
    ) -> Result<Self, TchError> {
        let (host, prefix) = (c_string(host)?, c_string(prefix)?);
        let mut store = ptr::null_mut();
        // SAFETY: the strings and the result outlive the call, which catches exceptions.
        unsafe {
            check(topk_store_connect(
                host.as_ptr(),
                port,
                server,
                prefix.as_ptr(),
                milliseconds(timeout),
                &mut store,
            ))
        }?;
        Ok(Self { store })
    }

    /// For C++, valid as long as this.
    pub(crate) fn as_ptr(&self) -> *mut RawStore {
        self.store
    }

    pub(crate) fn set(&self, key: &str, value: &[u8]) -> Result<(), TchError> {
        let key = c_string(key)?;
        // SAFETY: the store, the string and the slice are live; the C++ side catches exceptions.
        unsafe {
            check(topk_store_set(
                self.store,
                key.as_ptr(),
                value.as_ptr(),
                value.len(),
            ))
        }
    }

    /// Sets a key unless it exists.
    pub(crate) fn set_first(&self, key: &str, value: &[u8]) -> Result<(), TchError> {
        let key = c_string(key)?;
        // SAFETY: the store, the string and the slice are live; the C++ side catches exceptions.
        unsafe {
            check(topk_store_set_first(
                self.store,
                key.as_ptr(),
                value.as_ptr(),
                value.len(),
            ))
        }
    }

    /// Adds to a counter, and returns its new value.
    pub(crate) fn add(&self, key: &str, number: i64) -> Result<i64, TchError> {
        let key = c_string(key)?;
        let mut result = 0;
        // SAFETY: the store, the string and the result are live; the C++ side catches exceptions.
        unsafe {
            check(topk_store_add(
                self.store,
                key.as_ptr(),
                number,
                &mut result,
            ))
        }?;
        Ok(result)
    }

    pub(crate) fn has(&self, key: &str) -> Result<bool, TchError> {
        let key = c_string(key)?;
        let mut result = false;
        // SAFETY: the store, the string and the result are live; the C++ side catches exceptions.
        unsafe { check(topk_store_has(self.store, key.as_ptr(), &mut result)) }?;
        Ok(result)
    }

    /// Waits until a key exists. At the time-out, an error.
    pub(crate) fn wait(&self, key: &str, timeout: Duration) -> Result<(), TchError> {
        let key = c_string(key)?;
        // SAFETY: the store and the string are live; the C++ side catches exceptions.
        unsafe {
            check(topk_store_wait(
                self.store,
                key.as_ptr(),
                milliseconds(timeout),
            ))
        }
    }

    /// The value of a key; waits for the key as long as the connection's time-out allows.
    pub(crate) fn get(&self, key: &str) -> Result<Vec<u8>, TchError> {
        let key = c_string(key)?;
        let (mut data, mut length) = (ptr::null_mut(), 0);
        // SAFETY: the store, the string and the results are live; the C++ side catches exceptions. Without an error,
        // there are `length` bytes at `data`, which comes from `malloc` and belongs to the caller.
        unsafe {
            check(topk_store_get(
                self.store,
                key.as_ptr(),
                &mut data,
                &mut length,
            ))?;
            let value = std::slice::from_raw_parts(data, length).to_vec();
            libc::free(data.cast::<c_void>());
            Ok(value)
        }
    }

    /// The value of a key as text, if it exists.
    pub(crate) fn text(&self, key: &str) -> Result<Option<String>, TchError> {
        if !self.has(key)? {
            return Ok(None);
        }
        Ok(Some(String::from_utf8_lossy(&self.get(key)?).into_owned()))
    }
}
