//! Locating libtorch, PyTorch's C++ library, and loading its CUDA part.

use std::fs;
use std::path::{Path, PathBuf};

use crate::library::{self, LoadError};

/// The version that the crate `tch` requires.
pub const VERSION: &str = "2.11.0";

const CUDA_LIBRARY: &str = "libtorch_cuda.so";

/// A folder with libtorch's `lib` and `include` folders.
#[derive(Clone, Debug)]
pub struct Installation {
    root: PathBuf,
}

impl Installation {
    /// The installation in `root`, if it contains libtorch's CPU library.
    pub fn at(root: impl Into<PathBuf>) -> Option<Self> {
        let root = root.into();
        root.join("lib/libtorch_cpu.so")
            .is_file()
            .then_some(Self { root })
    }

    /// The folder.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Version according to its headers, such as `2.11.0`.
    pub fn version(&self) -> Option<String> {
        let header = self.root.join("include/torch/headeronly/version.h");
        let text = fs::read_to_string(header).ok()?;
        let (_, rest) = text.split_once("#define TORCH_VERSION \\")?;
        rest.split('"').nth(1).map(str::to_owned)
    }

    /// The CUDA runtime library beside this installation, in the layout of Python packages, if it exists.
    pub fn cuda_runtime(&self) -> Option<PathBuf> {
        let file = self.root.parent()?.join("nvidia/cu13/lib/libcudart.so.13");
        file.is_file().then_some(file)
    }

    /// Library file of the CUDA part, which may not exist.
    pub fn cuda_library(&self) -> PathBuf {
        self.root.join("lib").join(CUDA_LIBRARY)
    }

    /// Loads the CUDA part of this installation.
    ///
    /// # Errors
    /// The errors of [`load_cuda`].
    pub fn load_cuda(&self) -> Result<(), LoadError> {
        library::load_global(self.cuda_library())
    }
}

/// Loads the CUDA part of the libtorch that this program is linked to. Before that, libtorch sees no GPU.
///
/// # Errors
/// If the library or one of its dependencies is missing, as in an installation for the CPU only.
pub fn load_cuda() -> Result<(), LoadError> {
    library::load_global(CUDA_LIBRARY)
}
