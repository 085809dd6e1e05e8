//! Merging results.

use std::path::PathBuf;

use anyhow::Result;
use topk_results::Results;

use super::calibration::MergedCalibrationArgs;
use super::outputs::OutputArgs;

#[derive(Clone, Debug, clap::Args)]
pub(super) struct MergeArgs {
    /// Results of shards, or parts of an interrupted run
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,

    /// Allow images to be missing; the results are then marked as partial
    #[arg(long)]
    allow_missing: bool,

    #[command(flatten)]
    outputs: OutputArgs,

    #[command(flatten)]
    calibration: MergedCalibrationArgs,
}

impl MergeArgs {
    pub(super) fn run(&self) -> Result<()> {
        self.outputs.check(false, [])?;
        let parts = self.files.iter().map(|path| Results::read(path));
        let mut merged = Results::merge(parts.collect::<Result<_, _>>()?, self.allow_missing)?;
        self.outputs.check(merged.subset.is_some(), [])?;
        self.calibration.measure(&mut merged)?;
        for warning in &merged.warnings {
            eprintln!("warning: {warning}");
        }
        self.outputs.write(&merged, None)
    }
}
