//! Output files.

use std::io::{self, Write};
use std::path::{self, Path, PathBuf};

use anyhow::{Context, Error, Result, bail, ensure};
use topk_data::ImageSet;
use topk_files::OutputFile;
use topk_image::Limits;
use topk_results::{PredictionsFormat, Results};

use crate::thumbnail::thumbnail;

#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Results")]
pub(super) struct OutputArgs {
    /// Write all results: metrics, settings to reproduce the run, and per-image predictions (- for standard output, also in
    /// the other options)
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,

    /// Write an HTML report
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,

    /// Write one row per model as CSV
    #[arg(long, value_name = "FILE")]
    csv: Option<PathBuf>,

    /// Write accuracy, precision, recall, F1 and the most frequent confusion of each class and model as CSV
    #[arg(long, value_name = "FILE")]
    class_csv: Option<PathBuf>,

    /// Write the confusion matrix of each model as CSV: one row per true and predicted class that occur together
    #[arg(long, value_name = "FILE")]
    confusion_csv: Option<PathBuf>,

    /// Write per-image predictions, as .csv or .parquet
    #[arg(long, value_name = "FILE")]
    predictions: Option<PathBuf>,

    /// Append one line per model, in the format of the paper's code
    #[arg(long, value_name = "FILE")]
    paper_table: Option<PathBuf>,

    /// Also print precision, F1, balanced accuracy, Brier score, adaptive ECE, accuracy at coverages and, for
    /// ImageNet's classes, severity of mistakes
    #[arg(long)]
    metrics: bool,
}

/// An output: the flag, and the file.
pub(super) type Output<'a> = (&'static str, &'a Path);

/// The outputs whose flags are set.
pub(super) fn requested<'a>(
    files: impl IntoIterator<Item = (&'static str, &'a Option<PathBuf>)>,
) -> impl Iterator<Item = Output<'a>> {
    files
        .into_iter()
        .filter_map(|(flag, path)| Some((flag, path.as_deref()?)))
}

/// Writes a text file.
pub(super) fn write(path: &Path, contents: &str) -> Result<()> {
    topk_files::write(path, contents.as_bytes())
        .with_context(|| format!("cannot write {}", path.display()))
}

/// Fails if a file cannot be written, or if two outputs have the same name.
pub(super) fn check<'a>(outputs: impl IntoIterator<Item = Output<'a>>) -> Result<()> {
    let mut regular: Vec<(&str, PathBuf)> = Vec::new();
    let mut standard: Option<&str> = None;
    for (flag, path) in outputs {
        if OutputFile::is_stdout(path) {
            if let Some(first) = standard {
                bail!(
                    "{first} and {flag} both write to standard output: write one of them to a file"
                );
            }
            standard = Some(flag);
        }
        OutputFile::check(path).with_context(|| format!("cannot write {}", path.display()))?;
        if !OutputFile::is_replaced(path) {
            continue;
        }
        let path = path::absolute(path)?;
        if let Some((first, _)) = regular.iter().find(|(_, other)| *other == path) {
            bail!("{first} and {flag} are the same file, {}", path.display());
        }
        regular.push((flag, path));
    }
    Ok(())
}

/// Prints a table, to standard error if an output file goes to standard output.
pub(super) fn print<'a>(
    table: &str,
    outputs: impl IntoIterator<Item = Output<'a>>,
) -> io::Result<()> {
    let mut outputs = outputs.into_iter();
    match outputs.any(|(_, path)| OutputFile::is_stdout(path)) {
        true => io::stderr().write_all(table.as_bytes()),
        false => topk_cli::stdout().write_all(table.as_bytes()),
    }
}

impl OutputArgs {
    pub(super) fn json(&self) -> Option<&Path> {
        self.json.as_deref()
    }

    /// The same without the table to which rows are appended: a finished run has appended its rows.
    pub(super) fn without_paper_table(&self) -> Self {
        Self {
            paper_table: None,
            ..self.clone()
        }
    }

    /// The first file that is replaced when it is written.
    pub(super) fn first_replaced(&self) -> Option<&Path> {
        let mut files = self.files().map(|(_, path)| path);
        files.find(|path| OutputFile::is_replaced(path))
    }

    /// The flags that are set, and their files.
    fn files(&self) -> impl Iterator<Item = Output<'_>> {
        requested([
            ("--json", &self.json),
            ("--html", &self.html),
            ("--csv", &self.csv),
            ("--class-csv", &self.class_csv),
            ("--confusion-csv", &self.confusion_csv),
            ("--predictions", &self.predictions),
            ("--paper-table", &self.paper_table),
        ])
    }

    /// Fails if earlier results are to be read from what is not a file.
    pub(super) fn check_resumable(&self) -> Result<()> {
        let json = self.json().filter(|path| !OutputFile::is_replaced(path));
        match json {
            Some(path) => bail!(
                "--resume reads earlier results from the file of --json, but {} is not a file",
                path.display()
            ),
            None => Ok(()),
        }
    }

    /// Checks before the evaluation that these files, and `others`, can be written. The paper's format cannot mark a
    /// subset.
    pub(super) fn check<'a>(
        &'a self,
        is_subset: bool,
        others: impl IntoIterator<Item = Output<'a>>,
    ) -> Result<()> {
        ensure!(
            !is_subset || self.paper_table.is_none(),
            "--paper-table cannot mark accuracies of a subset: omit it, or --limit"
        );
        ensure!(
            self.paper_table.as_deref() != Some(Path::new("-")),
            "--paper-table appends to a file, and cannot write to standard output: pass the path of a file"
        );
        check(self.files().chain(others))?;
        if let Some(path) = &self.predictions {
            PredictionsFormat::of(path)?;
        }
        Ok(())
    }

    /// Prints the table, then writes the files. The report shows thumbnails if `images` is given.
    ///
    /// A file that cannot be written does not keep the others from being written.
    ///
    /// # Errors
    /// The errors of all files.
    pub(super) fn write(
        &self,
        results: &Results,
        images: Option<(&ImageSet, &Limits)>,
    ) -> Result<()> {
        let mut table = results.table();
        if self.metrics {
            table += &format!("\n{}", results.metrics_table());
        }
        print(&table, self.files())?;
        let mut errors = Vec::new();
        let mut written = |written: Result<()>| {
            errors.extend(written.err().map(|error| format!("{error:#}")));
        };
        if let Some(path) = &self.json {
            written(results.save(path).map_err(Error::from));
        }
        if let Some(path) = &self.html {
            let shown = |index| images.and_then(|(set, limits)| thumbnail(set, index, limits));
            let html = results.to_html(&[], shown).map_err(Error::from);
            written(html.and_then(|html| write(path, &html)));
        }
        if let Some(path) = &self.csv {
            written(write(path, &results.to_csv()));
        }
        if let Some(path) = &self.class_csv {
            written(write(path, &results.to_class_csv()));
        }
        if let Some(path) = &self.confusion_csv {
            written(write(path, &results.to_confusion_csv()));
        }
        if let Some(path) = &self.predictions {
            written(results.save_predictions(path).map_err(Error::from));
        }
        if let Some(path) = &self.paper_table {
            written(results.append_paper_table(path).map_err(Error::from));
        }
        ensure!(errors.is_empty(), "{}", errors.join("\n"));
        Ok(())
    }
}
