//! Output files.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use topk_data::ImageSet;
use topk_image::Limits;
use topk_results::{PredictionsFormat, Results};

use crate::thumbnail::thumbnail;

#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Results")]
pub(super) struct OutputArgs {
    /// Write all results: metrics, settings to reproduce the run, and per-image predictions
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,

    /// Write an HTML report
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,

    /// Write one row per model as CSV
    #[arg(long, value_name = "FILE")]
    csv: Option<PathBuf>,

    /// Write per-image predictions, as .csv or .parquet
    #[arg(long, value_name = "FILE")]
    predictions: Option<PathBuf>,

    /// Append one line per model, in the format of the paper's code
    #[arg(long, value_name = "FILE")]
    paper_table: Option<PathBuf>,
}

/// Writes a file atomically.
pub(super) fn write(path: &Path, contents: &str) -> Result<()> {
    topk_files::write(path, contents.as_bytes())
        .with_context(|| format!("cannot write {}", path.display()))
}

impl OutputArgs {
    pub(super) fn json(&self) -> Option<&Path> {
        self.json.as_deref()
    }

    /// Checks before the evaluation that the folders of the files exist.
    pub(super) fn check(&self) -> Result<()> {
        let paths = [
            &self.json,
            &self.html,
            &self.csv,
            &self.predictions,
            &self.paper_table,
        ];
        for path in paths.into_iter().flatten() {
            let parent = path
                .parent()
                .filter(|parent| !parent.as_os_str().is_empty());
            if let Some(parent) = parent {
                parent
                    .read_dir()
                    .with_context(|| format!("cannot write {}", path.display()))?;
            }
            ensure!(
                !path.is_dir(),
                "cannot write {}: it is a folder",
                path.display()
            );
        }
        if let Some(path) = &self.predictions {
            PredictionsFormat::of(path)?;
        }
        Ok(())
    }

    /// Writes the files and prints the table. The report shows thumbnails if `images` is given.
    pub(super) fn write(
        &self,
        results: &Results,
        images: Option<(&ImageSet, &Limits)>,
    ) -> Result<()> {
        if let Some(path) = &self.json {
            results.save(path)?;
        }
        if let Some(path) = &self.html {
            let shown = |index| images.and_then(|(set, limits)| thumbnail(set, index, limits));
            write(path, &results.to_html(&[], shown)?)?;
        }
        if let Some(path) = &self.csv {
            write(path, &results.to_csv())?;
        }
        if let Some(path) = &self.predictions {
            results.save_predictions(path)?;
        }
        if let Some(path) = &self.paper_table {
            results.append_paper_table(path)?;
        }
        io::stdout().write_all(results.table().as_bytes())?;
        Ok(())
    }
}
