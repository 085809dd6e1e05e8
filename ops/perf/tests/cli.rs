//! The `topk-perf` command.

use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};

fn check(path: &Path) -> Output {
    Command::new(env!("CARGO_BIN_EXE_topk-perf"))
        .arg("check")
        .arg(path)
        .output()
        .unwrap()
}

#[test]
fn exact_cases_pass_and_a_changed_one_fails() {
    let cases = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/data/loss.jsonl");
    let output = check(&cases);
    assert!(output.status.success(), "{output:?}");
    let table = String::from_utf8(output.stdout).unwrap();
    assert!(table.contains("f32      72         0  "), "{table}");
    assert!(table.contains("f64      72         0  "), "{table}");

    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let changed = folder.join("changed.jsonl");
    let text = fs::read_to_string(cases).unwrap();
    fs::write(
        &changed,
        text.replacen("\"alpha\": 0.5", "\"alpha\": 0.75", 1),
    )
    .unwrap();
    let output = check(&changed);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let table = String::from_utf8(output.stdout).unwrap();
    assert!(table.contains("f32      72         1  "), "{table}");

    fs::write(&changed, "{}\n").unwrap();
    let output = check(&changed);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let message = String::from_utf8(output.stderr).unwrap();
    assert!(
        message.contains("changed.jsonl:1: not a test case: missing field"),
        "{message}"
    );
}

/// The help text at 100 columns.
fn help(args: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_topk-perf"))
        .args(args)
        .env("COLUMNS", "100")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn help_texts() {
    insta::assert_snapshot!("help", help(&["--help"]));
    insta::assert_snapshot!("help-check", help(&["check", "--help"]));
}
