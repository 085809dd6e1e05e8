//! Settings at the limits of their ranges.

mod sample;

use std::process::{Command, Output};

use tempfile::TempDir;

/// The output of a run of a few images.
fn train(folder: &TempDir, flags: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_topk-train"))
        .args(["--model=basic-4", "--batch-size=50", "--val-size=100"])
        .args(["--device=cpu", "--workers=1", "--data"])
        .arg(folder.path())
        .arg("--out")
        .arg(folder.path().join("run"))
        .args(flags)
        .output()
        .unwrap()
}

fn data() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    sample::write(folder.path(), 300, 100);
    folder
}

#[test]
fn training_works_without_momentum() {
    let folder = data();
    let output = train(&folder, &["--momentum=0", "--epochs=1"]);
    assert!(output.status.success(), "{output:?}");
}

/// It would fail after two of three epochs, and could not be resumed.
#[test]
fn the_loss_of_every_epoch_is_checked_at_the_start() {
    let folder = data();
    let output = train(&folder, &["--tau=1..0", "--epochs=3"]);
    assert_eq!(output.status.code(), Some(1));
    let printed = String::from_utf8(output.stderr).unwrap();
    let expected = "error: the loss of epoch 3 of 3: tau (temperature) must be";
    assert!(printed.contains(expected), "{printed}");
    assert!(!folder.path().join("run").exists());
}
