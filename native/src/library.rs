//! Opens shared libraries; all calls of the dynamic linker are here.

use std::error::Error as _;
use std::ffi::{CStr, OsStr, c_char, c_int, c_uint, c_void};
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
        path.display()
    )]
    NotLibrary {
        /// The file.
        path: PathBuf,
    },
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
        Ok(Some(Damage::NotElf)) => Err(LoadError::NotLibrary {
            path: path.to_owned(),
        }),
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

/// Name of the GPU with this index, from CUDA's driver library; `None` if it does not exist.
pub(crate) fn gpu_name(file: &OsStr, index: usize) -> Result<Option<String>, LoadError> {
    let Ok(index) = c_int::try_from(index) else {
        return Ok(None);
    };
    check(file)?;
    let mut name = [0; 256];
    // SAFETY: the functions have these signatures in every version of the driver, `cuInit` comes first, and may be
    // called again. The pointers outlive the calls. The name is not longer than the length that is passed, and
    // ends with NUL. The library stays loaded, as CUDA's state is in it.
    let found = unsafe {
        let library = Library::open(Some(file), RTLD_NOW)?;
        let initialize: Symbol<unsafe extern "C" fn(c_uint) -> c_int> = library.get(b"cuInit\0")?;
        let get: Symbol<unsafe extern "C" fn(*mut c_int, c_int) -> c_int> =
            library.get(b"cuDeviceGet\0")?;
        let name_of: Symbol<unsafe extern "C" fn(*mut c_char, c_int, c_int) -> c_int> =
            library.get(b"cuDeviceGetName\0")?;
        let mut device = 0;
        let found = initialize(0) == 0
            && get(&raw mut device, index) == 0
            && name_of(name.as_mut_ptr(), name.len() as c_int, device) == 0;
        #[expect(clippy::mem_forget, reason = "the library stays loaded")]
        std::mem::forget(library);
        found
    };
    let bytes: Vec<u8> = name.iter().map(|&byte| byte as u8).collect();
    let name = CStr::from_bytes_until_nul(&bytes).ok().filter(|_| found);
    Ok(name.map(|name| name.to_string_lossy().into_owned()))
}

/// Calls `cudnnGetVersion`.
pub(crate) fn cudnn_version(file: &OsStr) -> Result<usize, LoadError> {
    check(file)?;
    // SAFETY: `cudnnGetVersion` takes no arguments, returns a `size_t`, and may be called at any time.
    unsafe {
        let library = Library::open(Some(file), RTLD_NOW)?;
        let version: Symbol<unsafe extern "C" fn() -> usize> = library.get(b"cudnnGetVersion\0")?;
        Ok(version())
    }
}

/// Calls `getInferLibVersion` of TensorRT: 10000 × major + 100 × minor + patch.
pub(crate) fn tensorrt_version(file: &OsStr) -> Result<c_int, LoadError> {
    check(file)?;
    // SAFETY: `getInferLibVersion` takes no arguments, returns an `int`, and may be called at any time.
    unsafe {
        let library = Library::open(Some(file), RTLD_NOW)?;
        let version: Symbol<unsafe extern "C" fn() -> c_int> =
            library.get(b"getInferLibVersion\0")?;
        Ok(version())
    }
}

/// Bytes in use and all bytes of the memory of the GPU with this index, as CUDA's runtime library tells; `None` if the
/// GPU does not exist.
pub(crate) fn gpu_memory(file: &OsStr, index: usize) -> Result<Option<(usize, usize)>, LoadError> {
    let Ok(index) = c_int::try_from(index) else {
        return Ok(None);
    };
    check(file)?;
    let (mut current, mut free, mut total) = (0, 0, 0);
    // SAFETY: the functions have these signatures in every version of the runtime, and may be called at any time. The
    // pointers outlive the calls. The current device, which belongs to this thread, is set back. The library stays
    // loaded, as CUDA's state is in it.
    let found = unsafe {
        let library = Library::open(Some(file), RTLD_NOW)?;
        let device: Symbol<unsafe extern "C" fn(*mut c_int) -> c_int> =
            library.get(b"cudaGetDevice\0")?;
        let set_device: Symbol<unsafe extern "C" fn(c_int) -> c_int> =
            library.get(b"cudaSetDevice\0")?;
        let memory: Symbol<unsafe extern "C" fn(*mut usize, *mut usize) -> c_int> =
            library.get(b"cudaMemGetInfo\0")?;
        let found = device(&raw mut current) == 0
            && set_device(index) == 0
            && memory(&raw mut free, &raw mut total) == 0;
        set_device(current);
        #[expect(clippy::mem_forget, reason = "the library stays loaded")]
        std::mem::forget(library);
        found
    };
    Ok(found.then(|| (total.saturating_sub(free), total)))
}
