//! What a run reports while it trains: the log of steps, TensorBoard's images and confusions, and lines of JSON.

mod sample;

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use serde_json::{Value, json};
use tempfile::TempDir;
use topk_testing::{Environment, python};

struct Case {
    folder: TempDir,
}

impl Case {
    /// A part of the sample: 100 training images, 40 validation images.
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("data")).unwrap();
        sample::write(&folder.path().join("data"), 140, 40);
        Self { folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// What a run of nine batches per epoch prints.
    fn train(&self, out: &str, flags: &[&str]) -> String {
        let mut command = Command::new(env!("CARGO_BIN_EXE_topk-train"));
        command
            .current_dir(self.folder.path())
            .args(["--data=data", "--val-size=40", "--batch-size=12"])
            .args([
                "--model=basic-4",
                "--lr=0.05",
                "--device=cpu",
                "--workers=1",
            ])
            .args(["--out", out])
            .args(flags);
        let output = command.output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    fn lines(&self, name: &str) -> Vec<Value> {
        parsed(&fs::read_to_string(self.path(name)).unwrap())
    }
}

fn parsed(text: &str) -> Vec<Value> {
    let lines = text.lines();
    lines
        .map(|line| serde_json::from_str(line).expect(line))
        .collect()
}

#[test]
fn steps_are_logged_between_epochs() {
    let case = Case::new();
    let flags = [
        "--epochs=2",
        "--log-interval=2",
        "--grad-accum-steps=2",
        "--sched=cosine",
    ];
    case.train("run", &flags);
    let steps = case.lines("run/steps.jsonl");
    let epochs = case.lines("run/log.jsonl");
    // Nine batches are five steps, of which the last has one.
    let found: Vec<Value> = steps
        .iter()
        .map(|step| {
            json!([
                step["epoch"],
                step["step"],
                step["batch"],
                step["train"]["images"]
            ])
        })
        .collect();
    let of_epoch = |epoch: usize| {
        let before = 5 * (epoch - 1);
        [(2, 4, 48), (4, 8, 48), (5, 9, 4)]
            .map(|(step, batch, images)| json!([epoch, before + step, batch, images]))
    };
    assert_eq!(found, [of_epoch(1), of_epoch(2)].concat());
    for epoch in &epochs[1..=2] {
        let of_epoch = || steps.iter().filter(|step| step["epoch"] == epoch["epoch"]);
        let sum = |value: &dyn Fn(&Value) -> f64| of_epoch().map(value).sum::<f64>();
        let images = |step: &Value| step["train"]["images"].as_f64().unwrap();
        let loss = sum(&|step| step["loss"].as_f64().unwrap() * images(step)) / 100.0;
        assert!((loss - epoch["loss"].as_f64().unwrap()).abs() < 1e-9);
        for count in ["top1_correct", "topk_correct"] {
            let correct = sum(&|step| step["train"][count].as_f64().unwrap());
            assert_eq!(correct, epoch["train"][count].as_f64().unwrap());
        }
        assert_eq!(of_epoch().next_back().unwrap()["lr"], epoch["lr"]);
    }
    // Of a run that goes on in another folder, too.
    case.train(
        "longer",
        &[&flags[1..], &["--epochs=3", "--resume-from=run"]].concat(),
    );
    let longer = case.lines("longer/steps.jsonl");
    assert_eq!(longer[..6], steps);
    assert_eq!((longer.len(), &longer[8]["step"]), (9, &15.into()));
}

#[test]
fn standard_output_can_be_json() {
    let case = Case::new();
    let flags = ["--epochs=2", "--log-format=json", "--log-interval=4"];
    let printed = parsed(&case.train("run", &flags));
    let of = |event: &str| -> Vec<Value> {
        let all = printed.iter().filter(|line| line["event"] == event);
        all.cloned().collect()
    };
    // The lines of the log are among them, in their order.
    let log = case.lines("run/log.jsonl");
    let events = ["start", "epoch", "end"];
    let logged = printed
        .iter()
        .filter(|line| events.iter().any(|event| line["event"] == *event));
    assert_eq!(logged.cloned().collect::<Vec<_>>(), log);
    let without_kind = |mut line: Value| {
        line.as_object_mut().unwrap().remove("event");
        line
    };
    let steps: Vec<Value> = of("step").into_iter().map(without_kind).collect();
    assert_eq!(steps, case.lines("run/steps.jsonl"));
    assert_eq!(steps.len(), 6);
    let times: Vec<Value> = of("time").into_iter().map(without_kind).collect();
    assert_eq!(times, case.lines("run/times.jsonl"));
    assert!(
        of("message")
            .iter()
            .any(|line| line["text"].as_str().unwrap().starts_with("data: "))
    );
    let others = ["start", "epoch", "end", "step", "time", "message"];
    assert!(
        printed
            .iter()
            .all(|line| others.iter().any(|event| line["event"] == *event))
    );

    let again = parsed(&case.train("run", &flags));
    assert_eq!(again, log[3..]);
    // The form is not a part of the run.
    let text = case.train("run", &flags[..1]);
    assert!(text.contains("already contains this run"), "{text}");
}

const READ: &str = r#"
import json, sys
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
run = EventAccumulator(sys.argv[1])
run.Reload()
print(json.dumps({tag: [[e.step, e.width, e.height] for e in run.Images(tag)] for tag in run.Tags()["images"]}))
"#;

#[test]
fn tensorboard_has_images_and_confusions() {
    let Some(mut python) = python(Environment::TensorBoard) else {
        return;
    };
    let case = Case::new();
    case.train(
        "run",
        &["--epochs=2", "--log-images=3", "--mix=mixup:1", "--loss=ce"],
    );
    let printed = topk_testing::run(python.args(["-c", READ]).arg(case.path("run")));
    let images: Value = serde_json::from_str(&printed).unwrap();
    let names: Vec<&String> = images.as_object().unwrap().keys().collect();
    let of_batch = names.iter().filter(|name| name.starts_with("images/"));
    let of_batch: Vec<_> = of_batch.collect();
    assert_eq!(of_batch.len(), 3, "{names:?}");
    for name in of_batch {
        assert!(name.contains(" + 0."), "{name}");
        assert_eq!(images[name.as_str()], json!([[1, 32, 32]]));
    }
    // Of the epochs that were the best so far; the first always is.
    let confusions = images["confusion/val"].as_array().unwrap();
    // 20 classes of 25 pixels.
    assert_eq!(confusions[0], json!([1, 500, 500]));
}

/// What `examples/track-run.py` calls, printed.
const WANDB: &str = r#"
import json

class Run:
    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def define_metric(self, *_, **__):
        pass

    def log(self, row):
        print(json.dumps(row))

    def save(self, path, **_):
        open(path).close()

def init(*, project, name, config):
    print(json.dumps({"project": project, "name": name, "loss": config["loss"]}))
    return Run()
"#;

const TRACK: &str = r#"
import runpy, sys
example, modules, *arguments = sys.argv[1:]
sys.path.insert(0, modules)
sys.argv = [example, *arguments]
runpy.run_path(example, run_name="__main__")
"#;

#[test]
fn runs_are_copied_to_a_tracker() {
    let Some(mut python) = python(Environment::TensorBoard) else {
        return;
    };
    let case = Case::new();
    case.train("run", &["--epochs=2", "--log-interval=4"]);
    fs::write(case.path("wandb.py"), WANDB).unwrap();
    python.args(["-c", TRACK]);
    python.arg(topk_testing::root().join("examples/track-run.py"));
    python.arg(case.folder.path()).arg(case.path("run"));
    let printed = parsed(&topk_testing::run(python.args(["--wandb", "project"])));
    let expected = json!({"project": "project", "name": "run", "loss": "svm"});
    assert_eq!(printed[0], expected);
    let close = |found: &Value, expected: &Value| {
        let [found, expected] = [found, expected].map(|value| value.as_f64().unwrap());
        assert!(
            (found - expected).abs() < 1e-6 * expected.abs(),
            "{found} {expected}"
        );
    };
    let epochs = case.lines("run/log.jsonl");
    let rows = printed.iter().filter(|row| row.get("loss/val").is_some());
    let rows: Vec<&Value> = rows.collect();
    assert_eq!(rows.len(), 2);
    for (row, epoch) in rows.iter().zip(&epochs[1..]) {
        assert_eq!(row["epoch"], epoch["epoch"]);
        close(&row["loss/val"], &epoch["val_loss"]);
    }
    let rows = printed.iter().filter(|row| row.get("step/loss").is_some());
    let rows: Vec<&Value> = rows.collect();
    let steps = case.lines("run/steps.jsonl");
    assert_eq!(rows.len(), steps.len());
    for (row, step) in rows.iter().zip(&steps) {
        assert_eq!(row["step"], step["step"]);
        close(&row["step/loss"], &step["loss"]);
    }
}
