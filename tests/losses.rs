//! Class weights, targets and teachers of runs.

mod sample;

use std::fs;
use std::process::{Command, Output};

use serde_json::{Value, json};
use tempfile::TempDir;
use topk_models::Checkpoint;

/// The output of a run of a few images.
fn train(folder: &TempDir, out: &str, flags: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_topk-train"))
        .args(["--model=basic-4", "--batch-size=50", "--val-size=100"])
        .args(["--device=cpu", "--workers=1", "--data"])
        .arg(folder.path())
        .arg("--out")
        .arg(folder.path().join(out))
        .args(flags)
        .output()
        .unwrap()
}

fn data() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    sample::write(folder.path(), 300, 100);
    folder
}

/// The log of a run that must have succeeded.
fn log(folder: &TempDir, out: &str, output: &Output) -> Vec<Value> {
    assert!(output.status.success(), "{output:?}");
    let log = fs::read_to_string(folder.path().join(out).join("log.jsonl")).unwrap();
    log.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

fn error(output: &Output) -> String {
    assert!(!output.status.success(), "{output:?}");
    String::from_utf8(output.stderr.clone()).unwrap()
}

#[test]
fn class_weights_are_recorded_and_belong_to_a_run() {
    let folder = data();
    let weights = folder.path().join("weights.txt");
    let lines: Vec<String> = (0..20).map(|class| (class % 4).to_string()).collect();
    fs::write(&weights, lines.join("\n")).unwrap();
    let given = format!("--class-weights={}", weights.display());
    let flags = [&*given, "--smoothing=0.25", "--loss=lapsum", "--epochs=1"];
    let events = log(&folder, "run", &train(&folder, "run", &flags));
    let config = &events[0]["config"];
    assert_eq!(config["class-weights"], json!(weights.to_str().unwrap()));
    assert_eq!(config["label-smoothing"], json!(0.25));
    let decisions = events[0]["decisions"].as_array().unwrap();
    let line = format!(
        "--class-weights {}: from 0.0000 (apple) to 3.0000",
        weights.display()
    );
    let is_line = |decision: &Value| decision.as_str().unwrap().starts_with(&line);
    assert!(decisions.iter().any(is_line), "{decisions:?}");
    let checkpoint = Checkpoint::load(&folder.path().join("run/best1.safetensors")).unwrap();
    let training = checkpoint.card().training.clone().unwrap();
    assert_eq!((&*training.loss, training.tau), ("lapsum", Some(1.0)));
    assert_eq!(training.loss_settings["label-smoothing"], json!(0.25));

    // Other weights are another run.
    fs::write(&weights, lines.join("\n").replacen('3', "5", 1)).unwrap();
    let longer = [&flags[..3], &["--epochs=2"]].concat();
    let error = error(&train(&folder, "run", &longer));
    assert!(
        error.contains("that of class 3 (counted from 0) was 3, and is 5"),
        "{error}"
    );
    fs::write(&weights, lines.join("\n")).unwrap();
    log(&folder, "run", &train(&folder, "run", &longer));
    // They have an effect.
    let loss = |flags: &[&str], out: &str| {
        log(&folder, out, &train(&folder, out, flags))[1]["loss"].clone()
    };
    assert_ne!(loss(&flags, "weighted"), loss(&flags[1..], "unweighted"));
}

#[test]
fn a_network_imitates_the_model_of_another_run() {
    let folder = data();
    let first = train(&folder, "first", &["--epochs=1", "--loss=ce"]);
    log(&folder, "first", &first);
    let teacher = folder.path().join("first/bestk.onnx");
    let given = format!("--teacher={}", teacher.display());
    let flags = [
        &*given,
        "--distillation-alpha=1",
        "--distillation-tau=2",
        "--lr=0.02",
        "--augment=none",
    ];
    let flags = |epochs| [&flags[..], &[epochs]].concat();
    let events = log(
        &folder,
        "second",
        &train(&folder, "second", &flags("--epochs=6")),
    );
    let decisions = events[0]["decisions"].to_string();
    assert!(
        decisions.contains("the teacher's accuracy on 100 validation images: top-1 "),
        "{decisions}"
    );
    // The loss is the divergence from the teacher alone.
    let losses: Vec<f64> = events
        .iter()
        .filter_map(|event| event["loss"].as_f64())
        .collect();
    assert_eq!(losses.len(), 6);
    assert!(
        losses.iter().all(|&loss| loss > 0.0) && losses[5] < 0.7 * losses[0],
        "{losses:?}"
    );

    let other = train(&folder, "third", &["--epochs=1", "--loss=ce", "--seed=9"]);
    log(&folder, "third", &other);
    fs::copy(folder.path().join("third/bestk.onnx"), &teacher).unwrap();
    let error = error(&train(&folder, "second", &flags("--epochs=7")));
    assert!(
        error.contains("the file is not the model that taught the run in"),
        "{error}"
    );
}
