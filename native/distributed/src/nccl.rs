//! NCCL's part of the program: a shared object among its data, loaded only for GPUs, since it needs libtorch's CUDA part.

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsRawFd, FromRawFd};
use std::time::Duration;

use topk_libtorch::call::check;
use topk_native::torch;

use crate::error::{DistributedError, message};
use crate::group::RawGroup;
use crate::store::{RawStore, milliseconds};

/// Empty if the program was built without it; see `build.rs`.
static OBJECT: &[u8] = include_bytes!(env!("TOPK_NCCL_OBJECT"));

/// Whether this program can use several GPUs. That depends on the machine that it was built on: it needs libtorch's CUDA
/// part and CUDA's headers.
pub fn has_nccl() -> bool {
    !OBJECT.is_empty()
}

type Add = unsafe extern "C" fn(
    group: *mut RawGroup,
    store: *mut RawStore,
    rank: c_int,
    size: c_int,
    device: c_int,
    timeout_ms: i64,
) -> *mut c_char;

/// The loaded object.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Nccl {
    add: Add,
}

impl Nccl {
    /// Loads the object for a GPU.
    pub(crate) fn load(index: usize) -> Result<Self, DistributedError> {
        if !has_nccl() {
            return Err(DistributedError::NoNccl { index });
        }
        let failed = |reason: String| DistributedError::LoadNccl { index, reason };
        torch::load_cuda().map_err(|error| failed(error.to_string()))?;
        open(OBJECT).map(|add| Self { add }).map_err(failed)
    }

    /// Makes NCCL the backend of a group for tensors on this GPU.
    pub(crate) fn add(
        self,
        group: *mut RawGroup,
        store: *mut RawStore,
        rank: usize,
        world_size: usize,
        index: usize,
        timeout: Duration,
    ) -> Result<(), DistributedError> {
        // SAFETY: the caller's group and store are live; the C++ side catches exceptions.
        let added = unsafe {
            check((self.add)(
                group,
                store,
                rank as c_int,
                world_size as c_int,
                index as c_int,
                milliseconds(timeout),
            ))
        };
        added.map_err(|error| DistributedError::StartNccl {
            index,
            rank,
            reason: message(&error),
        })
    }
}

/// Loads a shared object from memory, for the rest of the process.
fn open(object: &[u8]) -> Result<Add, String> {
    let file = memory_file(object).map_err(|error| error.to_string())?;
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    let path = CString::new(path).map_err(|error| error.to_string())?;
    // SAFETY: the object is this program's own; its initialisers only register types of libtorch. `topk_nccl_add` has this
    // signature (nccl.cpp).
    unsafe {
        let library = libc::dlopen(path.as_ptr(), libc::RTLD_NOW | libc::RTLD_LOCAL);
        if library.is_null() {
            return Err(linker_error());
        }
        let add = libc::dlsym(library, c"topk_nccl_add".as_ptr());
        if add.is_null() {
            return Err(linker_error());
        }
        Ok(std::mem::transmute::<*mut c_void, Add>(add))
    }
}

fn linker_error() -> String {
    // SAFETY: `dlerror` returns null or a string that lives until the next call of the dynamic linker on this thread.
    unsafe {
        let error = libc::dlerror();
        if error.is_null() {
            return "unknown error".to_owned();
        }
        CStr::from_ptr(error).to_string_lossy().into_owned()
    }
}

/// A file without a name on any disk.
#[cfg(target_os = "linux")]
fn memory_file(content: &[u8]) -> io::Result<File> {
    // SAFETY: the name is a string; the descriptor that is returned belongs to nobody else.
    let mut file = unsafe {
        let descriptor = libc::memfd_create(c"libtopk_nccl.so".as_ptr(), libc::MFD_CLOEXEC);
        if descriptor < 0 {
            return Err(io::Error::last_os_error());
        }
        File::from_raw_fd(descriptor)
    };
    file.write_all(content)?;
    Ok(file)
}

#[cfg(not(target_os = "linux"))]
fn memory_file(_: &[u8]) -> io::Result<File> {
    Err(io::Error::new(
        io::ErrorKind::Unsupported,
        "NCCL is for Linux",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_that_cannot_be_loaded_is_an_error() {
        let error = open(b"not a library").unwrap_err();
        assert!(error.contains("/proc/self/fd/"), "{error}");
    }
}
