//! libtorch: PyTorch's C++ library.

use std::fs;
use std::path::{Path, PathBuf};

use crate::library::{self, LoadError};

/// The version that the `tch` crate is made for.
pub const VERSION: &str = "2.11.0";

const CUDA_LIBRARY: &str = "libtorch_cuda.so";

/// A folder with libtorch's `lib` and `include`.
#[derive(Clone, Debug)]
pub struct Installation {
    root: PathBuf,
}

impl Installation {
    /// The installation in `root`, if libtorch's CPU library is there.
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

    /// CUDA's runtime library as Python packages lay it out beside this installation, if it is there.
    pub fn cuda_runtime(&self) -> Option<PathBuf> {
        let file = self.root.parent()?.join("nvidia/cu13/lib/libcudart.so.13");
        file.is_file().then_some(file)
    }

    /// Library file of the CUDA part, whether it is there or not.
    pub fn cuda_library(&self) -> PathBuf {
        self.root.join("lib").join(CUDA_LIBRARY)
    }

    /// Loads the CUDA part of this installation.
    ///
    /// # Errors
    /// As [`load_cuda`].
    pub fn load_cuda(&self) -> Result<(), LoadError> {
        library::load_global(self.cuda_library())
    }
}

/// Loads the CUDA part of the libtorch that this program is linked to. Until then libtorch sees no
/// GPU.
///
/// # Errors
/// If the library, or one that it needs in turn, is absent: the installation is for the CPU.
pub fn load_cuda() -> Result<(), LoadError> {
    library::load_global(CUDA_LIBRARY)
}
