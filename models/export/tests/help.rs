//! The help of the program and of its subcommands, at a width of 100 columns.

use std::process::Command;

fn help(arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_topk-export"))
        .args(arguments)
        .arg("--help")
        .env("COLUMNS", "100")
        .output()
        .unwrap();
    assert!(output.status.success());
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn help_texts() {
    insta::assert_snapshot!("help", help(&[]));
    insta::assert_snapshot!("help-loss", help(&["loss"]));
    insta::assert_snapshot!("help-model", help(&["model"]));
    insta::assert_snapshot!("help-weights", help(&["weights"]));
}
