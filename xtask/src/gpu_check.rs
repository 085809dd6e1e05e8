//! `cargo xtask gpu-check`: what needs a GPU, checked and timed by the script in `gpu-check`.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, Result};
use serde_json::Value;
use topk_native::onnxruntime;
use topk_testing::root;

use crate::native::{self, Libraries};
use crate::{cargo, dist};

/// The programs, in release.
const PROGRAMS: [&str; 3] = ["topk-train", "topk-eval", "topk-export"];

/// The package of each library, the file that cargo builds, and where the script expects it.
const LIBRARIES: [(&str, &str, &str); 2] = [
    (
        "topk-ops-cuda",
        "libtopk_ops_cuda.so",
        "libtopk_ops_cuda.so",
    ),
    ("topk-python", "lib_topk.so", "package/topk/_topk.abi3.so"),
];

/// Tests and benchmarks: what cargo builds, the name of the target, and that of the program.
const TESTS: [(&[&str], &str, &str); 2] = [
    (
        &["test", "--package=topk-ops-tch", "--test=cuda"],
        "cuda",
        "ops-tch-cuda-test",
    ),
    (
        &["bench", "--package=topk-eval", "--bench=pipeline"],
        "pipeline",
        "evaluation-bench",
    ),
];

pub(crate) struct Options {
    /// The folder for the programs; a folder in the target folder if it is `None`.
    pub(crate) out: Option<PathBuf>,
    /// Whether to stop when everything is built.
    pub(crate) only_build: bool,
    /// A Python interpreter with PyTorch.
    pub(crate) python: PathBuf,
    /// Arguments of the script.
    pub(crate) arguments: Vec<String>,
}

pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    let out = match &options.out {
        Some(out) => out.clone(),
        None => cargo::target_dir()?.join("gpu-check"),
    };
    build(&out)?;
    if options.only_build {
        println!("{} has what the script needs; run", out.display());
        println!("  python gpu-check/gpu_check.py --programs . --package package");
        return Ok(ExitCode::SUCCESS);
    }
    let mut command = Command::new(&options.python);
    command
        .arg(out.join("gpu-check/gpu_check.py"))
        .arg("--programs")
        .arg(&out)
        .arg("--package")
        .arg(out.join("package"))
        .args(&options.arguments);
    let status = command
        .status()
        .with_context(|| format!("cannot start {}", options.python.display()))?;
    Ok(if status.success() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Builds everything that the script uses, and puts it into a folder that can be copied to another machine.
fn build(out: &Path) -> Result<()> {
    native::set_up(Libraries::CPU)?;
    let mut command = cargo::cargo();
    command.args(["build", "--release", "--locked"]);
    for program in PROGRAMS {
        command.args(["--package", program]);
    }
    for (package, ..) in LIBRARIES {
        command.args(["--package", package]);
    }
    cargo::run(&mut command)?;

    let built = cargo::target_dir()?.join(dist::profile_folder("release"));
    for program in PROGRAMS {
        dist::copy(&built.join(program), &out.join(program))?;
    }
    for (_, file, name) in LIBRARIES {
        dist::copy(&built.join(file), &out.join(name))?;
    }
    copy_onnxruntime(out)?;
    for (arguments, target, name) in TESTS {
        dist::copy(&test_program(arguments, target)?, &out.join(name))?;
    }
    dist::copy_python(
        &root().join("python/py_src/topk"),
        &out.join("package/topk"),
    )?;
    dist::copy_python(&root().join("xtask/gpu-check"), &out.join("gpu-check"))?;
    dist::copy(
        &root().join("ops/tests/data/loss.jsonl"),
        &out.join("loss.jsonl"),
    )
}

/// Copies ONNX Runtime to where the programs find it on a machine that does not have it, with the CUDA provider if it was set
/// up.
fn copy_onnxruntime(out: &Path) -> Result<()> {
    let library = onnxruntime::locate()?;
    dist::copy(&library, &out.join("libonnxruntime.so"))?;
    if let Some(cuda) = onnxruntime::cuda_provider(&library) {
        dist::copy(&cuda, &out.join("libonnxruntime_providers_cuda.so"))?;
        let name = "libonnxruntime_providers_shared.so";
        dist::copy(&library.with_file_name(name), &out.join(name))?;
    }
    Ok(())
}

/// Builds a test or a benchmark and returns its program.
fn test_program(arguments: &[&str], target: &str) -> Result<PathBuf> {
    let mut command = cargo::cargo();
    command
        .args(arguments)
        .args(["--locked", "--no-run", "--message-format=json"]);
    cargo::output(&mut command)?
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter(|message| message["target"]["name"] == target)
        .find_map(|message| message["executable"].as_str().map(PathBuf::from))
        .with_context(|| format!("cargo names no program for {target}"))
}
