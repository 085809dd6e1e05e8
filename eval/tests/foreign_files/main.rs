//! Data sets, models and outputs as other people have them, through the `topk-eval` command.

#[allow(dead_code, reason = "shared with the tests of the command line")]
#[path = "../cli/case.rs"]
mod case;

mod data;
mod onnx;
#[cfg(unix)]
mod outputs;
mod pixels;
mod runs;

use std::path::Path;
use std::process::Command;

/// `topk-eval` with these arguments and an empty environment.
fn subcommand(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_topk-eval"));
    command.env_clear().args(arguments);
    command
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}
