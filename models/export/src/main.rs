//! The `topk-export` command.

use std::process::ExitCode;

use clap::{CommandFactory, Parser};
use topk_export::args::Args;
use topk_native::keep_freed_memory;
use topk_native::onnxruntime::disable_telemetry;
use topk_report::text::error_message;

fn main() -> ExitCode {
    // SAFETY: there is no other thread yet.
    unsafe { disable_telemetry() };
    if let Some(code) = topk_cli::generate(Args::command()) {
        return code;
    }
    // ONNX Runtime needs as much memory as the network in libtorch did just before.
    keep_freed_memory();
    match Args::parse().run() {
        #[cfg(feature = "libtorch")]
        Ok(()) => topk_libtorch::exit(),
        #[cfg(not(feature = "libtorch"))]
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{}", error_message(error.as_ref()));
            ExitCode::FAILURE
        }
    }
}
