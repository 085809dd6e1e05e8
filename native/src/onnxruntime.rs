//! Locating ONNX Runtime and its CUDA libraries.

use std::path::{Path, PathBuf};
use std::{env, fs};

use thiserror::Error;

use crate::library::{self, LoadError};
use crate::python;

/// The version that this project is tested with. The crate `ort` accepts all from 1.31.0 on: ONNX Runtime keeps the
/// interface of earlier versions.
pub const VERSION: &str = "1.31.1";

/// The file name of the library; in Python packages, the version is appended.
const LIBRARY: &str = "libonnxruntime.so";

/// Environment variable with the path of the library file to use.
pub const PATH_VARIABLE: &str = "ORT_DYLIB_PATH";

/// Environment variable that disables ONNX Runtime's telemetry if it is `1` before the library is loaded.
pub const TELEMETRY_VARIABLE: &str = "ORT_DISABLE_TELEMETRY";

/// ONNX Runtime was not found.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum NotFound {
    /// The file that the user chose does not exist.
    #[error(
        "ONNX Runtime was not found at {}, the value of {PATH_VARIABLE}. Set it to the file libonnxruntime.so of \
         version {VERSION} or newer, or unset it",
        path.display()
    )]
    Chosen {
        /// The file.
        path: PathBuf,
    },
    /// It is in none of the places where it is searched for.
    #[error(
        "ONNX Runtime was not found at {}. Install it with `{python} -m pip install onnxruntime` (on machines with an \
         NVIDIA GPU, onnxruntime-gpu), or set {PATH_VARIABLE} to the file libonnxruntime.so of version {VERSION} or \
         newer",
        list(places)
    )]
    Searched {
        /// The files and folders that do not exist or do not have it.
        places: Vec<PathBuf>,
        /// The interpreter of the Python environment that the program is in.
        python: String,
    },
}

fn list(paths: &[PathBuf]) -> String {
    let paths: Vec<_> = paths
        .iter()
        .map(|path| path.display().to_string())
        .collect();
    paths.join(" or ")
}

/// The library file. The first of these that exists:
///
/// 1. the one that `ORT_DYLIB_PATH` names;
/// 2. one beside the running program: `libonnxruntime.so`, or with the version appended;
/// 3. the newest in the Python packages of the environment that the program was installed into, as by
///    `pip install`;
/// 4. the one that was set up when this program was built.
///
/// # Errors
/// If none exists. If the variable names a file that does not exist, no other file is used instead.
pub fn locate() -> Result<PathBuf, NotFound> {
    if let Some(path) = env::var_os(PATH_VARIABLE).filter(|path| !path.is_empty()) {
        let path = PathBuf::from(path);
        return if path.is_file() {
            Ok(path)
        } else {
            Err(NotFound::Chosen { path })
        };
    }
    let built = option_env!("ORT_DYLIB_PATH").filter(|path| !path.is_empty());
    // Without links, as programs of pipx and uv are started through one.
    let program = env::current_exe().and_then(|path| path.canonicalize());
    locate_for(&program.unwrap_or_default(), built.map(PathBuf::from))
}

/// The library file for a program, if the user has not chosen another.
fn locate_for(program: &Path, built: Option<PathBuf>) -> Result<PathBuf, NotFound> {
    let mut places = Vec::new();
    let beside = beside(program);
    if let Some(path) = beside.iter().find(|path| path.is_file()) {
        return Ok(path.clone());
    }
    places.extend(beside);
    let folders = python::package_folders(program)
        .into_iter()
        .map(|packages| packages.join("onnxruntime/capi"));
    let folders: Vec<PathBuf> = folders.collect();
    if let Some(path) = newest(&folders) {
        return Ok(path);
    }
    places.extend(folders);
    if let Some(path) = built {
        if path.is_file() {
            return Ok(path);
        }
        places.push(path);
    }
    let python = python::interpreter(program);
    Err(NotFound::Searched {
        places,
        python: python.map_or_else(|| "python3".to_owned(), |path| path.display().to_string()),
    })
}

/// Where the library may be beside a program.
fn beside(program: &Path) -> [PathBuf; 2] {
    [LIBRARY.to_owned(), format!("{LIBRARY}.{VERSION}")].map(|name| program.with_file_name(name))
}

/// The library with the highest version in its file name in these folders of Python packages.
fn newest(folders: &[PathBuf]) -> Option<PathBuf> {
    let mut found = Vec::new();
    for folder in folders {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            let name = entry.file_name();
            let Some(version) = name.to_str().and_then(|name| name.strip_prefix(LIBRARY)) else {
                continue;
            };
            let numbers = version.split('.').skip(1).map(str::parse::<u32>);
            if let Ok(version) = numbers.collect::<Result<Vec<_>, _>>() {
                found.push((version, entry.path()));
            }
        }
    }
    found.into_iter().max().map(|(_, path)| path)
}

/// Disables the telemetry of ONNX Runtime, which its builds for Linux and macOS send to Microsoft: for each process the
/// path of the program, the processor, the system, and a machine identifier.
///
/// The `Runtime` of the feature `ort` disables it too, but only after a first event has already been created and cached on
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

/// TensorRT is not available to ONNX Runtime.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum TensorRtError {
    /// ONNX Runtime was built without it, or its provider was left out.
    #[error(
        "{} has no TensorRT provider beside it: install the package onnxruntime-gpu in place of onnxruntime",
        onnxruntime.display()
    )]
    NoProvider {
        /// The library of ONNX Runtime.
        onnxruntime: PathBuf,
    },
    /// A library of TensorRT cannot be loaded.
    #[error(
        "TensorRT's library {library} cannot be loaded ({error}): install TensorRT 10 for CUDA 13, as by `pip install \
         tensorrt-cu13` into the environment of onnxruntime-gpu, or add its folder to LD_LIBRARY_PATH"
    )]
    Library {
        /// Its name.
        library: &'static str,
        /// The cause.
        error: LoadError,
    },
}

/// The libraries of TensorRT that its provider needs, dependencies first.
const TENSORRT_LIBRARIES: [&str; 2] = ["libnvinfer.so.10", "libnvonnxparser.so.10"];

/// Loads TensorRT, from Python's package `tensorrt_libs` beside ONNX Runtime's or from where the dynamic linker finds
/// it, so that the TensorRT execution provider finds it. Returns its version, such as `10.13.3`.
///
/// # Errors
/// If the provider of the ONNX Runtime in `file` or a library of TensorRT is missing.
pub fn load_tensorrt(file: &Path) -> Result<String, TensorRtError> {
    let provider = file.with_file_name("libonnxruntime_providers_tensorrt.so");
    if !provider.is_file() {
        return Err(TensorRtError::NoProvider {
            onnxruntime: file.to_owned(),
        });
    }
    let file = file.canonicalize().unwrap_or_else(|_| file.to_owned());
    let packages = file.ancestors().nth(3).unwrap_or(Path::new(""));
    let path = |name: &str| {
        let packaged = packages.join("tensorrt_libs").join(name);
        match packaged.is_file() {
            true => packaged,
            false => name.into(),
        }
    };
    for library in TENSORRT_LIBRARIES {
        library::load_global(path(library))
            .map_err(|error| TensorRtError::Library { library, error })?;
    }
    let library = TENSORRT_LIBRARIES[0];
    let version = library::tensorrt_version(path(library).as_os_str());
    let version = version.map_err(|error| TensorRtError::Library { library, error })?;
    Ok(tensorrt_text(version.unsigned_abs()))
}

/// TensorRT's version from its number: 101303 is 10.13.3.
fn tensorrt_text(version: u32) -> String {
    let (major, minor, patch) = (version / 10_000, version % 10_000 / 100, version % 100);
    format!("{major}.{minor}.{patch}")
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
    fn what_is_missing_of_tensorrt_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let onnxruntime = file(&folder.path().join("onnxruntime/capi/libonnxruntime.so"));
        let error = load_tensorrt(&onnxruntime).unwrap_err().to_string();
        assert!(
            error.contains("has no TensorRT provider beside it"),
            "{error}"
        );
        file(&onnxruntime.with_file_name("libonnxruntime_providers_tensorrt.so"));
        // A file that is not a library, rather than one that this machine may have.
        file(&folder.path().join("tensorrt_libs/libnvinfer.so.10"));
        let error = load_tensorrt(&onnxruntime).unwrap_err().to_string();
        assert!(
            error.starts_with("TensorRT's library libnvinfer.so.10 cannot be loaded"),
            "{error}"
        );
        assert_eq!(tensorrt_text(101_303), "10.13.3");
    }

    #[test]
    fn libraries_beside_a_program_may_have_the_version_in_their_name() {
        let [plain, versioned] = beside(Path::new("/opt/topk/topk-eval"));
        assert_eq!(plain, Path::new("/opt/topk/libonnxruntime.so"));
        let name = format!("libonnxruntime.so.{VERSION}");
        assert_eq!(versioned, Path::new("/opt/topk").join(name));
    }

    fn file(path: &Path) -> PathBuf {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "").unwrap();
        path.to_owned()
    }

    #[test]
    fn the_newest_library_of_the_environment_is_used() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path();
        let program = file(&root.join("venv/bin/topk-eval"));
        let python = file(&root.join("venv/bin/python"));
        let built = file(&root.join("built/libonnxruntime.so.1.31.1"));
        let found = |built: &Path| locate_for(&program, Some(built.to_owned()));
        assert_eq!(found(&built).unwrap(), built);

        let packages = |version| root.join(format!("venv/lib/python3.{version}/site-packages"));
        let capi = |version| packages(version).join("onnxruntime/capi");
        fs::create_dir_all(packages(11)).unwrap();
        let error = found(&root.join("nothing")).unwrap_err().to_string();
        assert!(error.contains(&capi(11).display().to_string()), "{error}");
        let advice = format!("`{} -m pip install onnxruntime`", python.display());
        assert!(error.contains(&advice), "{error}");

        file(&capi(12).join("libonnxruntime.so.1.9.9"));
        file(&capi(12).join("libonnxruntime.so.1.100.0.bak"));
        file(&capi(12).join("libonnxruntime_providers_shared.so"));
        let newest = file(&capi(11).join("libonnxruntime.so.1.32.0"));
        assert_eq!(found(&built).unwrap(), newest);

        let beside = file(&root.join("venv/bin/libonnxruntime.so"));
        assert_eq!(found(&built).unwrap(), beside);
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
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, "not a library").unwrap();
        }
        let link = folder.path().join("libonnxruntime.so");
        std::os::unix::fs::symlink(capi.join("libonnxruntime.so"), &link).unwrap();
        let LoadError::NotLibrary { path } = load_cuda_libraries(&link).unwrap_err() else {
            panic!("the library is not one");
        };
        assert_eq!(path, cudart.canonicalize().unwrap());
    }
}
