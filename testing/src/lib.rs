//! Shared by the tests of several crates: Python environments with other runtimes, a headless
//! browser, an object store, a C++ compiler, NVIDIA's run-time compiler, the golden values of the losses, and the memory use of a
//! process.
//!
//! `cargo xtask test` installs what the tests need. A test whose [`Requirement`] is not met calls
//! [`skip()`] and returns.

mod archive;
mod browser;
mod cpp;
mod emulation;
#[cfg(target_os = "linux")]
mod nvrtc;
mod object_server;
mod port;
mod python;
mod server;
mod signature;
mod skip;

use std::fs;
use std::path::{Path, PathBuf};

pub use archive::archive;
pub use browser::{ONNXRUNTIME_WEB, WebPackage, browse, browse_alone, chromium};
pub use cpp::Cpp;
pub use emulation::Emulation;
#[cfg(target_os = "linux")]
pub use nvrtc::{Compiled, KernelResources, Nvrtc, PtxAssembler};
pub use object_server::{Fault, ObjectRequest, ObjectServer};
pub use port::free_port;
pub use python::{Environment, NVRTC, Packages, WEBGPU_PLUGIN, python, run};
pub use server::Site;
pub use skip::{Requirement, SKIP_LOG, Skip, skip};

/// A file or folder in `../shared`, which has test data that is not part of the repository; the folder
/// itself if `path` is empty. `None`, after a call of [`skip()`], if it does not exist.
pub fn shared(path: &str) -> Option<PathBuf> {
    let full = shared_folder().join(path);
    if full.exists() {
        return Some(full);
    }
    let name = format!("../shared/{path}");
    let name = name.trim_end_matches('/');
    skip(Requirement::Shared, &format!("{name} does not exist"));
    None
}

/// The folder `../shared`, which need not exist.
pub fn shared_folder() -> PathBuf {
    root().join("../shared")
}

/// A file with exact values of the losses: the full list from `../shared/golden`. If that does not
/// exist, this calls [`skip()`] and returns the shorter list in the repository.
pub fn golden() -> PathBuf {
    shared("golden/loss.jsonl").unwrap_or_else(|| root().join("ops/tests/data/loss.jsonl"))
}

/// The resident memory of this process in bytes, accurate to a few MiB.
///
/// # Panics
///
/// On systems other than Linux.
pub fn resident() -> usize {
    let status = fs::read_to_string("/proc/self/status").expect("Linux has /proc/self/status");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<usize>().ok());
    1024 * kib.expect("VmRSS is a number of KiB")
}

/// The root folder of the workspace.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("testing is a folder of the workspace")
}

/// The folder in which `cargo xtask` installs libraries and packages.
fn native() -> PathBuf {
    root().join(".native")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn golden_values_are_always_available() {
        let path = golden();
        let text = fs::read_to_string(path).unwrap();
        assert!(text.lines().count() >= 72);
    }
}
