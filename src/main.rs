//! The `topk-train` command.

use std::process::ExitCode;

use clap::CommandFactory;
use topk_native::onnxruntime::disable_telemetry;
use topk_train::args::Args;

fn main() -> ExitCode {
    // SAFETY: there is no other thread yet.
    unsafe { disable_telemetry() };
    if let Some(code) = topk_cli::generate(Args::command()) {
        return code;
    }
    match Args::from_command_line().and_then(Args::run) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
