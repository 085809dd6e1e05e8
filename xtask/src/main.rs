//! Tasks of this repository, run as `cargo xtask TASK`.

mod cargo;
mod demo;
mod doctor;
mod native;
mod test;
mod testing;
mod wheel;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(bin_name = "cargo xtask", about = "Tasks of this repository")]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Fetch the native libraries (libtorch and ONNX Runtime) into `.native`
    Setup {
        /// Fetch the CUDA libraries too (2.8 GB more to download)
        #[arg(long)]
        cuda: bool,
    },
    /// Set up, train two small networks, export them to ONNX, evaluate them and compare
    Demo,
    /// Set up and run every test of the workspace
    Test,
    /// Say which native libraries are found, and what to do about missing ones
    Doctor,
}

fn main() -> ExitCode {
    let result = match Cli::parse().task {
        Task::Setup { cuda } => native::set_up(cuda),
        Task::Demo => demo::run(),
        Task::Test => test::run(),
        Task::Doctor => doctor::run(),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
