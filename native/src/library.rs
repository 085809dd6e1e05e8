//! Opens shared libraries; all calls of the dynamic linker are here.

use std::error::Error as _;
use std::ffi::{CStr, OsStr, c_char, c_int, c_void};

use libloading::AsFilename;
use libloading::os::unix::{Library, RTLD_GLOBAL, RTLD_NOW, Symbol};
use thiserror::Error;

/// A shared library cannot be loaded; the message of the dynamic linker.
#[derive(Debug, Error)]
#[error("{}", .0.source().map_or_else(|| .0.to_string(), ToString::to_string))]
pub struct LoadError(#[from] libloading::Error);

/// Loads a library for the rest of the process; its symbols are visible to libraries loaded later.
///
/// A file name without a folder is searched for by the dynamic linker, including the run path of the program.
pub(crate) fn load_global(file: impl AsFilename) -> Result<(), LoadError> {
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
