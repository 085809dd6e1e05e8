//! ONNX Runtime.

use std::env;
use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::library::{self, LoadError};

/// The version that the `ort` crate is made for.
pub const VERSION: &str = "1.31.1";

/// Names the library file, for one that the user chooses.
pub const PATH_VARIABLE: &str = "ORT_DYLIB_PATH";

/// Keeps ONNX Runtime from collecting data about its use where it is `1` before the library is loaded.
pub const TELEMETRY_VARIABLE: &str = "ORT_DISABLE_TELEMETRY";

/// ONNX Runtime is in none of the places where it is looked for.
#[derive(Debug, Error)]
#[error(
    "ONNX Runtime was not found ({}). Run `cargo xtask setup` in the source folder, or set \
     {PATH_VARIABLE} to the file libonnxruntime.so of version {VERSION}, for example from the \
     Python package onnxruntime (or onnxruntime-gpu) {VERSION}",
    looked_for(.0)
)]
pub struct NotFound(Vec<PathBuf>);

fn looked_for(paths: &[PathBuf]) -> String {
    let paths: Vec<_> = paths
        .iter()
        .map(|path| format!("no {}", path.display()))
        .collect();
    paths.join(", ")
}

/// The library file: what `ORT_DYLIB_PATH` says, else one beside the running program, else the one
/// that was set up when this program was built.
///
/// # Errors
/// If there is no such file. A file that the variable names and that does not exist is an error
/// too: no other is used in its place.
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

/// Keeps ONNX Runtime from collecting data about its use, which its builds for Linux and macOS send to Microsoft: of
/// each process the path of the program, the processor, the system, and a number that stands for the machine.
///
/// [`Runtime`](crate::Runtime) turns that off too, but it can only once a first message has been made and kept in the
/// user's cache. A value that the user has given [`TELEMETRY_VARIABLE`] stays.
///
/// # Safety
/// As [`env::set_var`]: no other thread may use the environment. Call it first in a program.
pub unsafe fn disable_telemetry() {
    if env::var_os(TELEMETRY_VARIABLE).is_none() {
        // SAFETY: as the caller promises.
        unsafe { env::set_var(TELEMETRY_VARIABLE, "1") };
    }
}

/// Asks the library in `file` for its version.
///
/// # Errors
/// If it cannot be loaded, or is not ONNX Runtime.
pub fn version(file: &Path) -> Result<String, LoadError> {
    library::onnxruntime_version(file.as_os_str())
}

/// The CUDA execution provider that belongs to the library in `file`, if it is there.
pub fn cuda_provider(file: &Path) -> Option<PathBuf> {
    let provider = file.with_file_name("libonnxruntime_providers_cuda.so");
    provider.is_file().then_some(provider)
}

/// What the CUDA execution provider needs, dependencies first; its own file has no run path.
const CUDA_LIBRARIES: [(&str, &str); 7] = [
    ("cu13", "libcudart.so.13"),
    ("cu13", "libcublasLt.so.13"),
    ("cu13", "libcublas.so.13"),
    ("cu13", "libcurand.so.10"),
    ("cu13", "libcufft.so.12"),
    ("cu13", "libnvrtc.so.13"),
    ("cudnn", "libcudnn.so.9"),
];

/// Loads the CUDA libraries that lie beside ONNX Runtime as Python packages lay them out
/// (`nvidia/*/lib` next to `onnxruntime/`), for the CUDA execution provider to find.
///
/// Those that are not there are left to the dynamic linker's search when the provider is loaded.
///
/// # Errors
/// If one is there and cannot be loaded.
pub fn load_cuda_libraries(file: &Path) -> Result<(), LoadError> {
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
