//! `topk-train sweep`: runs every combination of a plan's settings and summarises the results.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;
use std::sync::atomic::AtomicBool;

use anyhow::{Context, Result, bail};
use topk_cli::INTERRUPTED;
use topk_history::{RunState, Summary, Sweep};
use topk_report::text::{TERMINAL_WIDTH, wrap};

use crate::args::RESUME_HINT;
use crate::dry_run::{duration, measure};
use crate::observer::Followers;
use crate::plan::{Plan, PlannedRun};
use crate::progress::Progress;
use crate::ranks::Ranks;
use crate::run_folder::write_atomically;
use crate::train::{Job, Outcome, train};
use crate::{FolderError, TrainError};

/// What `topk-train sweep --dry-run` prints: the runs, and a dry run of the first that is not finished. Creates
/// nothing.
pub(crate) fn list(plan: &Plan, out: &Path) -> Result<String> {
    let sweep = Sweep::planned(out, plan.axes.clone(), planned(plan))?;
    let mut text = String::new();
    let mut first: Option<&PlannedRun> = None;
    let mut epochs = 0;
    let mut left = 0;
    for (planned, run) in plan.runs.iter().zip(sweep.runs()) {
        let total = planned.settings.config.epochs;
        let state = match &run.state {
            RunState::Finished(_) => "finished".to_owned(),
            RunState::Unfinished(run) => {
                format!("begun, {} of {total} epochs", run.epochs.len())
            }
            RunState::Missing => "new".to_owned(),
            RunState::Unreadable(error) => format!("unreadable: {error}"),
        };
        let line = format!("{}: {state}", run.name);
        text += &wrap(&line, TERMINAL_WIDTH, 2);
        text.push('\n');
        if !matches!(run.state, RunState::Finished(_)) {
            first.get_or_insert(planned);
            let done = run.state.run().map_or(0, |run| run.epochs.len());
            epochs += total.saturating_sub(done);
            left += 1;
        }
    }
    let Some(first) = first else {
        text += &format!("\nall {} runs are finished\n", plan.runs.len());
        return Ok(text);
    };
    let measured = measure(&first.settings.config)?;
    text += &format!("\nthe first of {left} runs to train, {}:\n\n", first.name);
    text += &measured.text;
    let time = format!(
        "{} for {left} runs with {epochs} epochs left in total, if an epoch takes as long in each as in {}",
        duration(measured.epoch_seconds * epochs as f64),
        first.name
    );
    text += &wrap(&format!("\n{time}"), TERMINAL_WIDTH, 2);
    text.push('\n');
    Ok(text)
}

/// Folder names and configurations of the runs.
fn planned(plan: &Plan) -> Vec<(String, serde_json::Map<String, serde_json::Value>)> {
    let runs = plan.runs.iter();
    let run = |run: &PlannedRun| {
        let config = run.settings.config.clone().for_ranks(1).resolved();
        (run.name.clone(), config.to_map())
    };
    runs.map(run).collect()
}

/// Trains all unfinished runs of a plan, each in its own folder in `out`. After each run, writes a summary of the
/// results: `sweep.md`, `.csv`, `.json`, `.svg` and `.html`, and `curves.svg`.
///
/// If a run fails, the sweep continues with the next one. Runs that another process is training are skipped, so
/// that several processes can share the runs of a plan.
pub(crate) fn sweep(plan: &Plan, out: &Path, stop: &AtomicBool) -> Result<ExitCode> {
    let (mut failed, mut busy) = (Vec::new(), Vec::new());
    for (number, run) in plan.runs.iter().enumerate() {
        let (name, settings) = (&run.name, &run.settings);
        let mut line = format!("\n{name} ({} of {})", number + 1, plan.runs.len());
        // The first run decides where data of the process is kept.
        topk_data::remote::configure(settings.cache.clone())?;
        let policy = settings.checkpoint_policy();
        let ranks = &mut Ranks::alone();
        let job = Job {
            config: &settings.config,
            images: None,
            out: &out.join(name),
            resume_from: None,
            policy,
        };
        let mut progress = Progress::new(settings.config.logging.log_format);
        let followers = Followers::new(Some(&mut progress), stop);
        match train(job, ranks, followers) {
            Ok(Outcome::Finished(_)) => line.clear(),
            Ok(Outcome::AlreadyFinished(_)) => {
                writeln!(topk_cli::stdout(), "{name}: already finished")?;
                continue;
            }
            // This process is on its own, so that it is rank 0.
            Ok(Outcome::Interrupted | Outcome::OtherRank) => {
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
    let sweep = Sweep::planned(out, plan.axes.clone(), planned(plan))?;
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
    use crate::layers::{Setting, Source};

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
        let data = Setting {
            key: "data".to_owned(),
            value: "DIR".into(),
            source: Source::CommandLine,
        };
        let plan = Plan::read(&path, Vec::new(), vec![data]).unwrap();
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
}
