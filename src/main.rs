//! The `topk-train` command.

use std::io::{self, Write};
use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;
use topk_train::args::Args;
use topk_train::{models, train};

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
    let args = Args::parse();
    if args.list_models() {
        io::stdout().write_all(models().as_bytes())?;
        return Ok(());
    }
    train(&args.config()?)?;
    Ok(())
}
