//! Development tasks of this repository, run with `cargo xtask TASK`.

mod bench;
mod cargo;
mod demo;
mod dist;
mod doctor;
mod gpu_check;
mod licenses;
mod native;
mod ptx;
mod test;
mod testing;
mod wheel;
mod wheels;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::native::Libraries;

/// The major version of CUDA that the libraries in `.native` are built for.
const CUDA_MAJOR: u32 = 13;

/// Development tasks of this repository
#[derive(Parser)]
#[command(bin_name = "cargo xtask", max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Download libtorch and ONNX Runtime into `.native`
    ///
    /// The libraries come as Python wheels through pip and are checked by SHA-256. Libraries that are
    /// already there are not downloaded again. A library that LIBTORCH or ORT_DYLIB_PATH points to is
    /// used instead, and not downloaded.
    Setup {
        /// Also download the CUDA libraries (2.8 GB), to use an NVIDIA GPU
        #[arg(long)]
        cuda: bool,
        /// Download only ONNX Runtime, for topk-eval alone
        ///
        /// `cargo build --release -p topk-eval` does not need libtorch. To build the other programs
        /// later, run `cargo xtask setup` without this flag.
        #[arg(long)]
        eval: bool,
    },
    /// Check the installation: train, export and evaluate two small networks
    ///
    /// Takes a few minutes without a GPU. Sets up the libraries, builds the programs, trains a network
    /// with cross-entropy and one with the smooth top-5 SVM on the bundled part of CIFAR-100, evaluates
    /// their ONNX files with ONNX Runtime, and checks that both accuracies agree.
    Demo,
    /// Run all tests of the workspace
    ///
    /// Sets up the libraries, installs Python and npm packages for tests into `.native`, and runs
    /// `cargo test`. The last line has the form `N passed, N failed, N skipped`. A test counts as
    /// skipped if it skipped itself in whole or in part, because this machine lacks something that it
    /// requires: the folder `../shared` with test data, a GPU, Python, a browser, a C++ compiler with
    /// sanitizers, or user namespaces.
    Test {
        /// Fail if a test is skipped although this machine has what it requires
        #[arg(long)]
        strict: bool,
    },
    /// Time everything in docs/benchmarks.md beside other programs
    ///
    /// Builds what it runs. Each side has its turn, and medians of the turns count. Every part writes
    /// `docs/benchmarks/PART.json` with date, machine and versions; the tables and the figure of
    /// `docs/benchmarks.md` are made from these files. Peers that are missing are left out, with their
    /// ratios. Times in brackets are those on two cores, after the build.
    Bench(bench::Options),
    /// Compile the CUDA kernels to PTX, after a change of `ops/cuda/kernels`
    ///
    /// Writes `ops/cuda/ptx`, which is part of the repository, so that nobody else needs a compiler of
    /// CUDA. Installs NVIDIA's run-time compiler into `.native` (90 MB); a GPU is not needed.
    Ptx,
    /// Report which native libraries are found, and what to do about missing ones
    Doctor,
    /// Build the programs and pack them into a release archive
    ///
    /// Writes `topk-VERSION-TARGET.tar.gz` and its SHA-256 checksum to `dist` in cargo's target folder.
    /// The archive has the programs, the operator library for ONNX Runtime, man pages, shell
    /// completions, the README, the change log, and all licenses.
    Dist {
        /// The cargo profile to build with
        #[arg(long, default_value = "release")]
        profile: String,
    },
    /// Build wheels of the programs and of the Python package, for pip
    ///
    /// `topk-eval` has the programs topk-eval and topk-export, without libtorch. `topk-train` has
    /// topk-train, which uses the libraries of the package torch. The same programs are in
    /// `topk-eval-gpu` and `topk-train-gpu`, which depend on onnxruntime-gpu instead of onnxruntime.
    /// `topk` is the Python package with the losses. Downloads a linker and other tools through pip
    /// (115 MB). Each wheel is checked, and must not exceed its size limit.
    Wheels {
        /// The cargo profile to build with
        #[arg(long, default_value = "release")]
        profile: String,
        /// The folder for the wheels
        #[arg(long, default_value = "dist")]
        out: PathBuf,
        /// Build only this package; may be repeated
        #[arg(long, value_name = "PACKAGE")]
        only: Vec<String>,
        /// Install the wheels of programs into new Python environments, and run the programs there
        ///
        /// pip downloads what the wheels depend on: 50 MB for topk-eval, 2.8 GB for topk-train.
        #[arg(long)]
        check: bool,
    },
    /// Check and time what needs a GPU
    ///
    /// Builds the programs and runs `xtask/gpu-check/gpu_check.py`, which prints a table and writes
    /// JSON. It goes on after a failure, and takes at most eight minutes. Needs Python with PyTorch
    /// for CUDA. The script needs no Rust: with --only-build, the folder can be copied to a machine
    /// with a GPU.
    GpuCheck {
        /// The folder for what is built [default: gpu-check in cargo's target folder]
        #[arg(long)]
        out: Option<PathBuf>,
        /// Only build
        #[arg(long)]
        only_build: bool,
        /// The Python interpreter
        #[arg(long, default_value = "python3")]
        python: PathBuf,
        /// Arguments of the script, such as `--parts cases,loss` or `--rehearse`
        #[arg(last = true)]
        arguments: Vec<String>,
    },
}

fn main() -> ExitCode {
    let result = match Cli::parse().task {
        Task::Setup { cuda, eval } => native::set_up(Libraries {
            libtorch: !eval,
            cuda,
        })
        .map(|()| ExitCode::SUCCESS),
        Task::Demo => demo::run().map(|()| ExitCode::SUCCESS),
        Task::Test { strict } => test::run(strict),
        Task::Bench(options) => bench::run(&options).map(|()| ExitCode::SUCCESS),
        Task::Ptx => ptx::run().map(|()| ExitCode::SUCCESS),
        Task::Doctor => doctor::run().map(|()| ExitCode::SUCCESS),
        Task::Dist { profile } => dist::run(&profile).map(|()| ExitCode::SUCCESS),
        Task::Wheels {
            profile,
            out,
            only,
            check,
        } => wheels::run(&wheels::Options {
            profile,
            out,
            only,
            check,
        })
        .map(|()| ExitCode::SUCCESS),
        Task::GpuCheck {
            out,
            only_build,
            python,
            arguments,
        } => gpu_check::run(&gpu_check::Options {
            out,
            only_build,
            python,
            arguments,
        }),
    };
    match result {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn help_texts() {
        let mut command = Cli::command().term_width(100);
        command.build();
        let mut help = command.render_long_help().to_string();
        for task in command.get_subcommands_mut() {
            if task.get_name() != "help" {
                let text = task.render_long_help();
                help.push_str(&format!("\n---- {} ----\n\n{text}", task.get_name()));
            }
        }
        insta::assert_snapshot!(help);
    }
}
