//! The `topk-perf` command.

mod bench;
mod memory;
mod output;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Result;
use clap::{CommandFactory, Parser, Subcommand};
use topk_reference::{Errors, Tolerance, read_cases};

/// Compare algorithms for the smooth top-k SVM: time, memory and errors
#[derive(Debug, Parser)]
#[command(
    name = "topk-perf",
    version,
    max_term_width = 100,
    after_help = "--num-classes, --batch-size, --topk and --tau take comma-separated lists; every \
                  combination is measured.",
    args_conflicts_with_subcommands = true
)]
struct Args {
    #[command(flatten)]
    bench: bench::Comparison,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Compare losses and gradients with exact values; fail if an error is out of tolerance
    Check {
        /// Test cases, one JSON object per line: name, k, tau, alpha, y, scores, loss, grad
        #[arg(value_name = "CASES.jsonl")]
        cases: PathBuf,
    },
}

fn main() -> ExitCode {
    if let Some(code) = topk_cli::generate(Args::command()) {
        return code;
    }
    let Args { bench, command } = Args::parse();
    let result = match command {
        None => bench::run(&bench).map(|()| ExitCode::SUCCESS),
        Some(Command::Check { cases }) => check(&cases),
    };
    match result {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn check(path: &Path) -> Result<ExitCode> {
    let cases = read_cases(path)?;
    let results = [
        (
            "f32",
            Tolerance::F32,
            Errors::of::<f32>(&cases, &Tolerance::F32),
        ),
        (
            "f64",
            Tolerance::F64,
            Errors::of::<f64>(&cases, &Tolerance::F64),
        ),
    ];
    let mut out = topk_cli::stdout();
    writeln!(
        out,
        "type  cases  failures  largest error of the loss  of the gradient"
    )?;
    for (name, _, errors) in &results {
        writeln!(
            out,
            "{name}  {:>6}  {:>8}  {:>25.1e}  {:>15.1e}",
            cases.len(),
            errors.failures.len(),
            errors.loss,
            errors.grad
        )?;
    }
    writeln!(
        out,
        "\nErrors of the loss are relative to max(1, loss), errors of the gradient absolute."
    )?;
    for (name, tolerance, errors) in &results {
        writeln!(out, "{name}: tolerance {tolerance}")?;
        for failure in &errors.failures {
            writeln!(out, "  {failure}")?;
        }
    }
    let passed = results
        .iter()
        .all(|(_, _, errors)| errors.failures.is_empty());
    Ok(if passed {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
