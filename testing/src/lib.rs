//! What the tests of several crates share: Python environments with other runtimes, a headless
//! browser, the golden values, and how much memory a test takes.
//!
//! `cargo xtask test` fetches what is needed. A test that lacks something says so with [`skip`] and
//! passes.

mod browser;
mod python;
mod server;

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

pub use browser::{ONNXRUNTIME_WEB, WebPackage, browse, browse_alone};
pub use python::{Environment, Packages, python, run};
pub use server::Site;

/// Says on standard error that `test`, or a part of it, was not run, and why.
pub fn skip(test: &str, why: &str) {
    // Not `eprintln!`, which the test harness captures.
    let _ = writeln!(std::io::stderr(), "SKIPPED {test}: {why}");
}

/// The exact values of the loss: the full list where it is present beside the repository, else the
/// smaller one in it.
pub fn golden(test: &str) -> PathBuf {
    let all = root().join("../shared/golden/loss.jsonl");
    if all.is_file() {
        return all;
    }
    skip(
        test,
        "only the smaller list of golden values is read: ../shared/golden is absent",
    );
    root().join("ops/tests/data/loss.jsonl")
}

/// Resident memory of this process, in bytes, to some MiB.
///
/// # Panics
/// Elsewhere than on Linux.
pub fn resident() -> usize {
    let status = fs::read_to_string("/proc/self/status").expect("Linux says it there");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<usize>().ok());
    1024 * kib.expect("a number of KiB")
}

/// The repository's folder.
fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("testing is a folder of the workspace")
}

/// Where what `cargo xtask` fetches lies.
fn native() -> PathBuf {
    root().join(".native")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_always_golden_values() {
        let path = golden("there_are_always_golden_values");
        let text = fs::read_to_string(path).unwrap();
        assert!(text.lines().count() >= 72);
    }
}
