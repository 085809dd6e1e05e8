//! The `topk-train` command.

use std::process::ExitCode;

use clap::{CommandFactory, Parser};
use topk_native::onnxruntime::disable_telemetry;
use topk_train::{Args, report};

fn main() -> ExitCode {
    // SAFETY: no other thread is running yet.
    unsafe { disable_telemetry() };
    if let Some(code) = topk_cli::generate(Args::command()) {
        return code;
    }
    match Args::parse().run() {
        Ok(code) => code,
        Err(error) => {
            report(&error);
            ExitCode::FAILURE
        }
    }
}
