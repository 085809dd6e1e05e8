//! Runs `topk-export` in a folder of its own.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

/// Runs the command in the folder, without any environment.
fn run(folder: &Path, arguments: &str) -> Output {
    Command::new(env!("CARGO_BIN_EXE_topk-export"))
        .env_clear()
        .current_dir(folder)
        .args(arguments.split(' '))
        .output()
        .unwrap()
}

/// The standard output of a command that succeeds without writing anything but notes to standard error.
pub fn write(folder: &Path, arguments: &str) -> String {
    let output = run(folder, arguments);
    let error = String::from_utf8_lossy(&output.stderr);
    let only_notes = error.lines().all(|line| line.starts_with("note: "));
    assert!(output.status.success() && only_notes, "{error}");
    String::from_utf8(output.stdout).unwrap()
}

/// What a command that succeeds says about the checkpoint `NAME` in notes: `note: NAME: …`.
#[allow(dead_code, reason = "only some tests look at notes")]
pub fn notes(folder: &Path, arguments: &str) -> Vec<String> {
    let output = run(folder, arguments);
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{error}");
    let note = |line: &str| {
        let rest = line.strip_prefix("note: ")?;
        Some(rest.split_once(": ")?.1.to_owned())
    };
    let notes: Option<Vec<_>> = error.lines().map(note).collect();
    notes.unwrap_or_else(|| panic!("{error}"))
}

/// The error of a command that fails and leaves no file behind.
pub fn error(folder: &Path, arguments: &str) -> String {
    error_of(folder, || run(folder, arguments))
}

/// The error of a command that may not write files of more bytes than this, and leaves none behind.
#[allow(dead_code, reason = "only some tests limit the size of files")]
pub fn error_within(folder: &Path, arguments: &str, max_bytes: u64) -> String {
    error_of(folder, || {
        Command::new("/bin/sh")
            .env_clear()
            .current_dir(folder)
            .args(["-c", "trap '' XFSZ; ulimit -f \"$0\"; exec \"$@\""])
            .arg((max_bytes / 512).to_string())
            .arg(env!("CARGO_BIN_EXE_topk-export"))
            .args(arguments.split(' '))
            .output()
            .unwrap()
    })
}

fn error_of(folder: &Path, run: impl FnOnce() -> Output) -> String {
    let files = || fs::read_dir(folder).unwrap().count();
    let before = files();
    let output = run();
    assert!(!output.status.success());
    assert_eq!(files(), before);
    String::from_utf8(output.stderr).unwrap()
}
