//! The `topk-train` command.

use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;
use topk_train::args::Args;
use topk_train::train;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    let config = Args::parse().config()?;
    train(&config)?;
    Ok(())
}
