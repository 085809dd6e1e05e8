//! The wheel of the Python package `topk`, which maturin builds.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use topk_testing::root;

use super::programs::TARGET;
use super::tools::Tools;
use super::{Options, archive};
use crate::{cargo, dist, licenses};

/// The oldest glibc that Rust supports, as maturin and cargo name it: old versions of torch, for which the wheel
/// is too, run on old systems.
const COMPATIBILITY: (&str, &str) = ("manylinux2014", "2.17");

/// The crate of the operators for ONNX Runtime, and its library.
const OPERATORS: (&str, &str) = ("topk-ops-ort", "libtopk_ops_ort.so");

/// Builds the wheel of the Python package in a folder.
pub(crate) fn build(folder: &str, options: &Options, tools: &Tools) -> Result<PathBuf> {
    let folder = root().join(folder);
    let package = folder.join("py_src/topk");
    let operators = Added::new(package.join(OPERATORS.1), |path| {
        let built = build_operators(&options.profile, tools)?;
        fs::copy(&built, path)
            .with_context(|| format!("cannot copy {} to {}", built.display(), path.display()))?;
        Ok(())
    })?;
    let third_party = Added::new(package.join(licenses::FILE), |path| {
        let crates = licenses::linked_into(&["topk-python", OPERATORS.0], &[])?;
        let text = licenses::document(&crates, "The libraries in this package")?;
        fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
    })?;

    let temporary = tempfile::tempdir().context("cannot create a temporary folder")?;
    let mut command = tools.maturin();
    command
        .current_dir(&folder)
        .args([
            "build",
            "--locked",
            "--zig",
            "--compatibility",
            COMPATIBILITY.0,
        ])
        .args(["--profile", &options.profile, "--out"])
        .arg(temporary.path());
    cargo::run(&mut command)?;
    let files = dist::files(temporary.path())?;
    let [wheel] = &files[..] else {
        bail!("maturin wrote {} files, expected one wheel", files.len());
    };
    drop((operators, third_party));

    let path = options.out.join(wheel.file_name().unwrap_or_default());
    fs::copy(wheel, &path)
        .with_context(|| format!("cannot copy {} to {}", wheel.display(), path.display()))?;
    let platform = tools.audit(&path, &[])?;
    let summary = archive::check(&path)?;
    let is_named = |named: &String| glibc(named) >= glibc(&platform);
    ensure!(
        summary.platforms.iter().any(is_named),
        "{} works with {platform} only",
        path.display()
    );
    Ok(path)
}

/// Builds the library of operators, for the same glibc. Returns its path.
fn build_operators(profile: &str, tools: &Tools) -> Result<PathBuf> {
    let (package, library) = OPERATORS;
    let mut command = tools.zigbuild();
    command
        .arg("--target")
        .arg(format!("{TARGET}.{}", COMPATIBILITY.1))
        .args(["--locked", "--profile", profile, "--package", package]);
    cargo::run(&mut command)?;
    let target = cargo::target_dir()?.join(TARGET);
    Ok(target.join(dist::profile_folder(profile)).join(library))
}

/// A file that is in the folder of a package only while its wheel is built.
struct Added(PathBuf);

impl Added {
    fn new(path: PathBuf, write: impl FnOnce(&Path) -> Result<()>) -> Result<Self> {
        let added = Self(path);
        write(&added.0)?;
        Ok(added)
    }
}

impl Drop for Added {
    fn drop(&mut self) {
        // It is ignored by git, and written anew for the next wheel.
        let _ = fs::remove_file(&self.0);
    }
}

/// The version of glibc in a platform tag such as `manylinux_2_28_x86_64`.
fn glibc(platform: &str) -> Option<(u32, u32)> {
    let mut parts = platform.strip_prefix("manylinux_")?.split('_');
    let mut number = || parts.next()?.parse().ok();
    Some((number()?, number()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_of_glibc_are_ordered() {
        assert_eq!(glibc("manylinux_2_28_x86_64"), Some((2, 28)));
        assert!(glibc("manylinux_2_5_x86_64") < glibc("manylinux_2_17_x86_64"));
        assert_eq!(glibc("linux_x86_64"), None);
    }
}
