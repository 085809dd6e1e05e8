//! Locating ONNX Runtime and its CUDA libraries.

use std::env;
use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::library::{self, LoadError};

/// The version that the crate `ort` requires.
pub const VERSION: &str = "1.31.1";

/// Environment variable with the path of the library file to use.
pub const PATH_VARIABLE: &str = "ORT_DYLIB_PATH";

/// Environment variable that disables ONNX Runtime's telemetry if it is `1` before the library is loaded.
pub const TELEMETRY_VARIABLE: &str = "ORT_DISABLE_TELEMETRY";

/// ONNX Runtime was not found.
#[derive(Debug, Error)]
#[error(
    "ONNX Runtime was not found at {}. Set {PATH_VARIABLE} to the file libonnxruntime.so of version {VERSION}, for \
     example from the Python package onnxruntime (or onnxruntime-gpu) {VERSION}",
    list(.0)
)]
pub struct NotFound(Vec<PathBuf>);

fn list(paths: &[PathBuf]) -> String {
    let paths: Vec<_> = paths
        .iter()
        .map(|path| path.display().to_string())
        .collect();
    paths.join(" or ")
}

/// The library file: the one that `ORT_DYLIB_PATH` names, otherwise one beside the running program, otherwise the one
/// that was set up when this program was built.
///
/// # Errors
/// If the file does not exist. If the variable names a file that does not exist, no other file is used instead.
pub fn locate() -> Result<PathBuf, NotFound> {
    if let Some(path) = env::var_os(PATH_VARIABLE).filter(|path| !path.is_empty()) {
        let path = PathBuf::from(path);
        return if path.is_file() {
            Ok(path)
        } else {
            Err(NotFound(vec![path]))
        };
    }
    let beside = env::current_exe()
        .ok()
        .map(|exe| exe.with_file_name("libonnxruntime.so"));
    let built = option_env!("ORT_DYLIB_PATH").map(PathBuf::from);
    let candidates: Vec<PathBuf> = beside.into_iter().chain(built).collect();
    candidates
        .iter()
        .find(|path| path.is_file())
        .cloned()
        .ok_or(NotFound(candidates))
}

/// Disables the telemetry of ONNX Runtime, which its builds for Linux and macOS send to Microsoft: for each process the
/// path of the program, the processor, the system, and a machine identifier.
///
/// [`Runtime`](crate::Runtime) disables it too, but only after a first event has already been created and cached on
/// disk. A value of [`TELEMETRY_VARIABLE`] set by the user is kept.
///
/// # Safety
/// Like [`env::set_var`]: no other thread may access the environment. Call this first in `main`.
pub unsafe fn disable_telemetry() {
    if env::var_os(TELEMETRY_VARIABLE).is_none() {
        // SAFETY: as the caller promises.
        unsafe { env::set_var(TELEMETRY_VARIABLE, "1") };
    }
}

/// The version of the library in `file`.
///
/// # Errors
/// If the file cannot be loaded or is not ONNX Runtime.
pub fn version(file: &Path) -> Result<String, LoadError> {
    library::onnxruntime_version(file.as_os_str())
}

/// The CUDA execution provider beside the library in `file`, if it exists.
pub fn cuda_provider(file: &Path) -> Option<PathBuf> {
    let provider = file.with_file_name("libonnxruntime_providers_cuda.so");
    provider.is_file().then_some(provider)
}

/// Libraries that the CUDA execution provider needs, dependencies first: the provider has no run path.
const CUDA_LIBRARIES: [(&str, &str); 7] = [
    ("cu13", "libcudart.so.13"),
    ("cu13", "libcublasLt.so.13"),
    ("cu13", "libcublas.so.13"),
    ("cu13", "libcurand.so.10"),
    ("cu13", "libcufft.so.12"),
    ("cu13", "libnvrtc.so.13"),
    ("cudnn", "libcudnn.so.9"),
];

/// Libraries beside ONNX Runtime that it loads for an NVIDIA GPU.
const PROVIDERS: [&str; 3] = [
    "libonnxruntime_providers_shared.so",
    "libonnxruntime_providers_cuda.so",
    "libonnxruntime_providers_tensorrt.so",
];

/// Loads the CUDA libraries installed beside ONNX Runtime in the layout of Python packages (`nvidia/*/lib` next to
/// `onnxruntime/`), so that the CUDA execution provider finds them.
///
/// The dynamic linker searches for those that do not exist there when the provider is loaded.
///
/// # Errors
/// If a library, or one that ONNX Runtime will load for a GPU, exists but cannot be loaded.
pub fn load_cuda_libraries(file: &Path) -> Result<(), LoadError> {
    for provider in PROVIDERS.map(|name| file.with_file_name(name)) {
        if provider.is_file() {
            library::check(provider.as_os_str())?;
        }
    }
    let Some(packages) = file.ancestors().nth(3) else {
        return Ok(());
    };
    for (package, library) in CUDA_LIBRARIES {
        let path = packages
            .join("nvidia")
            .join(package)
            .join("lib")
            .join(library);
        if path.is_file() {
            library::load_global(path)?;
        }
    }
    Ok(())
}
