//! Where results go.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use anyhow::Result;
use topk_data::ImageSet;
use topk_image::Limits;
use topk_results::Results;

#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Results")]
pub(super) struct OutputArgs {
    /// Write the results, with all that is needed to repeat the run, and what was said of each image
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

impl OutputArgs {
    pub(super) fn json(&self) -> Option<&Path> {
        self.json.as_deref()
    }

    /// Prints the table and writes the files.
    pub(super) fn write(
        &self,
        results: &Results,
        _images: Option<(&ImageSet, &Limits)>,
    ) -> Result<()> {
        if let Some(path) = &self.json {
            results.save(path)?;
        }
        io::stdout().write_all(format!("{:?}\n", results.models[0].metrics.topk(5)).as_bytes())?;
        Ok(())
    }
}
