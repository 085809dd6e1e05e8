//! What only tests need: other runtimes, as packages of Python and npm in `.native`.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result};
use topk_testing::{ONNXRUNTIME_WEB, Packages};

use crate::cargo;

/// Makes sure that the packages are there.
pub(crate) fn set_up() -> Result<()> {
    for packages in Packages::ALL {
        install_python(packages)?;
    }
    install_web()
}

fn install_python(packages: &Packages) -> Result<()> {
    if packages.are_installed() {
        return Ok(());
    }
    println!("fetching {}", packages.requirements.join(", "));
    let folder = packages
        .folder()
        .context("cannot start python3: the tests need Python 3.11 or newer, with pip")?;
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
    .context(
        "cannot fetch the Python packages that tests use (pip's own message is above; they need \
         Python 3.11 or newer). If this machine is offline, copy .native/python from one with the \
         same version of Python where `cargo xtask test` has run",
    )
}

/// Without npm, the tests in a browser are skipped.
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
        println!("npm is absent: tests in a browser are skipped");
        return Ok(());
    }
    println!("fetching {} {}", package.name, package.version);
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
        "cannot fetch what tests in a browser use with npm. If this machine is offline, copy \
         .native/web from one where `cargo xtask test` has run",
    )
}

/// Fills a folder that gets its name when all is in it, in place of what has that name.
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
    fn what_is_half_installed_does_not_count() {
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
