//! What the parts run: programs built by cargo, data, and peers in Python.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::path::{self, Path, PathBuf};
use std::process::Command;
use std::thread;

use anyhow::{Context, Result, bail};
use clap::Args;
use serde::de::DeserializeOwned;
use tempfile::TempDir;
use topk_testing::root;

use crate::cargo;

#[derive(Args, Clone)]
pub(crate) struct Data {
    /// Photographs in folders by ImageNet class, such as n01440764
    #[arg(long, value_name = "DIR")]
    pub(super) images: Option<PathBuf>,
    /// CIFAR-100 in its binary format, with `train.bin`
    #[arg(long, value_name = "DIR")]
    pub(super) cifar: Option<PathBuf>,
    /// Clones of the code of other losses' authors: `lml`, `noised-topk`, `difftopk`, `smooth-topk`
    ///
    /// `docs/benchmarks.md` links them. Those that are missing are left out.
    #[arg(long, value_name = "DIR")]
    pub(super) clones: Option<PathBuf>,
}

/// What all parts share.
pub(super) struct Setup {
    python: Option<PathBuf>,
    data: Data,
    programs: PathBuf,
    plots: PathBuf,
    folder: TempDir,
}

/// The peers of a part.
pub(super) struct Peers {
    python: PathBuf,
    /// Versions by name.
    pub(super) versions: BTreeMap<String, String>,
}

/// Always built together: other sets have other features of their dependencies, so that each would be built again.
pub(super) const PROGRAMS: [&str; 3] = ["topk-eval", "topk-export", "topk-train"];

/// Prints the versions of packages as JSON, null if they are missing.
const VERSIONS: &str = "
import json, sys
from importlib import metadata

def version(package):
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None

print(json.dumps({package: version(package) for package in sys.argv[1:]}))
";

impl Setup {
    /// Checks what the user has given.
    pub(super) fn new(python: Option<&Path>, data: &Data, check: bool) -> Result<Self> {
        let absolute = |path: &Option<PathBuf>| -> Result<Option<PathBuf>> {
            let Some(path) = path else { return Ok(None) };
            let absolute = fs::canonicalize(path);
            let absolute = absolute.with_context(|| format!("cannot read {}", path.display()))?;
            Ok(Some(absolute))
        };
        let data = Data {
            images: absolute(&data.images)?,
            cifar: absolute(&data.cifar)?,
            clones: absolute(&data.clones)?,
        };
        if let Some(images) = &data.images
            && class_folders(images)?.is_empty()
        {
            bail!(
                "{} has no folders of ImageNet classes, such as n01440764: --images takes the folder above them",
                images.display()
            );
        }
        if let Some(cifar) = &data.cifar
            && !cifar.join("train.bin").is_file()
        {
            bail!(
                "{} has no train.bin: --cifar takes CIFAR-100 in its binary format",
                cifar.display()
            );
        }
        let python = match python {
            // The name of a program on the PATH.
            Some(name) if name.components().count() == 1 => Some(name.to_owned()),
            // Links are not followed: an environment's interpreter is often one.
            Some(path) => Some(
                path::absolute(path).with_context(|| format!("cannot read {}", path.display()))?,
            ),
            None => None,
        };
        let folder = tempfile::tempdir().context("cannot create a temporary folder")?;
        Ok(Self {
            python,
            data,
            programs: cargo::target_dir()?.join("release"),
            plots: match check {
                true => folder.path().join("plots"),
                false => root().join("docs/plots"),
            },
            folder,
        })
    }

    /// A folder for files, which is removed at the end.
    pub(super) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The folder for plots: that of the documentation, unless nothing is to be changed.
    pub(super) fn plots(&self) -> &Path {
        &self.plots
    }

    /// The photographs.
    pub(super) fn images(&self) -> Result<&Path> {
        needed(self.data.images.as_deref(), "--images")
    }

    /// CIFAR-100.
    pub(super) fn cifar(&self) -> Result<&Path> {
        needed(self.data.cifar.as_deref(), "--cifar")
    }

    /// The code of other losses' authors, if it was given.
    pub(super) fn clone_of(&self, name: &str) -> Option<PathBuf> {
        let clone = self.data.clones.as_deref()?.join(name);
        clone.is_dir().then_some(clone)
    }

    /// Builds packages of the workspace with optimization.
    pub(super) fn build(&self, packages: &[&str]) -> Result<()> {
        let packages = packages.iter().flat_map(|package| ["--package", package]);
        cargo::run(
            cargo::cargo()
                .args(["build", "--release", "--quiet"])
                .args(packages),
        )
    }

    /// Runs a benchmark of the workspace, which writes JSON.
    pub(super) fn cargo_bench<T: DeserializeOwned>(
        &self,
        package: &str,
        bench: &str,
        arguments: &[&OsStr],
    ) -> Result<T> {
        let mut command = cargo::cargo();
        command.args(["bench", "--quiet", "--package", package, "--bench", bench]);
        self.results_of(command.arg("--").args(arguments))
    }

    /// Runs a program, which writes JSON to the file that `--json` names.
    pub(super) fn results_of<T: DeserializeOwned>(&self, command: &mut Command) -> Result<T> {
        let file = self.folder().join("results.json");
        cargo::run(command.arg("--json").arg(&file))?;
        let json = fs::read_to_string(&file).context("the benchmark wrote no results")?;
        // The next program writes its own.
        fs::remove_file(&file).with_context(|| format!("cannot remove {}", file.display()))?;
        serde_json::from_str(&json).context("cannot parse the results")
    }

    /// Path of a file of a build with optimization.
    pub(super) fn built(&self, name: &str) -> PathBuf {
        self.programs.join(name)
    }

    /// Peers that need these packages of Python. `None` without `--python`.
    pub(super) fn peers(&self, packages: &[&str]) -> Result<Option<Peers>> {
        let Some(python) = &self.python else {
            return Ok(None);
        };
        let found = cargo::output(Command::new(python).args(["-c", VERSIONS]).args(packages))?;
        let found: BTreeMap<String, Option<String>> =
            serde_json::from_str(&found).context("cannot parse the versions of packages")?;
        let missing: Vec<_> = found
            .iter()
            .filter(|(_, version)| version.is_none())
            .collect();
        if !missing.is_empty() {
            let names: Vec<&str> = missing.iter().map(|(name, _)| name.as_str()).collect();
            bail!(
                "{} lacks {}: install what is missing with its pip, or pass another --python",
                python.display(),
                names.join(", ")
            );
        }
        // Builds of PyTorch name their platform after a plus sign.
        let short = |version: String| version.split('+').next().map(str::to_owned);
        let versions = found
            .into_iter()
            .filter_map(|(name, version)| Some((name, short(version?)?)));
        Ok(Some(Peers {
            python: python.clone(),
            versions: versions.collect(),
        }))
    }
}

impl Peers {
    /// A script of the repository.
    pub(super) fn script(&self, path: &str) -> Command {
        let mut command = Command::new(&self.python);
        command.arg(root().join(path));
        command.env("PYTHONDONTWRITEBYTECODE", "1");
        command
    }

    /// The interpreter.
    pub(super) fn python(&self) -> &Path {
        &self.python
    }
}

/// Number of threads that programs use by default.
pub(super) fn threads() -> usize {
    thread::available_parallelism().map_or(1, usize::from)
}

/// What a part cannot do without.
pub(super) fn needed<T>(given: Option<T>, flag: &str) -> Result<T> {
    given.with_context(|| format!("{flag} is missing"))
}

/// The names of ImageNet's class folders, sorted.
pub(super) fn class_folders(images: &Path) -> Result<Vec<String>> {
    let cannot = || format!("cannot list {}", images.display());
    let mut names = Vec::new();
    for entry in fs::read_dir(images).with_context(cannot)? {
        let entry = entry.with_context(cannot)?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let number = name.strip_prefix('n').map(str::parse::<u32>);
        if matches!(number, Some(Ok(_))) && entry.path().is_dir() {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}
