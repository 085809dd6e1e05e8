//! The `topk-train` command.

use std::process::ExitCode;

use topk_train::args::Args;

fn main() -> ExitCode {
    match Args::from_command_line().and_then(Args::run) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
