//! Runs whose epochs are judged and whose checkpoints are kept in other ways than by default.

mod sample;

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;
use tempfile::TempDir;
use topk_models::Checkpoint;
use topk_onnx::Training;
use topk_weights::{Loaded, ReadOptions};

struct Case {
    folder: TempDir,
}

impl Case {
    /// A part of the sample.
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("data")).unwrap();
        sample::write(&folder.path().join("data"), 160, 40);
        Self { folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn command(&self, flags: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_topk-train"));
        command
            .current_dir(self.folder.path())
            .args(["--data=data", "--val-size=60", "--batch-size=16"])
            .args(["--lr=0.05", "--device=cpu", "--workers=1"])
            .args(flags);
        command
    }

    /// What a run prints.
    fn train(&self, out: &str, flags: &[&str]) -> String {
        let output = self.command(flags).args(["--out", out]).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    fn events(&self, out: &str, event: &str) -> Vec<Value> {
        let log = fs::read_to_string(self.path(out).join("log.jsonl")).unwrap();
        let lines = log.lines().map(|line| serde_json::from_str(line).unwrap());
        lines
            .filter(|line: &Value| line["event"] == event)
            .collect()
    }

    /// The names of the checkpoints of epochs, in order.
    fn kept(&self, out: &str) -> Vec<String> {
        let entries = fs::read_dir(self.path(out)).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<String> = names
            .filter(|name| name.starts_with("checkpoint-"))
            .collect();
        names.sort();
        names
    }

    fn training(&self, file: &str) -> Training {
        let checkpoint = Checkpoint::load(&self.path(file)).unwrap();
        checkpoint.card().training.clone().unwrap()
    }
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn checkpoints_are_kept_by_metric_and_by_number() {
    let case = Case::new();
    let printed = case.train(
        "run",
        &[
            "--model=basic-4",
            "--epochs=5",
            "--eval-metric=loss",
            "--val-topk=1,3",
            "--val-raw",
            "--model-ema-decay=0.9",
            "--save-last",
            "--checkpoint-hist=2",
            "--checkpoint-interval=2",
        ],
    );
    let epochs = case.events("run", "epoch");
    let losses: Vec<f64> = epochs
        .iter()
        .map(|epoch| epoch["val_loss"].as_f64().unwrap())
        .collect();
    for epoch in &epochs {
        assert_eq!(epoch["val_correct"][0]["k"], 3);
        let correct = |of: &Value| {
            let counts = [
                &of["val"]["top1_correct"],
                &of["val_correct"][0]["correct"],
                &of["val"]["topk_correct"],
            ];
            counts.map(|count| count.as_u64().unwrap())
        };
        assert!(correct(epoch).is_sorted());
        assert!(correct(&epoch["raw"]).is_sorted());
    }
    assert_ne!(losses[4], epochs[4]["raw"]["val_loss"].as_f64().unwrap());
    assert!(printed.contains("; of the raw weights: loss "), "{printed}");

    // The two epochs with the smallest loss, and every second one.
    let mut order = [1, 2, 3, 4, 5];
    order.sort_by(|&one, &other| losses[one - 1].total_cmp(&losses[other - 1]));
    let mut kept = [&order[..2], &[2, 4]].concat();
    kept.sort_unstable();
    kept.dedup();
    let names = kept
        .iter()
        .map(|epoch| format!("checkpoint-{epoch}.safetensors"));
    assert_eq!(case.kept("run"), names.collect::<Vec<_>>());
    for epoch in kept {
        let training = case.training(&format!("run/checkpoint-{epoch}.safetensors"));
        assert_eq!(training.epoch, epoch);
        assert_eq!(training.val_loss, Some(losses[epoch - 1]));
    }

    let end = &case.events("run", "end")[0];
    let found = end["checkpoints"].as_array().unwrap();
    let names: Vec<&str> = found
        .iter()
        .map(|best| best["name"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["best1", "bestk", "best-loss", "last"]);
    assert_eq!(
        (&found[2]["epoch"], &found[3]["epoch"]),
        (&order[0].into(), &5.into())
    );
    for name in names {
        for extension in ["onnx", "json"] {
            let file = format!("run/{name}.{extension}");
            assert!(case.path(&file).exists(), "{file}");
        }
    }

    // The state has both weights, and describes them.
    let state = |use_ema| {
        let path = case.path("run/state.safetensors");
        Loaded::read(&path, ReadOptions { use_ema })
            .unwrap()
            .weights
    };
    let card = Checkpoint::card_of(&state(true)).unwrap().unwrap();
    let last = Checkpoint::load(&case.path("run/last.safetensors")).unwrap();
    assert!(&state(true).tensors == last.weights());
    assert!(&state(false).tensors != last.weights());
    let mut expected = last.card().clone();
    let training = expected.training.as_mut().unwrap();
    (training.val_top1, training.val_topk, training.val_loss) = (None, None, None);
    assert_eq!(card, expected);
    let exported = topk_export::export(
        Checkpoint::new(card, state(false)).unwrap(),
        &topk_export::ExportOptions::default(),
        &case.path("state.onnx"),
    );
    exported.unwrap();

    // Each is a start for another run, which finds its network there.
    for file in ["state", "last", "checkpoint-4", "best-loss"] {
        let checkpoint = format!("--checkpoint=run/{file}.safetensors");
        let printed = case.train(file, &[&checkpoint, "--epochs=1"]);
        assert!(
            one_line(&printed).contains("--model basic-4: the architecture of the weights in run/"),
            "{printed}"
        );
    }
}

#[test]
fn epochs_with_a_checkpoint_are_validated() {
    let case = Case::new();
    let flags = [
        "--model=basic-4",
        "--epochs=3",
        "--val-interval=9",
        "--checkpoint-interval=2",
    ];
    let printed = one_line(&case.train("few", &flags));
    for line in [
        "--val-interval 9: only the last of 3 epochs is validated",
        "--checkpoint-interval 2: these epochs are validated beside those of --val-interval 9",
    ] {
        assert!(printed.contains(line), "{printed}");
    }
    assert_eq!(case.kept("few"), ["checkpoint-2.safetensors"]);
    assert!(
        case.training("few/checkpoint-2.safetensors")
            .val_loss
            .is_some()
    );
}

#[test]
fn epochs_between_validations_have_no_results() {
    let case = Case::new();
    let flags = ["--model=basic-4", "--epochs=5", "--val-interval=2"];
    let printed = case.train("run", &flags);
    let epochs = case.events("run", "epoch");
    let images = epochs.iter().map(|epoch| epoch["val"]["images"].as_u64());
    let images: Vec<u64> = images.map(Option::unwrap).collect();
    assert_eq!(images, [0, 60, 0, 60, 60]);
    assert!(epochs[0].get("val_loss").is_none() && epochs[1].get("val_loss").is_some());
    let dashes = printed.lines().filter(|line| line.contains('–'));
    assert_eq!(dashes.count(), 2, "{printed}");
    let csv = fs::read_to_string(case.path("run/summary.csv")).unwrap();
    let empty = csv.lines().filter(|line| line.contains(",,"));
    assert_eq!((csv.lines().count(), empty.count()), (6, 2), "{csv}");
    assert!([2, 4, 5].contains(&case.training("run/bestk.safetensors").epoch));
    let more = [&flags[..1], &["--epochs=6", "--val-interval=2"]].concat();
    let printed = one_line(&case.train("run", &more));
    assert!(
        printed.contains("epoch 5 was validated, as the last one"),
        "{printed}"
    );
    // The weights are those of a run that validates every epoch.
    case.train("all", &[&flags[..2], &["--save-last"]].concat());
    case.train("some", &[&flags[..], &["--save-last"]].concat());
    let weights = |run: &str| Checkpoint::load(&case.path(run).join("last.safetensors")).unwrap();
    assert!(weights("all") == weights("some"));
}

#[test]
fn a_run_stops_when_it_does_not_become_better() {
    let case = Case::new();
    // No accuracy becomes 100 points better.
    let flags = ["--model=basic-4", "--epochs=6", "--min-delta=100"];
    let patience = |count: &'static str| [&flags[..], &[count]].concat();
    let printed = one_line(&case.train("run", &patience("--patience=1")));
    let reason = "has not become better in 1 validation (--patience 1)";
    assert!(
        printed.contains(&format!("of epoch 1 {reason}")),
        "{printed}"
    );
    assert!(
        printed.contains("stopped early: validation top-5"),
        "{printed}"
    );
    assert_eq!(case.events("run", "epoch").len(), 2);
    let stopped = case.events("run", "end")[0]["stopped"].to_string();
    assert!(stopped.contains(reason), "{stopped}");
    let page = fs::read_to_string(case.path("run/run.html")).unwrap();
    assert!(
        page.contains(reason),
        "the page does not say why the run ended"
    );

    // It is finished, also for more epochs, and not for more patience.
    for more in [
        &patience("--patience=1")[..],
        &[&patience("--patience=1")[..], &["--epochs=9"]].concat(),
    ] {
        let printed = case.train("run", more);
        assert!(printed.contains("already contains this run"), "{printed}");
    }
    case.train("run", &patience("--patience=3"));
    assert_eq!(case.events("run", "epoch").len(), 4);
    case.train("other", &patience("--patience=3"));
    let read = |name: &str| fs::read(case.path(name)).unwrap();
    assert!(read("run/bestk.safetensors") == read("other/bestk.safetensors"));
    assert_eq!(case.events("run", "epoch"), case.events("other", "epoch"));
}

#[test]
fn settings_of_validation_are_checked() {
    let case = Case::new();
    for (flags, message) in [
        (
            &["--min-delta=0.1"][..],
            "--min-delta 0.1 has no effect without --patience: remove it, or give the number of validations with --patience",
        ),
        (
            &["--patience=2", "--min-delta=-1"],
            "--min-delta must be a finite number of at least 0, got -1",
        ),
        (
            &["--val-raw"],
            "--val-raw has no effect without --model-ema-decay: the raw weights are those that are validated: remove it, \
             or give --model-ema-decay",
        ),
        (
            &["--val-topk=1,101"],
            "--val-topk 101 is more than the 20 classes of the data set",
        ),
        (
            &["--eval-metric=top200"],
            "--eval-metric top200 is more than the 20 classes of the data set",
        ),
    ] {
        let flags = [flags, &["--model=basic-4", "--out=run"]].concat();
        let output = case.command(&flags).output().unwrap();
        let error = one_line(&String::from_utf8(output.stderr).unwrap());
        assert_eq!(error, format!("error: {message}"));
    }
    for (flag, message) in [
        ("--eval-metric=accuracy", "expected loss, top1, or topN"),
        (
            "--val-topk=1,x",
            "expected numbers of at least 1 separated by commas",
        ),
        ("--val-interval=0", "expected at least 1"),
    ] {
        let output = case.command(&[flag, "--out=run"]).output().unwrap();
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(error.contains(message), "{error}");
    }
}
