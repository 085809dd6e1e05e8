//! The `topk-eval` command.

use std::process::ExitCode;

use clap::Parser;
use topk_eval::args::Args;

fn main() -> ExitCode {
    match Args::parse().run() {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
