//! Many runs, one after the other, and what came out.

use std::ffi::OsString;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::AtomicBool;

use anyhow::{Context, Result, bail, ensure};
use clap::CommandFactory;
use serde::Deserialize;
use toml::{Table, Value};
use topk_history::{Axes, Reference, RunState, Summary, Sweep};

use crate::args::{Args, INTERRUPTED};
use crate::config::Config;
use crate::folder::write_whole;
use crate::recipe;
use crate::training::{Outcome, Saving, train};
use crate::{FolderError, TrainError};

/// Most runs of a sweep.
const MAX_RUNS: usize = 1000;

/// A plan as its file has it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct PlanFile {
    /// Settings of all runs, as a recipe has them.
    #[serde(default)]
    settings: Table,
    /// One setting with its values: a row of the table for each.
    row: Table,
    /// Settings that go together: a column of the table for each.
    variant: Vec<Table>,
    /// Each combination is run with each.
    seeds: Vec<u32>,
    /// File of published numbers, beside the plan.
    reference: Option<PathBuf>,
}

/// The runs of a sweep.
#[derive(Debug)]
pub(crate) struct Plan {
    axes: Axes,
    /// Names of their folders, and their settings.
    runs: Vec<(String, Config)>,
    reference: Option<Reference>,
}

impl Plan {
    /// Reads a plan. The flags go before its settings.
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
                "{}: [row] must have one setting with a list of values, such as noise = [0, 0.5]",
                name()
            );
        };
        let count = values
            .len()
            .saturating_mul(variants.len())
            .saturating_mul(seeds.len());
        ensure!(
            (1..=MAX_RUNS).contains(&count),
            "{} has {count} runs, it must have 1 to {MAX_RUNS}",
            name()
        );
        let mut columns: Vec<String> = Vec::new();
        for key in variants.iter().flat_map(Table::keys) {
            if !columns.contains(key) {
                columns.push(key.clone());
            }
        }
        let mut runs = Vec::new();
        // Seed by seed, so that the table fills evenly.
        for seed in seeds {
            for value in &values {
                for variant in &variants {
                    let mut settings = settings.clone();
                    settings.extend(variant.clone());
                    settings.insert(row.clone(), value.clone());
                    settings.insert("seed".to_owned(), i64::from(seed).into());
                    let words = recipe::flags(path, settings, &Args::command())?;
                    let config = Args::config_of(words.into_iter().chain(flags.iter().cloned()))?;
                    let variant = variant.values().map(plain);
                    let variant = variant.collect::<Vec<_>>().join("-");
                    runs.push((
                        format!("{variant}-{row}-{}-seed-{seed}", plain(value)),
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

/// A value as part of the name of a folder.
fn plain(value: &Value) -> String {
    let text = match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let plain = |c: char| {
        if c.is_alphanumeric() || ".-".contains(c) {
            c
        } else {
            '_'
        }
    };
    text.chars().map(plain).collect()
}

/// Trains all runs of a plan that are not finished, each in its folder in `out`, and writes there what
/// came out, after each run: `sweep.md`, `.csv`, `.json`, `.svg` and `.html`, and `curves.svg`.
///
/// A run that fails does not keep the others from being run. One that another process trains is left to it, so
/// that several processes can share the runs of a plan.
pub(crate) fn sweep(plan: &Plan, out: &Path, stop: &AtomicBool) -> Result<ExitCode> {
    let (mut failed, mut elsewhere) = (Vec::new(), Vec::new());
    for (number, (name, config)) in plan.runs.iter().enumerate() {
        let mut line = format!("\n{name} ({} of {})", number + 1, plan.runs.len());
        match train(config, &out.join(name), Saving::default(), stop) {
            Ok(Outcome::Finished(_)) => line.clear(),
            Ok(Outcome::WasFinished(_)) => {
                writeln!(io::stdout(), "{name}: was finished")?;
                continue;
            }
            Ok(Outcome::Interrupted) => {
                summarize(plan, out)?;
                eprintln!("interrupted; the state is saved: the same command goes on from it");
                return Ok(ExitCode::from(INTERRUPTED));
            }
            Err(TrainError::Folder(FolderError::Busy(_))) => {
                writeln!(io::stdout(), "{name}: another process trains it")?;
                elsewhere.push(name);
                continue;
            }
            Err(error) => {
                line += &format!(": {error}");
                failed.push(name);
            }
        }
        if !line.is_empty() {
            writeln!(io::stdout(), "{}", line.trim_start())?;
        }
        summarize(plan, out)?;
    }
    let (sweep, table) = summarize(plan, out)?;
    writeln!(io::stdout(), "\n{table}")?;
    let runs = sweep.runs().iter();
    let left = runs.filter(|run| !matches!(run.state, RunState::Finished(_)));
    match left.filter(|run| elsewhere.contains(&&run.name)).count() {
        0 => {}
        1 => writeln!(
            io::stdout(),
            "another process still trains a run, and sums up all once it ends"
        )?,
        runs => writeln!(
            io::stdout(),
            "other processes still train {runs} runs: the last to end sums up all"
        )?,
    }
    match &failed[..] {
        [] => Ok(ExitCode::SUCCESS),
        [first, ..] => bail!(
            "{} of {} runs failed, such as {first}",
            failed.len(),
            plan.runs.len()
        ),
    }
}

/// Writes what has come out so far, and returns it, with its table.
fn summarize(plan: &Plan, out: &Path) -> Result<(Sweep, String)> {
    fs::create_dir_all(out).with_context(|| format!("cannot make {}", out.display()))?;
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
            write_whole(&out.join(name), text.as_bytes())?;
        }
    }
    let table = summary.table();
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
    fn the_plans_in_recipes_can_be_read() {
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
    fn the_papers_numbers_stand_beside_those_of_its_plan() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/recipes/cifar100-noise.toml");
        let plan = Plan::read(Path::new(path), &["--data=DIR".into()]).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let (_, table) = summarize(&plan, folder.path()).unwrap();
        let line = |start: &str| table.lines().find(|line| line.starts_with(start));
        let titles = line("noise ").unwrap();
        assert!(
            titles.ends_with("paper: ce  paper: svm, tau 1, alpha 1"),
            "{titles}"
        );
        let clean = line("0 ").unwrap();
        assert!(clean.ends_with("94.30      94.30"), "{clean}");
        assert!(!table.contains("Not in the sweep"), "{table}");
    }

    #[test]
    fn plans_that_make_no_sense_are_refused() {
        for (from, to, part) in [
            (
                "noise = [0, 0.6]",
                "noise = 0",
                "[row] must have one setting",
            ),
            ("seeds = [0, 1]", "seeds = []", "has 0 runs"),
            ("epochs = 20", "epoch = 20", "`epoch`, which is no setting"),
            ("loss = \"ce\"", "loss = \"cd\"", "invalid value 'cd'"),
            ("epochs = 20", "epochs = 0", "--epochs must be at least 1"),
        ] {
            let error = format!("{:#}", plan(&TEXT.replace(from, to), &[]).unwrap_err());
            assert!(error.contains(part), "{error}");
        }
    }
}
