//! Optimizers, schedules and frozen layers, as a user of the program sees them.

mod sample;

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output};

use serde_json::Value;
use tempfile::TempDir;
use topk_models::Checkpoint;
use topk_weights::StateDict;

/// Settings of a run that takes a second.
const FLAGS: [&str; 7] = [
    "--model=basic-4",
    "--loss=ce",
    "--topk=2",
    "--val-size=20",
    "--device=cpu",
    "--workers=1",
    "--data=data",
];

struct Case {
    folder: TempDir,
}

impl Case {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("data");
        fs::create_dir(&data).unwrap();
        sample::write(&data, 120, 10);
        Self { folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn run(&self, flags: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_topk-train"));
        command.current_dir(self.folder.path()).args(FLAGS);
        command.args(flags).output().unwrap()
    }

    /// What a run prints, as one line.
    fn train(&self, out: &str, flags: &[&str]) -> String {
        let out = format!("--out={out}");
        let flags: Vec<&str> = flags.iter().copied().chain([&*out]).collect();
        let output = self.run(&flags);
        assert!(output.status.success(), "{output:?}");
        one_line(output.stdout)
    }

    fn log(&self, out: &str, event: &str) -> Vec<Value> {
        let log = fs::read_to_string(self.path(out).join("log.jsonl")).unwrap();
        let lines = log.lines().map(|line| serde_json::from_str(line).unwrap());
        lines
            .filter(|line: &Value| line["event"] == event)
            .collect()
    }

    fn state(&self, out: &str) -> StateDict {
        StateDict::read(&self.path(out).join("state.safetensors")).unwrap()
    }
}

fn one_line(text: Vec<u8>) -> String {
    let text = String::from_utf8(text).unwrap();
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn settings_are_in_the_log_the_recipe_and_the_model() {
    let case = Case::new();
    let flags = [
        "--epochs=1",
        "--batch-size=16",
        "--opt=adamw",
        "--opt-betas=0.9,0.95",
        "--lr-base=0.001",
        "--weight-decay=0.05",
        "--filter-bias-and-bn",
        "--layer-decay=0.9",
        "--clip-grad=0.1",
        "--clip-mode=agc",
        "--sched=cosine",
        "--min-lr=1e-6",
    ];
    let printed = case.train("out", &flags);
    let decision = "--lr-base 0.001: a peak learning rate of 0.00025, in proportion to the square root of the 16 images per \
                    step, of 256";
    assert!(printed.contains(decision), "{printed}");
    let start = &case.log("out", "start")[0];
    let config = &start["config"];
    for (key, value) in [
        ("opt", Value::from("adamw")),
        ("opt-betas", "0.9,0.95".into()),
        ("opt-eps", 1e-8.into()),
        ("lr-base", 0.001.into()),
        ("lr-base-size", 256.into()),
        ("lr-base-scale", "sqrt".into()),
        ("filter-bias-and-bn", true.into()),
        ("layer-decay", 0.9.into()),
        ("clip-mode", "agc".into()),
        ("min-lr", 1e-6.into()),
    ] {
        assert_eq!(config[key], value, "{key}");
    }
    assert!(config.get("momentum").is_none());
    let decisions = start["decisions"].as_array().unwrap();
    assert!(decisions.contains(&decision.into()), "{decisions:?}");
    let checkpoint = Checkpoint::load(&case.path("out/best1.safetensors")).unwrap();
    let optimizer = &checkpoint.card().training.as_ref().unwrap().optimizer;
    assert_eq!(
        (&optimizer["opt"], &optimizer["lr"]),
        (&"adamw".into(), &0.00025.into())
    );
    assert_eq!(optimizer["clip-mode"], "agc");
    // What a dry run prints is a recipe of the same run.
    let flags: Vec<&str> = flags.iter().copied().chain(["--dry-run"]).collect();
    let dry_run = case.run(&flags);
    let printed = String::from_utf8(dry_run.stdout).unwrap();
    for line in [
        "opt = \"adamw\"",
        "opt-betas = \"0.9,0.95\"",
        "sched = \"cosine\"",
        "lr-base = 0.001",
    ] {
        assert!(printed.contains(line), "{printed}");
    }
}

#[test]
fn a_run_continues_with_another_optimizer() {
    let case = Case::new();
    case.train("out", &["--epochs=1", "--lr=0.01"]);
    let refused = case.run(&["--out=out", "--epochs=2", "--lr=0.01", "--opt=adamw"]);
    assert!(!refused.status.success());
    let error = one_line(refused.stderr);
    assert!(error.contains("--opt was sgd, now adamw"), "{error}");
    let flags = ["--resume-from=out", "--epochs=2", "--opt=adamw"];
    let printed = case.train("other", &flags);
    let decision = "the state of the optimizer of the run is left out, because --opt changes; adamw starts without";
    assert!(printed.contains(decision), "{printed}");
    let state = case.state("other");
    let steps = state.tensors["optimizer/steps"].to_f32().unwrap();
    // Those of the second epoch.
    assert!(steps.iter().all(|&count| count == 2.0), "{steps:?}");
    assert!(
        !state
            .tensors
            .keys()
            .any(|name| name.starts_with("velocities/"))
    );
}

#[test]
fn a_plateau_is_part_of_the_state() {
    let case = Case::new();
    let flags = [
        "--sched=plateau",
        "--patience-epochs=0",
        "--decay-rate=0.5",
        // So low that validation does not improve.
        "--lr=1e-7",
        "--min-lr=1e-8",
    ];
    let with =
        |epochs: &'static str| -> Vec<&str> { flags.iter().copied().chain([epochs]).collect() };
    case.train("whole", &with("--epochs=4"));
    case.train("parts", &with("--epochs=2"));
    case.train("parts", &with("--epochs=4"));
    let rates = |out: &str| -> Vec<f64> {
        let epochs = case.log(out, "epoch");
        epochs
            .iter()
            .map(|epoch| epoch["lr"].as_f64().unwrap())
            .collect()
    };
    assert!(
        rates("whole").windows(2).any(|pair| pair[1] < pair[0]),
        "{:?}",
        rates("whole")
    );
    assert_eq!(rates("whole"), rates("parts"));
    assert!(case.state("whole").tensors == case.state("parts").tensors);
}

/// Gradients are those of the layers that are trained, on all ranks.
#[test]
fn ranks_train_the_same_layers_as_one_process() {
    let case = Case::new();
    let flags = [
        "--epochs=3",
        "--lr=1e-3",
        "--opt=adamw",
        "--opt-eps=1e-3",
        "--freeze=base.0,base.1",
        "--unfreeze-epoch=3",
        "--clip-grad=0.01",
        "--clip-mode=agc",
        "--sync-bn",
        "--augment=none",
    ];
    let flags = |other: &'static [&'static str]| -> Vec<&str> {
        flags.iter().chain(other).copied().collect()
    };
    case.train("one", &flags(&["--batch-size=20"]));
    let mut command = Command::new(env!("CARGO_BIN_EXE_topk-train"));
    let words = FLAGS.iter().filter(|flag| !flag.starts_with("--device"));
    let words = words.copied().chain(flags(&[
        "--global-batch-size=20",
        "--devices=cpu,cpu",
        "--out=two",
    ]));
    let output = command
        .current_dir(case.folder.path())
        .args(words)
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    let (one, two) = (case.state("one"), case.state("two"));
    assert!(one.tensors.keys().eq(two.tensors.keys()));
    let mut largest = 0f32;
    for (name, expected) in &one.tensors {
        if name == "sums" {
            continue;
        }
        let found = two.tensors[name].to_f32().unwrap();
        for (found, expected) in found.iter().zip(expected.to_f32().unwrap()) {
            largest = largest.max((found - expected).abs());
        }
    }
    println!("largest difference between one process and two ranks: {largest:.1e}");
    assert!(largest < 1e-5, "{largest}");
    let steps = two.tensors["optimizer/steps"].to_f32().unwrap();
    let (few, many) = (
        steps.iter().copied().fold(f32::MAX, f32::min),
        steps.iter().copied().fold(0.0, f32::max),
    );
    assert_eq!((few, many), (5.0, 15.0));
}
