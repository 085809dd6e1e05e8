//! One leaderboard of many result files.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use topk_report::text::wrap_for;
use topk_results::{Leaderboard, LeaderboardEntry, Results, is_result_file};

use super::outputs::{Output, check, print, requested, write};

#[derive(Clone, Debug, clap::Args)]
pub(super) struct ReportArgs {
    /// Result files, as written by --json, and folders of them. Folders are searched with those below them; other JSON
    /// files there are skipped
    #[arg(value_name = "PATH", required = true)]
    paths: Vec<PathBuf>,

    /// Write an HTML page with sortable tables
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,

    /// Write tables in GitHub-flavoured Markdown
    #[arg(long, value_name = "FILE")]
    markdown: Option<PathBuf>,

    /// Write the table over test sets as JSON, for results of at least two sets with --preset-data
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,

    /// Write one row per model as CSV
    #[arg(long, value_name = "FILE")]
    csv: Option<PathBuf>,

    /// Write `model-index` for the model card on the Hugging Face hub, as YAML
    #[arg(long, value_name = "FILE")]
    model_index: Option<PathBuf>,

    /// Identifier of the data set on the hub for --model-index, e.g. imagenet-1k [default: cifar10 or cifar100 for these,
    /// else imagefolder]
    #[arg(long, value_name = "ID", requires = "model_index")]
    dataset: Option<String>,
}

impl ReportArgs {
    fn files(&self) -> impl Iterator<Item = Output<'_>> {
        requested([
            ("--html", &self.html),
            ("--markdown", &self.markdown),
            ("--json", &self.json),
            ("--csv", &self.csv),
            ("--model-index", &self.model_index),
        ])
    }

    pub(super) fn run(&self) -> Result<()> {
        check(self.files())?;
        let leaderboard = self.read()?;
        let data_sets = leaderboard.data_sets();
        if self.dataset.is_some() && data_sets > 1 {
            bail!(
                "--dataset names one data set, but the results are of {data_sets}: pass the results of one"
            );
        }
        for line in &leaderboard.left_out {
            eprintln!("{}", wrap_for(&std::io::stderr(), line));
        }
        print(&leaderboard.table(), self.files())?;
        if let Some(path) = &self.json {
            let shifts = leaderboard.shifts().context(
                "--json writes a table over test sets, but the results are not of at least two that were named with \
                 --preset-data or --real-labels",
            )?;
            write(path, &shifts.to_json())?;
        }
        if let Some(path) = &self.html {
            write(path, &leaderboard.to_html())?;
        }
        if let Some(path) = &self.markdown {
            write(path, &leaderboard.to_markdown())?;
        }
        if let Some(path) = &self.csv {
            write(path, &leaderboard.to_csv())?;
        }
        if let Some(path) = &self.model_index {
            let index = leaderboard.to_model_index(self.dataset.as_deref());
            let index = index.context(
                "--model-index: all results are partial, which a model card cannot express: finish them with --resume, \
                 or merge the shards",
            )?;
            write(path, &index)?;
            let models = leaderboard.models_in_index();
            if models > 1 {
                let note = format!(
                    "{} has {models} models: a model card describes one, so copy only its entry",
                    path.display()
                );
                eprintln!("{}", wrap_for(&std::io::stderr(), &note));
            }
        }
        Ok(())
    }

    /// Reads the files one after the other, and keeps only what a leaderboard needs.
    fn read(&self) -> Result<Leaderboard> {
        let (mut entries, mut others, mut left_out) = (Vec::new(), Vec::new(), Vec::new());
        let mut seen = BTreeSet::new();
        for path in &self.paths {
            let named = !path.is_dir();
            let files = if named {
                vec![path.clone()]
            } else {
                json_files(path)?
            };
            for file in files {
                // A file may be given by name and in a folder.
                if !seen.insert(file.canonicalize().unwrap_or_else(|_| file.clone())) {
                    continue;
                }
                let source = file.display().to_string();
                if !named && !is_result_file(&file)? {
                    others.push(source);
                    continue;
                }
                match Results::read(&file) {
                    Ok(results) => entries.extend(LeaderboardEntry::of(&source, &results)),
                    Err(error) if named => return Err(error.into()),
                    Err(error) => left_out.push(format!("left out: {error}")),
                }
            }
        }
        if !others.is_empty() {
            let names = others.join(", ");
            left_out.insert(
                0,
                format!("skipped, because they are not result files: {names}"),
            );
        }
        if entries.is_empty() {
            for line in &left_out {
                eprintln!("{}", wrap_for(&std::io::stderr(), line));
            }
            let paths: Vec<String> = self
                .paths
                .iter()
                .map(|path| path.display().to_string())
                .collect();
            bail!(
                "no results in {}: pass files that topk-eval wrote with --json, or their folder",
                paths.join(", ")
            );
        }
        Ok(Leaderboard::new(entries, left_out))
    }
}

/// The JSON files in a folder and those below it, in the order of their names. Hidden folders and links to folders are
/// not searched.
fn json_files(folder: &Path) -> Result<Vec<PathBuf>> {
    let cannot_read = || format!("cannot read {}", folder.display());
    let mut paths = Vec::new();
    for entry in fs::read_dir(folder).with_context(cannot_read)? {
        let entry = entry.with_context(cannot_read)?;
        paths.push((entry.path(), entry.file_type().with_context(cannot_read)?));
    }
    paths.sort_by(|(a, _), (b, _)| a.cmp(b));
    let mut files = Vec::new();
    for (path, kind) in paths {
        let name = path
            .file_name()
            .map(|name| name.to_string_lossy().into_owned());
        let is_hidden = name.is_some_and(|name| name.starts_with('.'));
        if kind.is_dir() && !is_hidden {
            files.extend(json_files(&path)?);
        } else if path
            .extension()
            .is_some_and(|extension| extension == "json")
            && path.is_file()
        {
            files.push(path);
        }
    }
    Ok(files)
}
