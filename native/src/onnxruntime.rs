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

/// The library file: the one that `ORT_DYLIB_PATH` names, otherwise one beside the running program (`libonnxruntime.so`,
/// or with the version appended, as in Python packages), otherwise the one that was set up when this program was built.
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
    let beside = env::current_exe().map_or_else(|_| vec![], |exe| beside(&exe).to_vec());
    let built = option_env!("ORT_DYLIB_PATH").map(PathBuf::from);
    let candidates: Vec<PathBuf> = beside.into_iter().chain(built).collect();
    candidates
        .iter()
        .find(|path| path.is_file())
        .cloned()
        .ok_or(NotFound(candidates))
}

/// Where the library may be beside a program.
fn beside(program: &Path) -> [PathBuf; 2] {
    let plain = "libonnxruntime.so";
    [plain.to_owned(), format!("{plain}.{VERSION}")].map(|name| program.with_file_name(name))
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
/// The path may be a link, or relative to the current folder. The dynamic linker searches for those that do not exist
/// there when the provider is loaded.
///
/// # Errors
/// If a library, or one that ONNX Runtime will load for a GPU, exists but cannot be loaded.
pub fn load_cuda_libraries(file: &Path) -> Result<(), LoadError> {
    let file = file.canonicalize().unwrap_or_else(|_| file.to_owned());
    for provider in PROVIDERS.map(|name| file.with_file_name(name)) {
        if provider.is_file() {
            library::check(provider.as_os_str())?;
        }
    }
    cuda_libraries(&file)
        .into_iter()
        .try_for_each(library::load_global)
}

/// The CUDA libraries that are installed beside ONNX Runtime, whose path is absolute and without links.
fn cuda_libraries(file: &Path) -> Vec<PathBuf> {
    // PACKAGES/onnxruntime/capi/libonnxruntime.so
    let Some(packages) = file.ancestors().nth(3) else {
        return vec![];
    };
    let nvidia = packages.join("nvidia");
    let paths =
        CUDA_LIBRARIES.map(|(package, library)| nvidia.join(package).join("lib").join(library));
    paths.into_iter().filter(|path| path.is_file()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_beside_a_program_may_have_the_version_in_their_name() {
        let [plain, versioned] = beside(Path::new("/opt/topk/topk-eval"));
        assert_eq!(plain, Path::new("/opt/topk/libonnxruntime.so"));
        let name = format!("libonnxruntime.so.{VERSION}");
        assert_eq!(versioned, Path::new("/opt/topk").join(name));
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn cuda_libraries_are_found_through_a_link_to_onnxruntime() {
        let folder = tempfile::tempdir().unwrap();
        let capi = folder.path().join("packages/onnxruntime/capi");
        let cudart = folder
            .path()
            .join("packages/nvidia/cu13/lib/libcudart.so.13");
        for file in [&capi.join("libonnxruntime.so"), &cudart] {
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
            std::fs::write(file, "not a library").unwrap();
        }
        let link = folder.path().join("libonnxruntime.so");
        std::os::unix::fs::symlink(capi.join("libonnxruntime.so"), &link).unwrap();
        let LoadError::NotLibrary { path } = load_cuda_libraries(&link).unwrap_err() else {
            panic!("the library is not one");
        };
        assert_eq!(path, cudart.canonicalize().unwrap());
    }
}
