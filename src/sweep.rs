//! `topk-train sweep`: runs every combination of a plan's settings and summarises the results.

use std::ffi::OsString;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::AtomicBool;

use anyhow::{Context, Result, bail, ensure};
use clap::CommandFactory;
use serde::Deserialize;
use toml::{Table, Value};
use topk_cli::INTERRUPTED;
use topk_history::{Axes, Reference, RunState, Summary, Sweep};
use topk_report::text::{TERMINAL_WIDTH, wrap};

use crate::args::{Args, RESUME_HINT};
use crate::config::Config;
use crate::recipe;
use crate::run_folder::write_atomically;
use crate::train::{CheckpointPolicy, Outcome, train};
use crate::{FolderError, TrainError};

/// Maximum number of runs in a sweep.
const MAX_RUNS: usize = 1000;

/// The contents of a plan's file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct PlanFile {
    /// Settings of all runs, with the keys of a recipe.
    #[serde(default)]
    settings: Table,
    /// One setting with its values, one row of the table each.
    row: Table,
    /// Groups of settings, one column of the table each.
    variant: Vec<Table>,
    /// Seeds with which each combination is run.
    seeds: Vec<u32>,
    /// File of reference accuracies, relative to the plan's folder.
    reference: Option<PathBuf>,
}

/// The runs of a sweep.
#[derive(Debug)]
pub(crate) struct Plan {
    axes: Axes,
    /// Folder name and settings of each run.
    runs: Vec<(String, Config)>,
    reference: Option<Reference>,
}

impl Plan {
    /// Reads a plan. The flags take precedence over its settings.
    pub(crate) fn read(path: &Path, flags: &[OsString]) -> Result<Self> {
        let name = || format!("the plan {}", path.display());
        let PlanFile {
            settings,
            row,
            variant: variants,
            seeds,
            reference,
        } = recipe::read(path)?.try_into().with_context(name)?;
        let mut rows = row.into_iter();
        let (Some((row, Value::Array(values))), None) = (rows.next(), rows.next()) else {
            bail!(
                "{}: [row] must contain one setting with an array of values, such as noise = [0, 0.5]",
                name()
            );
        };
        let count = values
            .len()
            .saturating_mul(variants.len())
            .saturating_mul(seeds.len());
        ensure!(
            (1..=MAX_RUNS).contains(&count),
            "{} has {count} runs; expected 1 to {MAX_RUNS}",
            name()
        );
        let mut columns: Vec<String> = Vec::new();
        for key in variants.iter().flat_map(Table::keys) {
            if !columns.contains(key) {
                columns.push(key.clone());
            }
        }
        let mut runs = Vec::new();
        // Seed by seed, so that every cell of the table has a run early.
        for seed in seeds {
            for value in &values {
                for variant in &variants {
                    let mut settings = settings.clone();
                    settings.extend(variant.clone());
                    settings.insert(row.clone(), value.clone());
                    settings.insert("seed".to_owned(), i64::from(seed).into());
                    let words = recipe::flags(path, settings, &Args::command())?;
                    let config = Args::config_of(words.into_iter().chain(flags.iter().cloned()))?;
                    let variant = variant.values().map(folder_name);
                    let variant = variant.collect::<Vec<_>>().join("-");
                    runs.push((
                        format!("{variant}-{row}-{}-seed-{seed}", folder_name(value)),
                        config,
                    ));
                }
            }
        }
        let reference = reference.map(|file| {
            let beside = path.parent().unwrap_or(Path::new(""));
            Reference::read(&beside.join(file))
        });
        Ok(Self {
            axes: Axes {
                row,
                columns,
                seed: "seed".to_owned(),
            },
            runs,
            reference: reference.transpose()?,
        })
    }
}

/// A value as part of a folder's name.
fn folder_name(value: &Value) -> String {
    let text = match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let safe = |c: char| {
        if c.is_alphanumeric() || ".-".contains(c) {
            c
        } else {
            '_'
        }
    };
    text.chars().map(safe).collect()
}

/// Trains all unfinished runs of a plan, each in its own folder in `out`. After each run, writes a summary of the
/// results: `sweep.md`, `.csv`, `.json`, `.svg` and `.html`, and `curves.svg`.
///
/// If a run fails, the sweep continues with the next one. Runs that another process is training are skipped, so
/// that several processes can share the runs of a plan.
pub(crate) fn sweep(plan: &Plan, out: &Path, stop: &AtomicBool) -> Result<ExitCode> {
    let (mut failed, mut busy) = (Vec::new(), Vec::new());
    for (number, (name, config)) in plan.runs.iter().enumerate() {
        let mut line = format!("\n{name} ({} of {})", number + 1, plan.runs.len());
        match train(
            config,
            &out.join(name),
            None,
            CheckpointPolicy::default(),
            stop,
        ) {
            Ok(Outcome::Finished(_)) => line.clear(),
            Ok(Outcome::AlreadyFinished(_)) => {
                writeln!(topk_cli::stdout(), "{name}: already finished")?;
                continue;
            }
            Ok(Outcome::Interrupted) => {
                summarize(plan, out)?;
                eprintln!("{RESUME_HINT}");
                return Ok(ExitCode::from(INTERRUPTED));
            }
            Err(TrainError::Folder(FolderError::Busy(_))) => {
                writeln!(topk_cli::stdout(), "{name}: another process is training it")?;
                busy.push(name);
                continue;
            }
            Err(error) => {
                line += &format!(": {error}");
                failed.push(name);
            }
        }
        if !line.is_empty() {
            let line = wrap(line.trim_start(), TERMINAL_WIDTH, 2);
            writeln!(topk_cli::stdout(), "{line}")?;
        }
        summarize(plan, out)?;
    }
    let (sweep, table) = summarize(plan, out)?;
    writeln!(topk_cli::stdout(), "\n{table}")?;
    let runs = sweep.runs().iter();
    let left = runs.filter(|run| !matches!(run.state, RunState::Finished(_)));
    match left.filter(|run| busy.contains(&&run.name)).count() {
        0 => {}
        1 => writeln!(
            topk_cli::stdout(),
            "Another process is still training a run; it updates the summary when it finishes."
        )?,
        runs => writeln!(
            topk_cli::stdout(),
            "Other processes are still training {runs} runs; the last to finish updates the summary."
        )?,
    }
    match &failed[..] {
        [] => Ok(ExitCode::SUCCESS),
        [first, ..] => bail!(
            "{} of {} runs failed, such as {first}; see the messages above",
            failed.len(),
            plan.runs.len()
        ),
    }
}

/// Writes a summary of the results so far; returns the sweep and the table for the terminal.
fn summarize(plan: &Plan, out: &Path) -> Result<(Sweep, String)> {
    fs::create_dir_all(out).with_context(|| format!("cannot create {}", out.display()))?;
    let runs = plan.runs.iter();
    let runs = runs
        .map(|(name, config)| (name.clone(), config.to_map()))
        .collect();
    let sweep = Sweep::planned(out, plan.axes.clone(), runs)?;
    let summary = Summary::new(&sweep, plan.reference.as_ref());
    let files = [
        ("sweep.md", Some(summary.to_markdown())),
        ("sweep.csv", Some(summary.to_csv())),
        ("sweep.json", Some(summary.to_json())),
        ("sweep.svg", Some(summary.to_svg())),
        ("curves.svg", summary.curves_to_svg()),
        ("sweep.html", Some(summary.to_html())),
    ];
    for (name, text) in files {
        if let Some(text) = text {
            write_atomically(&out.join(name), text.as_bytes())?;
        }
    }
    let table = summary.table(TERMINAL_WIDTH);
    Ok((sweep, table))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(text: &str, flags: &[&str]) -> Result<Plan> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("plan.toml");
        fs::write(&path, text).unwrap();
        let flags: Vec<OsString> = flags.iter().map(OsString::from).collect();
        Plan::read(&path, &flags)
    }

    const TEXT: &str = "seeds = [0, 1]\n[settings]\ndata = \"DIR\"\nepochs = 20\n[row]\nnoise = [0, 0.6]\n\
                        [[variant]]\nloss = \"ce\"\n[[variant]]\nloss = \"svm\"\ntau = 0.5\n";

    #[test]
    fn every_combination_is_a_run() {
        let plan = plan(TEXT, &["--epochs", "5"]).unwrap();
        let names: Vec<&str> = plan.runs.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names.len(), 8);
        assert_eq!(names[..2], ["ce-noise-0-seed-0", "svm-0.5-noise-0-seed-0"]);
        assert_eq!(plan.axes.columns, ["loss", "tau"]);
        let (_, config) = &plan.runs[7];
        assert_eq!((config.noise, config.seed, config.epochs), (0.6, 1, 5));
        assert_eq!(
            (config.loss.name.as_str(), config.loss.tau.to_string()),
            ("svm", "0.5".to_owned())
        );
    }

    #[test]
    fn plans_in_recipes_can_be_read() {
        for (name, runs) in [
            ("cifar100-noise", 12),
            ("cifar100-noise-small", 36),
            ("imagenet-subsets", 8),
        ] {
            let path = format!("{}/recipes/{name}.toml", env!("CARGO_MANIFEST_DIR"));
            let plan = Plan::read(Path::new(&path), &["--data=DIR".into()]).unwrap();
            assert_eq!(plan.runs.len(), runs);
        }
    }

    #[test]
    fn reference_accuracies_are_shown_beside_the_runs() {
        let recipes = Path::new(env!("CARGO_MANIFEST_DIR")).join("recipes");
        let folder = tempfile::tempdir().unwrap();
        let text = fs::read_to_string(recipes.join("cifar100-noise.toml")).unwrap();
        let with_reference = format!("reference = \"reference-example.json\"\n{text}");
        fs::write(folder.path().join("plan.toml"), with_reference).unwrap();
        let name = "reference-example.json";
        fs::copy(recipes.join(name), folder.path().join(name)).unwrap();
        let path = folder.path().join("plan.toml");
        let plan = Plan::read(&path, &["--data=DIR".into()]).unwrap();
        let (_, table) = summarize(&plan, folder.path()).unwrap();
        for text in [
            "made-up: ce",
            "made-up: svm, tau 1, alpha 1",
            "90.00",
            "91.00",
            "These numbers are made up.",
        ] {
            assert!(table.contains(text), "{text}\n{table}");
        }
        assert!(!table.contains("not in the sweep"), "{table}");
    }

    #[test]
    fn invalid_plans_are_rejected() {
        for (from, to, part) in [
            (
                "noise = [0, 0.6]",
                "noise = 0",
                "[row] must contain one setting",
            ),
            ("seeds = [0, 1]", "seeds = []", "has 0 runs"),
            ("epochs = 20", "epoch = 20", "unknown setting `epoch`"),
            ("loss = \"ce\"", "loss = \"cd\"", "invalid value 'cd'"),
            ("epochs = 20", "epochs = 0", "--epochs must be at least 1"),
        ] {
            let error = format!("{:#}", plan(&TEXT.replace(from, to), &[]).unwrap_err());
            assert!(error.contains(part), "{error}");
        }
    }
}
