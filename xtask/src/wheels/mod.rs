//! `cargo xtask wheels`: packs the programs, and the Python package, into wheels.
//!
//! maturin builds the Python package, which is an extension module. Wheels of programs are written here: maturin
//! packs the programs of one crate, and cannot start a program through a launcher, or choose features and linker
//! for each. The format is small: see `archive`.

mod archive;
mod check;
mod extension;
mod programs;
mod tools;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use self::archive::Distribution;
use self::programs::{EVALUATION, Programs, TRAINING};
use self::tools::Tools;
use crate::native;

/// A package for pip.
struct Package {
    name: &'static str,
    contents: Contents,
    /// The largest wheel of a release build in bytes.
    limit: u64,
}

enum Contents {
    Programs(ProgramWheel),
    /// A Python package in this folder, with a `pyproject.toml` for maturin.
    Extension(&'static str),
}

struct ProgramWheel {
    programs: &'static Programs,
    summary: &'static str,
    description: &'static str,
    /// What pip installs with it.
    requires: &'static [&'static str],
}

/// The oldest Python for which ONNX Runtime 1.31 exists.
const PYTHON: &str = ">=3.11";

/// The packages. pip installs what a package requires, and an extra can only add to that. But `onnxruntime` and
/// `onnxruntime-gpu` are installed into the same folder, where one replaces files of the other. So there are
/// two packages of the same programs, as there are two of ONNX Runtime.
const PACKAGES: [Package; 5] = [
    Package {
        name: "topk-eval",
        contents: Contents::Programs(ProgramWheel {
            programs: &EVALUATION,
            summary: "Measures top-1 and top-k accuracy of ONNX classifiers",
            description: EVALUATION_DESCRIPTION,
            requires: &["onnxruntime>=1.31"],
        }),
        limit: 9_000_000,
    },
    Package {
        name: "topk-eval-gpu",
        contents: Contents::Programs(ProgramWheel {
            programs: &EVALUATION,
            summary: "Measures top-1 and top-k accuracy of ONNX classifiers, on NVIDIA GPUs",
            description: EVALUATION_DESCRIPTION,
            requires: &["onnxruntime-gpu[cuda,cudnn]>=1.31"],
        }),
        limit: 9_000_000,
    },
    Package {
        name: "topk-train",
        contents: Contents::Programs(ProgramWheel {
            programs: &TRAINING,
            summary: "Trains image classifiers for top-k accuracy",
            description: TRAINING_DESCRIPTION,
            requires: &["torch=={torch}", "onnxruntime>=1.31"],
        }),
        limit: 9_000_000,
    },
    Package {
        name: "topk-train-gpu",
        contents: Contents::Programs(ProgramWheel {
            programs: &TRAINING,
            summary: "Trains image classifiers for top-k accuracy, and tests them on NVIDIA GPUs",
            description: TRAINING_DESCRIPTION,
            requires: &["torch=={torch}", "onnxruntime-gpu>=1.31"],
        }),
        limit: 9_000_000,
    },
    Package {
        name: "topk",
        contents: Contents::Extension("python"),
        limit: 2_000_000,
    },
];

const EVALUATION_DESCRIPTION: &str = "\
`topk-eval` measures top-1 and top-k accuracy of ONNX image classifiers with ONNX Runtime, with preprocessing
bit-identical to Pillow's and torchvision's. `topk-export` writes PyTorch weights as ONNX files that describe
their own preprocessing.

`topk-eval` depends on the package `onnxruntime`, `topk-eval-gpu` on `onnxruntime-gpu`. The programs are the
same, and use the ONNX Runtime of the environment that they are installed in. `onnxruntime` and
`onnxruntime-gpu` must not be installed in one environment: each replaces files of the other.
";

const TRAINING_DESCRIPTION: &str = "\
`topk-train` trains image classifiers with the smooth top-k SVM, eight other top-k losses or cross-entropy,
and exports and tests them. It uses the libraries of the package `torch`, in exactly the version that it was
built for, on the CPU or an NVIDIA GPU.

The final test runs in ONNX Runtime: on the CPU with `topk-train`, which depends on `onnxruntime`, and on an
NVIDIA GPU with `topk-train-gpu`, which depends on `onnxruntime-gpu`. The two must not be installed in one
environment.
";

/// What the user chose.
#[derive(Debug)]
pub(crate) struct Options {
    /// The cargo profile to build with.
    pub(crate) profile: String,
    /// The folder for the wheels.
    pub(crate) out: PathBuf,
    /// The packages to build; all if empty.
    pub(crate) only: Vec<String>,
    /// Whether the wheels are installed and tried.
    pub(crate) check: bool,
}

pub(crate) fn run(options: &Options) -> Result<()> {
    ensure!(
        cfg!(all(target_os = "linux", target_arch = "x86_64")),
        "wheels can be built on Linux on x86-64 only"
    );
    let packages = chosen(&options.only)?;
    let tools = Tools::set_up()?;
    fs::create_dir_all(&options.out)
        .with_context(|| format!("cannot create {}", options.out.display()))?;
    // Programs that several packages have are built once.
    let mut built: Vec<(&Programs, PathBuf)> = Vec::new();
    let mut wheels = Vec::new();
    for package in packages {
        let wheel = match &package.contents {
            Contents::Programs(content) => {
                let programs = content.programs;
                let known = built
                    .iter()
                    .find(|(known, _)| std::ptr::eq(*known, programs));
                let folder = match known {
                    Some((_, folder)) => folder.clone(),
                    None => {
                        let folder = programs.build(&options.profile, &tools)?;
                        built.push((programs, folder.clone()));
                        folder
                    }
                };
                pack(package.name, content, &folder, &options.out, &tools)?
            }
            Contents::Extension(folder) => extension::build(folder, options, &tools)?,
        };
        wheels.push((package, wheel));
    }
    for (package, wheel) in &wheels {
        report(package, wheel, &options.profile)?;
    }
    if options.check {
        for (package, wheel) in &wheels {
            match &package.contents {
                Contents::Programs(content) => check::run(wheel, content.programs)?,
                Contents::Extension(_) => check::run_extension(wheel)?,
            }
        }
    }
    Ok(())
}

/// The packages with these names; all if there are none.
fn chosen(only: &[String]) -> Result<Vec<&'static Package>> {
    let names = PACKAGES.map(|package| package.name);
    for name in only {
        ensure!(
            names.contains(&&**name),
            "the package {name} does not exist: expected {}",
            names.join(", ")
        );
    }
    let is_chosen =
        |package: &&Package| only.is_empty() || only.iter().any(|name| name == package.name);
    Ok(PACKAGES.iter().filter(is_chosen).collect())
}

/// Writes the wheel of programs that were built into `folder`.
fn pack(
    name: &str,
    content: &ProgramWheel,
    folder: &Path,
    out: &Path,
    tools: &Tools,
) -> Result<PathBuf> {
    let mut distribution = distribution(name, content);
    let programs = content.programs;
    programs.add_to(&mut distribution, folder, |program, run_path| {
        tools.set_run_path(program, run_path)
    })?;
    // The tag depends on the programs, and auditwheel takes them from a wheel.
    let temporary = tempfile::tempdir().context("cannot create a temporary folder")?;
    let draft = distribution.write(temporary.path(), "linux_x86_64")?;
    let platform = tools.audit(&draft, programs.libraries())?;
    distribution.write(out, &platform)
}

/// The wheel of a package of programs, without the programs.
fn distribution(name: &str, content: &ProgramWheel) -> Distribution {
    let mut fields = vec![
        ("Summary", content.summary.to_owned()),
        ("License-Expression", "MIT OR Apache-2.0".to_owned()),
        ("Requires-Python", PYTHON.to_owned()),
    ];
    for requirement in content.requires {
        let requirement = requirement.replace("{torch}", topk_native::torch::VERSION);
        fields.push(("Requires-Dist", requirement));
    }
    Distribution {
        name: name.to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        fields,
        description: format!("# {name}\n\n{}", content.description),
        commands: vec![],
        licenses: vec![],
        members: vec![],
    }
}

/// Checks a wheel, and prints its name and size.
fn report(package: &Package, wheel: &Path, profile: &str) -> Result<()> {
    let summary = archive::check(wheel)?;
    let bytes = fs::metadata(wheel)
        .with_context(|| format!("cannot read {}", wheel.display()))?
        .len();
    // Other profiles add what a debugger needs.
    check_size(package, bytes, profile == "release")?;
    let (name, version) = (&summary.name, &summary.version);
    ensure!(
        name == package.name && version == env!("CARGO_PKG_VERSION"),
        "{} is {name} {version}, expected {} {}",
        wheel.display(),
        package.name,
        env!("CARGO_PKG_VERSION")
    );
    println!("{} ({})", wheel.display(), megabytes(bytes));
    if let Some(line) = native::without_nccl()
        && package.name.starts_with("topk-train")
    {
        println!("  {line}");
    }
    Ok(())
}

fn check_size(package: &Package, bytes: u64, is_release: bool) -> Result<()> {
    ensure!(
        !is_release || bytes <= package.limit,
        "the wheel of {} has {}, more than its limit of {}: find out why, and raise the limit in {} if it is \
         worth it",
        package.name,
        megabytes(bytes),
        megabytes(package.limit),
        file!()
    );
    Ok(())
}

fn megabytes(bytes: u64) -> String {
    format!("{:.1} MB", bytes as f64 / 1e6)
}

#[cfg(test)]
mod tests;
