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
