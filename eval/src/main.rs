//! The `topk-eval` command.

use std::env;
use std::process::ExitCode;

use clap::{CommandFactory, Parser};
use topk_eval::args::{Args, report};
use topk_native::onnxruntime::disable_telemetry;

fn main() -> ExitCode {
    // SAFETY: there is no other thread yet.
    unsafe { disable_telemetry() };
    if let Some(code) = topk_cli::generate(Args::command()) {
        return code;
    }
    let args = match Args::try_parse() {
        Ok(args) => args,
        Err(error) => {
            // Nothing can be done if the terminal is gone.
            let _ = error.print();
            // Not clap's 2, which `compare` keeps for its limits.
            return match error.use_stderr() {
                true => ExitCode::FAILURE,
                false => ExitCode::SUCCESS,
            };
        }
    };
    if let Some((name, value)) = args.environment() {
        // SAFETY: there is still no other thread.
        unsafe { env::set_var(name, value) };
    }
    match args.run() {
        Ok(code) => code,
        Err(error) => {
            report(&error);
            ExitCode::FAILURE
        }
    }
}
