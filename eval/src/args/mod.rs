//! The command line of `topk-eval`.

mod compare;
mod merge;
mod outputs;
mod preprocessing;
mod progress;
mod run;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

/// Measure top-1 and top-k accuracy of ONNX classifiers.
///
/// Images come from class folders, a folder or tar file with a list of labels, WebDataset shards, Hugging
/// Face's parquet files, or CIFAR. They are prepared as the model says, or the options, exactly as
/// torchvision and Pillow do it.
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
    /// Compare two results image by image: differences, McNemar's test, and the images that changed
    Compare(compare::CompareArgs),

    /// Put the results of shards together, or of parts of a run, as if they were one run
    Merge(merge::MergeArgs),
}

impl Args {
    /// Does what the arguments say.
    ///
    /// # Errors
    /// At the first fault in the arguments, the data or a model.
    pub fn run(self) -> Result<ExitCode> {
        match self.command {
            None => self.run.run(),
            Some(Command::Compare(args)) => args.run().map(|()| ExitCode::SUCCESS),
            Some(Command::Merge(args)) => args.run().map(|()| ExitCode::SUCCESS),
        }
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
