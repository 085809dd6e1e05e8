use std::ffi::{OsStr, c_int};
use std::path::Path;

use crate::library::{CudaVersion, LoadError, cuda_version};

/// Highest CUDA version (major, minor) that the installed NVIDIA driver supports.
///
/// # Errors
/// If no driver is installed.
pub fn driver_version() -> Result<(u32, u32), LoadError> {
    cuda_version(OsStr::new("libcuda.so.1"), CudaVersion::Driver).map(major_minor)
}

/// Version (major, minor) of the CUDA runtime library (`libcudart.so`) in `file`.
///
/// # Errors
/// If the library cannot be loaded.
pub fn runtime_version(file: &Path) -> Result<(u32, u32), LoadError> {
    cuda_version(file.as_os_str(), CudaVersion::Runtime).map(major_minor)
}

fn major_minor(version: c_int) -> (u32, u32) {
    let version = version.unsigned_abs();
    (version / 1000, version % 1000 / 10)
}
