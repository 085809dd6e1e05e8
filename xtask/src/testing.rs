//! Python and npm packages in `.native`: other runtimes and a browser's for tests, and tools that build wheels.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result};
use topk_testing::{ONNXRUNTIME_WEB, Packages};

use crate::cargo;

/// Installs packages that are missing.
pub(crate) fn set_up() -> Result<()> {
    for packages in Packages::ALL {
        install_python(packages).context(
            "cannot install the Python packages for tests (see pip's message above); they require Python \
             3.11 or newer. If this machine is offline, copy .native/python from a machine with the same \
             version of Python on which `cargo xtask test` has run",
        )?;
    }
    install_web()
}

/// Installs Python packages, unless they are installed already.
pub(crate) fn install_python(packages: &Packages) -> Result<()> {
    if packages.are_installed() {
        return Ok(());
    }
    println!("Downloading {}", packages.requirements.join(", "));
    let folder = packages
        .folder()
        .context("cannot start python3: Python 3.11 or newer, with pip, is required")?;
    install(&folder, |partial| {
        cargo::run(
            Command::new("python3")
                .args(["-m", "pip", "install", "--disable-pip-version-check"])
                .args(["--quiet", "--root-user-action=ignore", "--no-deps"])
                .args(["--only-binary=:all:", "--target"])
                .arg(partial)
                .args(packages.requirements),
        )?;
        let stamp = partial.join(Packages::STAMP);
        fs::write(&stamp, packages.stamp())
            .with_context(|| format!("cannot write {}", stamp.display()))
    })
}

/// Does nothing if npm is not installed; browser tests are then skipped.
fn install_web() -> Result<()> {
    let package = ONNXRUNTIME_WEB;
    if package.is_installed() {
        return Ok(());
    }
    let npm = Command::new("npm")
        .arg("--version")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    if npm.is_err() {
        println!("npm is not installed: browser tests are skipped");
        return Ok(());
    }
    println!("Downloading {} {}", package.name, package.version);
    let folder = package.folder();
    install(&folder, |partial| {
        cargo::run(
            Command::new("npm")
                .args(["install", "--loglevel=error", "--no-audit", "--no-fund"])
                .args(["--ignore-scripts", "--prefix"])
                .arg(partial)
                .arg(format!("{}@{}", package.name, package.version)),
        )
    })
    .context(
        "cannot install the npm packages for browser tests. If this machine is offline, copy \
         .native/web from a machine on which `cargo xtask test` has run",
    )
}

/// Replaces a folder. It is filled under another name and renamed when complete.
fn install(folder: &Path, fill: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    let mut partial = folder.as_os_str().to_owned();
    partial.push(".partial");
    let partial = Path::new(&partial);
    for old in [partial, folder] {
        if old.exists() {
            fs::remove_dir_all(old).with_context(|| format!("cannot remove {}", old.display()))?;
        }
    }
    fs::create_dir_all(partial).with_context(|| format!("cannot create {}", partial.display()))?;
    fill(partial)?;
    fs::rename(partial, folder).with_context(|| format!("cannot create {}", folder.display()))
}

#[cfg(test)]
mod tests {
    use anyhow::bail;

    use super::*;

    #[test]
    fn interrupted_installations_do_not_count() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("deep/package-1.2.3");
        let interrupted = install(&folder, |partial| {
            fs::write(partial.join("half"), "")?;
            bail!("interrupted")
        });
        assert!(interrupted.is_err());
        assert!(!folder.exists());

        for _ in 0..2 {
            install(&folder, |partial| Ok(fs::write(partial.join("whole"), "")?)).unwrap();
            let names: Vec<_> = fs::read_dir(&folder).unwrap().collect();
            assert_eq!(names.len(), 1);
        }
        assert!(folder.join("whole").exists());
    }
}
