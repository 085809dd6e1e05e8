//! The help texts of `topk-train`, pinned at a terminal width of 100 columns.

use std::process::Command;

fn help(args: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_topk-train"))
        .args(args)
        .env("COLUMNS", "100")
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn train() {
    insta::assert_snapshot!(help(&["--help"]));
}

#[test]
fn train_summary() {
    insta::assert_snapshot!(help(&["-h"]));
}

#[test]
fn sweep() {
    insta::assert_snapshot!(help(&["sweep", "--help"]));
}
