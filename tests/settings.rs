//! Settings at the limits of their ranges.

mod sample;

use std::fs;
use std::process::{Command, Output};

use serde_json::Value;
use tempfile::TempDir;
use topk_weights::StateDict;

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

#[test]
fn plain_momentum_replaces_nesterovs() {
    let folder = data();
    let run = |flags: &[&str]| {
        let out = folder.path().join("run");
        let output = train(
            &folder,
            &[&["--epochs=1", "--augment=none"], flags].concat(),
        );
        assert!(output.status.success(), "{output:?}");
        let log = fs::read_to_string(out.join("log.jsonl")).unwrap();
        let start: Value = serde_json::from_str(log.lines().next().unwrap()).unwrap();
        let weights = fs::read(out.join("best1.safetensors")).unwrap();
        fs::remove_dir_all(&out).unwrap();
        (start["config"]["nesterov"].as_bool().unwrap(), weights)
    };
    let (default, plain, nesterov) = (run(&[]), run(&["--nesterov=false"]), run(&["--nesterov"]));
    assert_eq!([default.0, plain.0, nesterov.0], [true, false, true]);
    assert!(default.1 == nesterov.1);
    assert!(default.1 != plain.1);
    let error = train(&folder, &["--momentum=0", "--nesterov"]);
    let error = String::from_utf8(error.stderr).unwrap();
    assert!(
        error.contains("--nesterov has no effect with --momentum 0"),
        "{error}"
    );
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

#[test]
fn cropping_on_the_device_changes_no_weight() {
    let folder = data();
    let out = folder.path().join("run");
    let run = |flags: &[&str]| {
        let output = train(&folder, &[&["--epochs=1"], flags].concat());
        assert!(output.status.success(), "{output:?}");
        let state = StateDict::read(&out.join("state.safetensors")).unwrap();
        fs::remove_dir_all(&out).unwrap();
        state.tensors
    };
    let mixed = ["--mix=mixup:0.2", "--channels-last"];
    let expected = run(&mixed);
    assert!(run(&[&mixed[..], &["--augment-on-device"]].concat()) == expected);
    let output = train(
        &folder,
        &["--augment-on-device", "--augment=resized-crop:32"],
    );
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(
        error.contains("--augment-on-device crops and flips to 32x32 pixels only"),
        "{error}"
    );
}

#[test]
fn float16_trains_and_tests() {
    let folder = data();
    let flags = ["--amp", "--amp-dtype=float16", "--epochs=1"];
    let output = train(&folder, &flags);
    assert!(output.status.success(), "{output:?}");
    let log = fs::read_to_string(folder.path().join("run/log.jsonl")).unwrap();
    let lines: Vec<Value> = log
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(lines[0]["config"]["amp-dtype"], "float16");
    let end = lines.last().unwrap();
    assert_eq!(
        end["checkpoints"].as_array().map(Vec::len),
        Some(2),
        "{end}"
    );
}
