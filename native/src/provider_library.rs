//! Libraries of execution providers that ONNX Runtime loads as plugins.

use std::fs;
use std::path::{Path, PathBuf};
use std::{env, ffi::OsStr};

use crate::library::{self, LoadError};
use crate::python;

/// The start of the names of Python packages with such a library.
const PACKAGES: &str = "onnxruntime_ep_";

/// Libraries that NVIDIA's plugin needs and that its package has, dependencies first: the plugin has no run path.
const DEPENDENCIES: [&str; 3] = [
    "libcudart.so.13",
    "libtensorrt_rtx.so.1",
    "libtensorrt_onnxparser_rtx.so.1",
];

/// The library of an execution provider that is not part of ONNX Runtime.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct ProviderLibrary {
    /// What its file is named after, such as `webgpu` for `libonnxruntime_providers_webgpu.so`.
    name: String,
    /// The file, without links.
    path: PathBuf,
}

impl ProviderLibrary {
    /// The library in a file.
    ///
    /// # Errors
    /// If the file cannot be read, or is not a complete library.
    pub fn open(path: &Path) -> Result<Self, LoadError> {
        let absolute = path.canonicalize().map_err(|error| LoadError::Read {
            path: path.to_owned(),
            error,
        })?;
        library::check(absolute.as_os_str())?;
        Ok(Self {
            // The name of a link is shorter than that of a file with a version.
            name: name_of(path),
            path: absolute,
        })
    }

    /// The libraries in Python packages named `onnxruntime_ep_…`, ordered by name: in the environment that this program
    /// was installed into, and beside the package of the ONNX Runtime in `onnxruntime`. Files are not opened.
    pub fn installed(onnxruntime: &Path) -> Vec<Self> {
        let program = env::current_exe().and_then(|path| path.canonicalize());
        let mut folders = python::package_folders(&program.unwrap_or_default());
        let onnxruntime = onnxruntime
            .canonicalize()
            .unwrap_or_else(|_| onnxruntime.to_owned());
        // PACKAGES/onnxruntime/capi/libonnxruntime.so
        folders.extend(onnxruntime.ancestors().nth(3).map(Path::to_owned));
        installed_in(&folders)
    }

    /// What its file is named after, such as `webgpu`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Loads the libraries of its package that it does not find by itself.
    ///
    /// # Errors
    /// If one exists but cannot be loaded.
    pub(crate) fn load_dependencies(&self) -> Result<(), LoadError> {
        let folder = self.path.parent().unwrap_or(Path::new(""));
        for dependency in DEPENDENCIES {
            let versioned = format!("{dependency}.");
            let found = files(folder).into_iter().find(|path| {
                let name = path.file_name().and_then(OsStr::to_str);
                name.is_some_and(|name| name == dependency || name.starts_with(&versioned))
            });
            found.map_or(Ok(()), library::load_global)?;
        }
        Ok(())
    }
}

fn installed_in(folders: &[PathBuf]) -> Vec<ProviderLibrary> {
    let packages = folders.iter().flat_map(|folder| files(folder));
    let packages = packages.filter(|path| {
        let name = path.file_name().and_then(OsStr::to_str);
        path.is_dir() && name.is_some_and(|name| name.starts_with(PACKAGES))
    });
    let libraries = packages.flat_map(|package| files(&package));
    let libraries = libraries.filter(|path| {
        let name = path.file_name().and_then(OsStr::to_str);
        let name = name.and_then(|name| name.strip_prefix("libonnxruntime_providers_"));
        // Others are links to it, or have a version.
        name.is_some_and(|name| name.ends_with(".so"))
    });
    let mut found: Vec<ProviderLibrary> = libraries
        .map(|path| ProviderLibrary {
            name: name_of(&path),
            path: path.canonicalize().unwrap_or(path),
        })
        .collect();
    found.sort();
    found.dedup_by(|a, b| a.path == b.path);
    found
}

/// The paths in a folder; none if it cannot be read.
fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).collect()
}

/// `webgpu` for `libonnxruntime_providers_webgpu.so`, and `openvino` for `libonnxruntime_providers_openvino_plugin.so`.
fn name_of(path: &Path) -> String {
    let file = path.file_name().unwrap_or_default().to_string_lossy();
    let name = file.split(".so").next().unwrap_or(&file);
    let name = name.strip_prefix("lib").unwrap_or(name);
    let name = name.strip_prefix("onnxruntime_providers_").unwrap_or(name);
    name.strip_suffix("_plugin").unwrap_or(name).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packages_of_providers_are_found() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path().canonicalize().unwrap();
        let packages = root.join("venv/lib/python3.12/site-packages");
        let file = |name: &str| {
            let path = packages.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, "not a library").unwrap();
            path
        };
        let webgpu = file("onnxruntime_ep_webgpu/libonnxruntime_providers_webgpu.so");
        let openvino =
            file("onnxruntime_ep_openvino/libonnxruntime_providers_openvino_plugin.so.1.8");
        let link = "libonnxruntime_providers_openvino_plugin.so";
        std::os::unix::fs::symlink(&openvino, openvino.with_file_name(link)).unwrap();
        file("onnxruntime_ep_openvino/libopenvino.so.2641");
        file("onnxruntime_ep_openvino-1.8.1.dist-info/libonnxruntime_providers_shared.txt");
        file("onnxruntime/capi/libonnxruntime_providers_shared.so");
        let found = installed_in(&[packages.clone(), packages.clone(), root.join("missing")]);
        let found: Vec<_> = found
            .iter()
            .map(|library| (library.name(), library.path()))
            .collect();
        assert_eq!(found, [("openvino", &*openvino), ("webgpu", &*webgpu)]);
        let error = ProviderLibrary::open(&webgpu).unwrap_err();
        assert!(
            error.to_string().contains("is not a shared library"),
            "{error}"
        );
        let error = ProviderLibrary::open(&root.join("missing.so")).unwrap_err();
        assert!(error.to_string().starts_with("cannot read"), "{error}");
    }

    #[test]
    fn libraries_are_named_after_their_files() {
        for (file, name) in [
            (
                "/a/libonnxruntime_providers_nv_tensorrt_rtx.so",
                "nv_tensorrt_rtx",
            ),
            (
                "libonnxruntime_providers_openvino_plugin.so.1.8.1",
                "openvino",
            ),
            ("libmine.so", "mine"),
        ] {
            assert_eq!(name_of(Path::new(file)), name);
        }
    }
}
