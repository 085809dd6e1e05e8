use std::ffi::OsStr;
use std::fs;

use crate::library;
use crate::runtime_version;

/// An NVIDIA GPU, and the versions of what it is used with. What cannot be determined is absent.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Gpu {
    /// Its name, such as `NVIDIA H100 PCIe`.
    pub name: Option<String>,
    /// Version of the driver, such as `580.65.06`.
    pub driver: Option<String>,
    /// Version of CUDA's runtime library, such as `13.0`.
    pub cuda: Option<String>,
    /// Version of cuDNN, such as `9.13.0`.
    pub cudnn: Option<String>,
}

impl Gpu {
    /// The GPU with this index among those that this process may use. Call it after ONNX Runtime has loaded its
    /// libraries: otherwise others may be found.
    pub fn of(index: usize) -> Self {
        let version = |text: String| driver_version(&text);
        let driver = || {
            let module = fs::read_to_string("/sys/module/nvidia/version").ok();
            let status = || fs::read_to_string("/proc/driver/nvidia/version").ok();
            module
                .and_then(version)
                .or_else(|| status().and_then(version))
        };
        let cuda = runtime_version("libcudart.so.13".as_ref()).ok();
        let cudnn = library::cudnn_version(OsStr::new("libcudnn.so.9")).ok();
        Self {
            name: library::gpu_name(OsStr::new("libcuda.so.1"), index)
                .ok()
                .flatten(),
            driver: driver(),
            cuda: cuda.map(|(major, minor)| format!("{major}.{minor}")),
            cudnn: cudnn.map(cudnn_text),
        }
    }
}

/// The version in a text such as `NVRM version: NVIDIA UNIX x86_64 Kernel Module  580.65.06  Sun Jul 27`.
fn driver_version(text: &str) -> Option<String> {
    let is_version = |word: &&str| {
        let mut parts = word.split('.');
        let number =
            |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
        parts.clone().count() >= 2 && parts.all(number)
    };
    let line = text.lines().next()?;
    line.split_whitespace().find(is_version).map(str::to_owned)
}

/// cuDNN's version from its number: 91300 is 9.13.0, and before version 9, 8902 is 8.9.2.
fn cudnn_text(version: usize) -> String {
    let major = if version >= 10_000 { 10_000 } else { 1000 };
    let (minor, patch) = (version % major / 100, version % 100);
    format!("{}.{minor}.{patch}", version / major)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_found_in_what_the_driver_writes() {
        let lines = "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.65.06  Release Build\n\
                     GCC version:  gcc version 13.3.0 (Ubuntu)\n";
        assert_eq!(driver_version(lines).as_deref(), Some("580.65.06"));
        assert_eq!(driver_version("535.104\n").as_deref(), Some("535.104"));
        assert_eq!(driver_version("no version. here"), None);
        assert_eq!(driver_version(""), None);
    }

    #[test]
    fn versions_of_cudnn() {
        assert_eq!(cudnn_text(91_300), "9.13.0");
        assert_eq!(cudnn_text(90_102), "9.1.2");
        assert_eq!(cudnn_text(8902), "8.9.2");
    }

    #[test]
    fn what_is_absent_is_not_an_error() {
        // This machine may have a GPU, but not one with such an index.
        assert_eq!(Gpu::of(usize::MAX).name, None);
    }
}
