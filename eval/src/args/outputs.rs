//! Where results go.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use topk_data::ImageSet;
use topk_image::Limits;
use topk_results::Results;

use crate::thumbnail::thumbnail;

#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Results")]
pub(super) struct OutputArgs {
    /// Write all results: accuracies, what is needed to repeat the run, and what was said of each image
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,

    /// Write a report to look at
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,

    /// Write a row a model
    #[arg(long, value_name = "FILE")]
    csv: Option<PathBuf>,

    /// Write what each model says of each image, as .csv or .parquet
    #[arg(long, value_name = "FILE")]
    predictions: Option<PathBuf>,

    /// Add a row a model to a file in the layout of the paper's code
    #[arg(long, value_name = "FILE")]
    text: Option<PathBuf>,
}

/// Writes a file, whole or not at all.
pub(super) fn write(path: &Path, contents: &str) -> Result<()> {
    topk_files::write(path, contents.as_bytes())
        .with_context(|| format!("cannot write {}", path.display()))
}

impl OutputArgs {
    pub(super) fn json(&self) -> Option<&Path> {
        self.json.as_deref()
    }

    /// Checks that the files can be written, as far as that is known before there is anything to write.
    pub(super) fn check(&self) -> Result<()> {
        let paths = [
            &self.json,
            &self.html,
            &self.csv,
            &self.predictions,
            &self.text,
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
            let extension = path.extension().and_then(|extension| extension.to_str());
            ensure!(
                extension.is_some_and(|extension| {
                    ["csv", "parquet"].contains(&&*extension.to_ascii_lowercase())
                }),
                "cannot write {}: predictions are written as .csv or .parquet",
                path.display()
            );
        }
        Ok(())
    }

    /// Prints the table and writes the files; the report shows images if they are at hand.
    pub(super) fn write(
        &self,
        results: &Results,
        images: Option<(&ImageSet, &Limits)>,
    ) -> Result<()> {
        if let Some(path) = &self.json {
            results.save(path)?;
        }
        if let Some(path) = &self.html {
            let shown = |place| images.and_then(|(set, limits)| thumbnail(set, place, limits));
            write(path, &results.to_html(&[], shown)?)?;
        }
        if let Some(path) = &self.csv {
            write(path, &results.to_csv())?;
        }
        if let Some(path) = &self.predictions {
            results.save_predictions(path)?;
        }
        if let Some(path) = &self.text {
            results.append_text(path)?;
        }
        io::stdout().write_all(results.table().as_bytes())?;
        Ok(())
    }
}
