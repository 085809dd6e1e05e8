//! The command line of `topk-eval`.

mod acceleration;
mod bench;
mod calibration;
mod compare;
mod data;
mod devices;
mod execution;
mod leaderboard;
mod merge;
mod models;
mod outputs;
mod preprocessing;
mod progress;
mod ranks;
mod remote_model;
mod run;
mod variant;

use std::env;
use std::process::ExitCode;

use anyhow::{Error, Result};
use clap::{Parser, Subcommand};
use topk_cli::launch::{Launch, write_error_file};
use topk_report::text::error_message;

use crate::tensorrt::TF32_VARIABLE;

/// Evaluate the top-1 and top-k accuracy of ONNX classifiers.
///
/// Datasets are class folders, a folder or tar archive with a label file, WebDataset shards, Hugging Face
/// Parquet files, or CIFAR. Images are preprocessed according to the model's metadata or the options, bit for
/// bit as by torchvision and Pillow.
#[derive(Clone, Debug, Parser)]
#[command(
    name = "topk-eval",
    version,
    max_term_width = 100,
    args_override_self = true,
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true
)]
pub struct Args {
    #[command(subcommand)]
    command: Option<Command>,

    #[command(flatten)]
    run: run::RunArgs,
}

#[derive(Clone, Debug, Subcommand)]
enum Command {
    /// Measure the speed of models: latency, throughput, memory, and time per operator
    Bench(Box<bench::BenchArgs>),

    /// Measure calibration and prediction sets from a file of logits
    Calibrate(calibration::CalibrateArgs),

    /// Compare two models image by image: differences, McNemar's test, and changed images
    Compare(compare::CompareArgs),

    /// List execution providers and devices, and why one is missing
    Devices(devices::DevicesArgs),

    /// Merge the results of shards, or of an interrupted run
    Merge(merge::MergeArgs),

    /// Show the results of many files side by side: a leaderboard for each data set
    Report(leaderboard::ReportArgs),
}

impl Args {
    /// The environment variable with its value that has to be set before a library of NVIDIA is loaded, if any and if
    /// the user has not set it.
    pub fn environment(&self) -> Option<(&'static str, &'static str)> {
        let disable = match &self.command {
            None => self.run.disables_tf32(),
            Some(Command::Bench(args)) => args.disables_tf32(),
            Some(_) => false,
        };
        let unset = disable && env::var_os(TF32_VARIABLE).is_none();
        unset.then_some((TF32_VARIABLE, "0"))
    }

    /// Runs the command.
    ///
    /// # Errors
    /// If an argument, the data or a model is invalid.
    pub fn run(self) -> Result<ExitCode> {
        match self.command {
            None => self.run.run(),
            Some(Command::Bench(args)) => args.run().map(|()| ExitCode::SUCCESS),
            Some(Command::Calibrate(args)) => args.run().map(|()| ExitCode::SUCCESS),
            Some(Command::Compare(args)) => args.run(),
            Some(Command::Devices(args)) => args.run().map(|()| ExitCode::SUCCESS),
            Some(Command::Merge(args)) => args.run().map(|()| ExitCode::SUCCESS),
            Some(Command::Report(args)) => args.run().map(|()| ExitCode::SUCCESS),
        }
    }
}

/// Prints the error of a command. A rank of several also says which one it is, and leaves the error for `torchrun`.
pub fn report(error: &Error) {
    let message = error_message(error.as_ref());
    let Ok(Some(launch)) = Launch::from_env() else {
        eprintln!("{message}");
        return;
    };
    match launch.rank {
        0 => eprintln!("{message}"),
        rank => eprintln!("[rank {rank}] {message}"),
    }
    if let Some(path) = &launch.error_file
        && let Err(error) = write_error_file(path, &message)
    {
        eprintln!("[rank {}] warning: {error}", launch.rank);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn flags_are_well_formed() {
        Args::command().debug_assert();
    }
}
