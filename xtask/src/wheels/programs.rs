//! The programs in wheels: how they are built, and where in a wheel they are.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use topk_testing::root;

use super::archive::{self, Distribution, Member};
use super::tools::Tools;
use crate::{cargo, dist, licenses};

/// Programs that are built together.
#[derive(Debug)]
pub(crate) struct Programs {
    /// The packages of the workspace. Each has a program of the same name.
    pub(crate) packages: &'static [&'static str],
    /// Arguments for cargo that choose features.
    pub(crate) features: &'static [&'static str],
    pub(crate) installed: Installed,
}

/// Where installers put the programs.
#[derive(Debug)]
pub(crate) enum Installed {
    /// Into the folder of programs. They are linked for a glibc that may be older than this machine's.
    Program { glibc: &'static str },
    /// Into the folder of a Python package, which starts them. They are linked to libraries in other
    /// packages.
    Launched {
        /// The name of the Python package.
        module: &'static str,
        /// Its files.
        files: &'static [(&'static str, &'static str)],
        /// Where the libraries are, relative to the program.
        run_path: &'static str,
        /// The libraries.
        libraries: &'static [&'static str],
    },
}

/// The programs without libtorch.
pub(crate) const EVALUATION: Programs = Programs {
    packages: &["topk-eval", "topk-export"],
    features: &["--no-default-features"],
    // That of ONNX Runtime's wheels, without which the programs are of no use.
    installed: Installed::Program { glibc: "2.28" },
};

/// The program that trains. libtorch is C++, so it is linked with this machine's C++ compiler and libraries.
pub(crate) const TRAINING: Programs = Programs {
    packages: &["topk-train"],
    features: &[],
    installed: Installed::Launched {
        module: "topk_train",
        files: &[
            ("__init__.py", include_str!("topk_train/__init__.py")),
            ("__main__.py", include_str!("topk_train/__main__.py")),
        ],
        run_path: "$ORIGIN/../torch/lib",
        libraries: &[
            "libc10.so",
            "libgomp.so.1",
            "libtorch.so",
            "libtorch_cpu.so",
        ],
    },
};

/// The platform that wheels are built for.
pub(crate) const TARGET: &str = "x86_64-unknown-linux-gnu";

impl Programs {
    /// The libraries that other packages must provide.
    pub(crate) fn libraries(&self) -> &'static [&'static str] {
        match self.installed {
            Installed::Program { .. } => &[],
            Installed::Launched { libraries, .. } => libraries,
        }
    }

    /// Builds the programs. Returns the folder that they are in.
    pub(crate) fn build(&self, profile: &str, tools: &Tools) -> Result<PathBuf> {
        let mut build = match self.installed {
            Installed::Program { glibc } => {
                let mut build = tools.zigbuild();
                build.arg("--target").arg(format!("{TARGET}.{glibc}"));
                // The path of this machine's library is of no use on others.
                build.env("ORT_DYLIB_PATH", "");
                build
            }
            Installed::Launched { .. } => {
                let mut build = cargo::cargo();
                build.arg("build");
                build
            }
        };
        build.args(["--locked", "--profile", profile]);
        for package in self.packages {
            build.args(["--package", package]);
        }
        cargo::run(build.args(self.features))?;
        let target = cargo::target_dir()?;
        let target = match self.installed {
            Installed::Program { .. } => target.join(TARGET),
            Installed::Launched { .. } => target,
        };
        Ok(target.join(dist::profile_folder(profile)))
    }

    /// Adds the programs in a folder to a wheel, with their man pages, completions, and licenses.
    pub(crate) fn add_to(
        &self,
        distribution: &mut Distribution,
        folder: &Path,
        set_run_path: impl Fn(&Path, &str) -> Result<()>,
    ) -> Result<()> {
        let temporary = tempfile::tempdir().context("cannot create a temporary folder")?;
        let share = temporary.path().join("share");
        for &program in self.packages {
            let built = folder.join(program);
            dist::generate(&built, &share)?;
            let (path, content) = match self.installed {
                Installed::Program { .. } => {
                    let path = distribution.outside_packages("scripts", program);
                    (path, archive::read(&built)?)
                }
                Installed::Launched {
                    module,
                    files,
                    run_path,
                    ..
                } => {
                    for (name, text) in files {
                        let text = text.replace("{torch}", topk_native::torch::VERSION);
                        distribution.members.push(Member {
                            path: format!("{module}/{name}"),
                            content: text.into_bytes(),
                            executable: false,
                        });
                    }
                    let function = format!("{module}.__main__:main");
                    distribution.commands.push((program.to_owned(), function));
                    // A copy: the original is linked to the library that it was built with.
                    let copy = temporary.path().join(program);
                    fs::copy(&built, &copy).with_context(|| {
                        format!("cannot copy {} to {}", built.display(), copy.display())
                    })?;
                    set_run_path(&copy, run_path)?;
                    (format!("{module}/{program}"), archive::read(&copy)?)
                }
            };
            distribution.members.push(Member {
                path,
                content,
                executable: true,
            });
        }
        for file in dist::files(&share)? {
            let path = file.strip_prefix(temporary.path())?.display().to_string();
            distribution.members.push(Member {
                path: distribution.outside_packages("data", &path),
                content: archive::read(&file)?,
                executable: false,
            });
        }
        let own = ["LICENSE-APACHE", "LICENSE-MIT"].map(|name| (name, name));
        for (name, file) in own.into_iter().chain([licenses::WORDNET]) {
            let text = archive::read(&root().join(file))?;
            let text = String::from_utf8(text).with_context(|| format!("{name} is not UTF-8"))?;
            distribution.licenses.push((name.to_owned(), text));
        }
        let crates = licenses::linked_into(self.packages, self.features)?;
        let text = licenses::document(&crates, "The programs in this package")?;
        distribution
            .licenses
            .push((licenses::FILE.to_owned(), text));
        Ok(())
    }
}
