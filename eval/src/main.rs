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
    let args = Args::parse();
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
