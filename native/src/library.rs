//! Opens shared libraries; all calls of the dynamic linker are here.

use std::error::Error as _;
use std::ffi::{CStr, OsStr, c_char, c_int, c_void};
use std::io;
use std::path::{Path, PathBuf};

use libloading::os::unix::{Library, RTLD_GLOBAL, RTLD_NOW, Symbol};
use thiserror::Error;

use crate::elf::{Damage, damage};

/// A shared library cannot be loaded.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum LoadError {
    /// The dynamic linker cannot load it; its message.
    #[error("{}", .0.source().map_or_else(|| .0.to_string(), ToString::to_string))]
    Linker(#[from] libloading::Error),
    /// The file cannot be read.
    #[error("cannot read {}: {error}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The cause.
        error: io::Error,
    },
    /// The file is not a shared library.
    #[error(
        "{} is not a shared library: install it again, and look for a file that was not downloaded \
         completely",
        .0.display()
    )]
    NotLibrary(PathBuf),
    /// The file ends too early.
    #[error(
        "{} is truncated: it has {size} bytes, but at least {expected} according to its headers; \
         install it again",
        path.display()
    )]
    Truncated {
        /// The file.
        path: PathBuf,
        /// Its size in bytes.
        size: u64,
        /// The least size according to its headers.
        expected: u64,
    },
}

/// Checks that the file of a library is complete. A name without a folder is not checked: the dynamic linker
/// searches for it.
pub(crate) fn check(file: &OsStr) -> Result<(), LoadError> {
    let path = Path::new(file);
    if !cfg!(target_os = "linux") || path.parent() == Some(Path::new("")) {
        return Ok(());
    }
    match damage(path) {
        Ok(None) => Ok(()),
        Ok(Some(Damage::NotElf)) => Err(LoadError::NotLibrary(path.to_owned())),
        Ok(Some(Damage::Truncated { size, expected })) => Err(LoadError::Truncated {
            path: path.to_owned(),
            size,
            expected,
        }),
        Err(error) => Err(LoadError::Read {
            path: path.to_owned(),
            error,
        }),
    }
}

/// Loads a library for the rest of the process; its symbols are visible to libraries loaded later.
///
/// A file name without a folder is searched for by the dynamic linker, including the run path of the program.
pub(crate) fn load_global(file: impl AsRef<OsStr>) -> Result<(), LoadError> {
    let file = file.as_ref();
    check(file)?;
    // SAFETY: only called for libtorch's and CUDA's libraries, whose initialisers only register themselves; the
    // libraries are never unloaded, since `forget` leaves the handle open.
    let library = unsafe { Library::open(Some(file), RTLD_NOW | RTLD_GLOBAL) }?;
    #[expect(clippy::mem_forget, reason = "the library stays loaded")]
    std::mem::forget(library);
    Ok(())
}

/// Calls `cuDriverGetVersion` of CUDA's driver library or `cudaRuntimeGetVersion` of its runtime:
/// 1000 × major + 10 × minor.
pub(crate) fn cuda_version(file: &OsStr, function: CudaVersion) -> Result<c_int, LoadError> {
    let symbol: &[u8] = match function {
        CudaVersion::Driver => b"cuDriverGetVersion\0",
        CudaVersion::Runtime => b"cudaRuntimeGetVersion\0",
    };
    check(file)?;
    let mut version = 0;
    // SAFETY: both functions may be called at any time, even before CUDA is initialised; both have the signature
    // `int f(int *)`, and `version` outlives the call.
    unsafe {
        let library = Library::open(Some(file), RTLD_NOW)?;
        let get: Symbol<unsafe extern "C" fn(*mut c_int) -> c_int> = library.get(symbol)?;
        get(&raw mut version);
    }
    Ok(version)
}

/// Which version of CUDA to query.
#[derive(Clone, Copy, Debug)]
pub(crate) enum CudaVersion {
    Driver,
    Runtime,
}

/// Loads ONNX Runtime and returns its version, such as `1.31.1`.
pub(crate) fn onnxruntime_version(file: &OsStr) -> Result<String, LoadError> {
    #[repr(C)]
    struct OrtApiBase {
        get_api: unsafe extern "C" fn(u32) -> *const c_void,
        get_version_string: unsafe extern "C" fn() -> *const c_char,
    }
    check(file)?;
    // SAFETY: `OrtGetApiBase` takes no arguments and returns a pointer to a static of this layout, which ONNX Runtime
    // guarantees never to change; the version is a static NUL-terminated string, copied before the library is closed.
    unsafe {
        let library = Library::open(Some(file), RTLD_NOW)?;
        let base: Symbol<unsafe extern "C" fn() -> *const OrtApiBase> =
            library.get(b"OrtGetApiBase\0")?;
        let version = ((*base()).get_version_string)();
        Ok(CStr::from_ptr(version).to_string_lossy().into_owned())
    }
}
