use crate::library::{self, LoadError};

/// CUDA version, major and minor, that the installed NVIDIA driver supports.
///
/// # Errors
/// If there is no driver.
pub fn driver_version() -> Result<(u32, u32), LoadError> {
    let version = library::cuda_driver_version()?.unsigned_abs();
    Ok((version / 1000, version % 1000 / 10))
}
