//! Runs that are resumed with other settings or data, trained longer, or continued in another folder.

#[path = "sample/class_folders.rs"]
mod class_folders;
#[path = "sample/coloured_image.rs"]
mod coloured_image;
mod sample;

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::thread::sleep;
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;
use topk_history::{Run, run_page};

/// Settings of a run that takes a second.
const FLAGS: [&str; 8] = [
    "--model=basic-4",
    "--loss=ce",
    "--topk=2",
    "--batch-size=16",
    "--val-size=20",
    "--lr=0.05",
    "--device=cpu",
    "--workers=1",
];

struct Case {
    folder: TempDir,
    data: PathBuf,
}

impl Case {
    /// A part of the CIFAR-100 sample.
    fn cifar() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("data");
        fs::create_dir(&data).unwrap();
        sample::write(&data, 120, 30);
        Self { folder, data }
    }

    /// Folders of three classes.
    fn folders() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("data");
        class_folders::write(&data, &[("a", 20), ("b", 20), ("c", 20)]);
        Self { folder, data }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn command(&self, out: &str, flags: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_topk-train"));
        command.current_dir(self.folder.path()).args(FLAGS);
        if fs::exists(self.data.join("a")).unwrap() || fs::exists(self.data.join("z")).unwrap() {
            command.args(["--input-size=32", "--val-resize=32", "--augment=flip"]);
        }
        command.arg("--data").arg(&self.data).arg("--out").arg(out);
        command.args(flags);
        command
    }

    fn run(&self, out: &str, flags: &[&str]) -> Output {
        self.command(out, flags).output().unwrap()
    }

    /// What a run prints, as one line.
    fn train(&self, out: &str, flags: &[&str]) -> String {
        let output = self.run(out, flags);
        assert!(output.status.success(), "{output:?}");
        one_line(output.stdout)
    }

    /// The error of a run that cannot be resumed.
    fn error(&self, out: &str, flags: &[&str]) -> String {
        let output = self.run(out, flags);
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        let error = one_line(output.stderr);
        error.strip_prefix("error: ").expect(&error).to_owned()
    }

    fn log(&self, out: &str) -> Vec<Value> {
        let text = fs::read_to_string(self.path(out).join("log.jsonl")).unwrap();
        text.lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    fn events(&self, out: &str, event: &str) -> Vec<Value> {
        let mut log = self.log(out);
        log.retain(|line| line["event"] == event);
        log
    }

    /// A started run, once its first state is saved.
    fn start(&self, out: &str, flags: &[&str]) -> Child {
        let mut child = self
            .command(out, flags)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        while !self.path(out).join("state.safetensors").exists() {
            assert_eq!(child.try_wait().unwrap(), None, "it ended without a state");
            sleep(Duration::from_millis(1));
        }
        child
    }

    /// A run that is killed in its first epochs.
    fn killed(&self, out: &str, flags: &[&str]) {
        let mut child = self.start(out, flags);
        child.kill().unwrap();
        child.wait().unwrap();
    }
}

fn one_line(text: Vec<u8>) -> String {
    let text = String::from_utf8(text).unwrap();
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The files of a folder and their contents.
fn contents(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap());
    let files = entries.filter(|entry| entry.path().is_file());
    let mut files: Vec<_> = files
        .map(|file| {
            let name = file.file_name().into_string().unwrap();
            (name, fs::read(file.path()).unwrap())
        })
        .collect();
    files.sort();
    files
}

/// A setting in a `change` event.
fn changed(setting: &str, was: impl Into<Value>, now: impl Into<Value>) -> Value {
    json!({"setting": setting, "was": was.into(), "now": now.into()})
}

#[test]
fn a_finished_run_trains_longer_bit_for_bit() {
    let case = Case::cifar();
    case.train("run", &["--epochs=3"]);
    let printed = case.train("run", &["--epochs=5"]);
    assert!(printed.contains("--epochs was 3, now 5"), "{printed}");
    assert!(
        printed.contains("--decay-milestones 2,3 are kept from the run"),
        "{printed}"
    );
    case.train("whole", &["--epochs=5", "--decay-milestones=2,3"]);
    for file in ["best1.safetensors", "bestk.safetensors", "bestk.onnx"] {
        let read = |out: &str| fs::read(case.path(out).join(file)).unwrap();
        assert!(read("run") == read("whole"), "{file} differs");
    }
    assert_eq!(case.events("run", "epoch"), case.events("whole", "epoch"));
    assert_eq!(case.events("run", "end"), case.events("whole", "end"));
    let changes = case.events("run", "change");
    assert_eq!(changes.len(), 1);
    assert_eq!(changes[0]["epoch"], 4);
    assert_eq!(changes[0]["settings"], json!([changed("epochs", 3, 5)]));
    // Logs with changes can be read.
    let run = Run::read(&case.path("run")).unwrap();
    assert_eq!((run.epochs.len(), run.start.epochs()), (5, Some(5)));
    assert!(run_page(&run).contains("--epochs was 3, now 5"));
    let printed = case.train("run", &["--epochs=5"]);
    assert!(
        printed.contains("already contains this run (finished)"),
        "{printed}"
    );
    let error = case.error("run", &["--epochs=4"]);
    assert_eq!(
        error,
        "--epochs 4 is less than the 5 epochs that the run in run has begun: give at least 5"
    );
}

#[test]
fn training_longer_survives_kills() {
    let case = Case::cifar();
    let longer: &[&str] = &["--epochs=4", "--recovery-interval=1"];
    case.train("run", &["--epochs=1"]);
    case.train("whole", &["--epochs=4", "--decay-milestones=none"]);
    for wait in [0, 150, 250, 300] {
        let mut child = case
            .command("run", longer)
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        sleep(Duration::from_millis(wait));
        child.kill().unwrap();
        child.wait().unwrap();
    }
    case.train("run", longer);
    assert_eq!(case.events("run", "epoch"), case.events("whole", "epoch"));
    assert_eq!(case.events("run", "end").len(), 1);
}

#[test]
fn a_schedule_over_all_epochs_follows_their_new_number() {
    let case = Case::cifar();
    case.train("run", &["--epochs=1", "--sched=cosine"]);
    let printed = case.train("run", &["--epochs=2", "--sched=cosine"]);
    let decision = "from epoch 2 on, --sched cosine follows a run of 2 epochs";
    assert!(printed.contains(decision), "{printed}");
    assert_eq!(
        case.events("run", "change")[0]["decisions"],
        json!([decision])
    );
}

#[test]
fn settings_that_do_not_decide_the_weights_may_change() {
    let case = Case::cifar();
    let flags = ["--epochs=3", "--recovery-interval=1"];
    case.killed("run", &flags);
    let test = case.path("test");
    fs::create_dir(&test).unwrap();
    sample::write(&test, 10, 20);
    let other = [
        "--epochs=3",
        "--on-nan=skip",
        "--on-bad-image=skip",
        "--validation-batch-size=7",
        "--test-crops=ten",
        "--test-data",
        test.to_str().unwrap(),
    ];
    let printed = case.train("run", &other);
    assert!(printed.contains("--on-nan was fail, now skip"), "{printed}");
    assert_eq!(
        case.events("run", "change")[0]["settings"],
        json!([
            changed("on-bad-image", "fail", "skip"),
            changed("on-nan", "fail", "skip"),
            changed("test-crops", "center", "ten"),
            changed("test-data", Value::Null, test.to_str().unwrap()),
            changed("validation-batch-size", 256, 7),
        ])
    );
    case.train("whole", &flags);
    let weights = |out: &str| fs::read(case.path(out).join("bestk.safetensors")).unwrap();
    assert!(weights("run") == weights("whole"));
    assert_eq!(
        case.events("run", "end")[0]["checkpoints"][0]["test"]["images"],
        20
    );
}

#[test]
fn changes_of_a_finished_run_do_nothing_or_are_refused() {
    let case = Case::cifar();
    case.train("run", &["--epochs=1"]);
    let before = contents(&case.path("run"));
    let machine = ["--epochs=1", "--workers=2", "--validation-batch-size=7"];
    let printed = case.train("run", &machine);
    assert!(
        printed.contains("already contains this run (finished)"),
        "{printed}"
    );
    let error = case.error("run", &["--epochs=1", "--test-crops=ten"]);
    assert_eq!(
        error,
        "run contains a finished run, which is not tested again (--test-crops was center, now ten): test its \
         model with topk-eval --model run/bestk.onnx"
    );
    let error = case.error("run", &["--epochs=1", "--test-resize=40"]);
    assert!(
        error.contains("topk-eval --model run/bestk.onnx"),
        "{error}"
    );
    let error = case.error("run", &["--epochs=1", "--lr=0.1", "--clip-grad=1"]);
    assert_eq!(
        error,
        "run belongs to a run with other settings (--clip-grad was not set, now 1.0; --lr was 0.05, now 0.1): \
         choose another --out, and add --resume-from run to continue from this run, or remove the folder"
    );
    // The data are not needed.
    fs::rename(&case.data, case.path("elsewhere")).unwrap();
    case.train("run", &["--epochs=1"]);
    assert!(contents(&case.path("run")) == before);
}

#[test]
fn other_threads_are_announced() {
    let case = Case::cifar();
    case.killed("run", &["--epochs=2", "--recovery-interval=1"]);
    let printed = case.train("run", &["--epochs=2", "--workers=2"]);
    assert!(printed.contains("--workers was 1, now 2"), "{printed}");
    assert!(
        printed.contains("with the same number of threads"),
        "{printed}"
    );
}

#[test]
fn a_run_is_not_resumed_with_other_images() {
    let case = Case::folders();
    let flags = ["--epochs=2", "--recovery-interval=1", "--val-size=15"];
    let start = || {
        let _ = fs::remove_dir_all(case.path("run"));
        case.killed("run", &flags);
    };
    let advice = "Restore the images, choose another --out, or start from the weights with --checkpoint run/";
    start();
    // A class is renamed.
    fs::rename(case.data.join("a"), case.data.join("z")).unwrap();
    let error = case.error("run", &flags);
    let expected = "are not those that the run in run was trained on: the class `a` is missing; the class `z` \
                    is new (renamed?)";
    assert!(
        error.contains(expected) && error.contains(advice),
        "{error}"
    );
    fs::rename(case.data.join("z"), case.data.join("a")).unwrap();
    // An image is added.
    let image = case.data.join("b/99999.bmp");
    fs::copy(case.data.join("b/00000.bmp"), &image).unwrap();
    let error = case.error("run", &flags);
    assert!(
        error.contains("`b` had 15 training images, and has 16"),
        "{error}"
    );
    fs::remove_file(&image).unwrap();
    // As many images, but another one.
    fs::rename(case.data.join("b/00000.bmp"), &image).unwrap();
    let error = case.error("run", &flags);
    assert!(
        error.contains("each class has as many images as before, but not the same ones"),
        "{error}"
    );
    fs::rename(&image, case.data.join("b/00000.bmp")).unwrap();
    case.train("run", &flags);
    // A finished run is not trained longer on other images.
    fs::remove_file(case.data.join("c/00000.bmp")).unwrap();
    let error = case.error("run", &["--epochs=3", "--val-size=15"]);
    assert!(
        error.contains("`c` had 15 training images, and has 14"),
        "{error}"
    );
    assert!(
        error.ends_with("--checkpoint run/bestk.safetensors"),
        "{error}"
    );
}

#[test]
fn moved_images_are_the_same_images() {
    let case = Case::folders();
    let flags = ["--epochs=2", "--recovery-interval=1", "--val-size=15"];
    case.killed("run", &flags);
    let moved = case.path("moved");
    fs::rename(&case.data, &moved).unwrap();
    let case = Case {
        data: moved,
        ..case
    };
    let printed = case.train("run", &flags);
    assert!(printed.contains("moved"), "{printed}");
    assert_eq!(
        case.events("run", "change")[0]["settings"][0]["setting"],
        "data"
    );
    // In a finished run, the images are compared as well.
    let other = case.path("data");
    class_folders::write(&other, &[("a", 20), ("b", 21), ("c", 20)]);
    let case = Case {
        data: other,
        ..case
    };
    let error = case.error("run", &flags);
    assert!(
        error.contains("`b` had 15 training images, and has 16"),
        "{error}"
    );
    fs::remove_file(case.data.join("b/00020.bmp")).unwrap();
    let printed = case.train("run", &flags);
    assert!(
        printed.contains("already contains this run (finished)"),
        "{printed}"
    );
}

#[test]
fn a_state_without_a_record_of_its_images_resumes() {
    let case = Case::cifar();
    let flags = ["--epochs=2", "--recovery-interval=1"];
    case.killed("run", &flags);
    let path = case.path("run/state.safetensors");
    let mut state = topk_weights::StateDict::read(&path).unwrap();
    let position = state.metadata.get_mut("topk-train").unwrap();
    let mut json: Value = serde_json::from_str(&position.to_string()).unwrap();
    json.as_object_mut().unwrap().remove("data").unwrap();
    // Nor did its program know this setting.
    let config = json["config"].as_object_mut().unwrap();
    config.remove("on-nan").unwrap();
    *position = topk_weights::Value::Text(json.to_string());
    state.save(&path).unwrap();
    let copy = case.path("copy");
    fs::create_dir(&copy).unwrap();
    sample::write(&copy, 120, 30);
    let elsewhere = [&flags[..], &["--data", copy.to_str().unwrap()]].concat();
    let error = case.error("run", &elsewhere);
    assert!(
        error.contains("run belongs to a run with other settings (--data was"),
        "{error}"
    );
    let printed = case.train("run", &flags);
    assert!(
        printed.contains("it is not checked whether the images are the same"),
        "{printed}"
    );
    assert!(case.events("run", "change").is_empty());
}

#[test]
fn initial_weights_are_not_needed_to_resume() {
    let case = Case::cifar();
    case.train("first", &["--epochs=1"]);
    let weights = case.path("first/bestk.safetensors");
    let flags = [
        "--epochs=2",
        "--recovery-interval=1",
        "--checkpoint",
        weights.to_str().unwrap(),
    ];
    case.killed("run", &flags);
    fs::remove_file(&weights).unwrap();
    case.train("run", &flags);
    assert_eq!(case.events("run", "end").len(), 1);
}

#[test]
fn a_state_is_a_checkpoint() {
    let case = Case::cifar();
    case.train("first", &["--epochs=1", "--model-ema-decay=0.5"]);
    let flags = [
        "--epochs=1",
        "--lr=0",
        "--checkpoint",
        "first/state.safetensors",
    ];
    case.train("second", &flags);
    let decisions = case.log("second")[0]["decisions"].to_string();
    assert!(
        decisions.contains(
            "took the weights under `weights`, not the averaged ones (EMA) under `averages`"
        ),
        "{decisions}"
    );
    let state = topk_weights::StateDict::read(&case.path("first/state.safetensors")).unwrap();
    let second = topk_weights::StateDict::read(&case.path("second/bestk.safetensors")).unwrap();
    assert_eq!(
        second.tensors["fc.weight"],
        state.tensors["weights/fc.weight"]
    );
}

#[test]
fn a_run_is_continued_in_another_folder() {
    let case = Case::cifar();
    case.killed("a", &["--epochs=3", "--recovery-interval=1"]);
    let before = contents(&case.path("a"));
    // Without changes, the copy is the run.
    case.train("b", &["--epochs=3", "--resume-from=a"]);
    assert!(contents(&case.path("a")) == before);
    case.train("a", &["--epochs=3"]);
    let weights = |out: &str| fs::read(case.path(out).join("bestk.safetensors")).unwrap();
    assert!(weights("a") == weights("b"));
    assert_eq!(case.events("a", "epoch"), case.events("b", "epoch"));
    assert_eq!(case.events("b", "change")[0]["resume-from"], "a");

    // From a finished run, with other settings; the state names it, too.
    let before = contents(&case.path("a"));
    let flags = [
        "--epochs=4",
        "--lr=0.01",
        "--batch-size=20",
        "--loss=svm",
        "--model-ema-decay=0.9",
        "--resume-from=a/state.safetensors",
    ];
    let printed = case.train("c", &flags);
    assert!(printed.contains("--lr was 0.05, now 0.01"), "{printed}");
    assert!(contents(&case.path("a")) == before);
    let log = case.log("c");
    assert_eq!(log[0]["config"]["lr"], 0.05);
    assert_eq!(case.events("c", "epoch")[..3], case.events("a", "epoch"));
    let change = &case.events("c", "change")[0];
    assert_eq!(
        (&change["epoch"], &change["resume-from"]),
        (&json!(4), &json!("a/state.safetensors"))
    );
    let settings = change["settings"].as_array().unwrap();
    assert!(
        settings.contains(&changed("batch-size", 16, 20)),
        "{change}"
    );
    assert!(
        change["decisions"]
            .to_string()
            .contains("starts at those of the run"),
        "{change}"
    );
    let run = Run::read(&case.path("c")).unwrap();
    assert_eq!((run.epochs.len(), run.times.len()), (4, 4));
    // Another way to name it.
    let mut same = flags;
    same[5] = "--resume-from=./a/";
    let printed = case.train("c", &same);
    assert!(
        printed.contains("already contains this run (finished)"),
        "{printed}"
    );
    // The same command, also without the run that was continued.
    fs::remove_dir_all(case.path("a")).unwrap();
    let printed = case.train("c", &flags);
    assert!(
        printed.contains("already contains this run (finished)"),
        "{printed}"
    );
}

#[test]
fn best_checkpoints_are_those_of_the_continued_run() {
    let case = Case::cifar();
    case.train("a", &["--epochs=1", "--model-ema-decay=0.5"]);
    // Another network would be validated now, but nothing is left to train.
    let flags = ["--epochs=1", "--loss=svm", "--lr=0.01", "--resume-from=a"];
    case.train("b", &flags);
    for file in ["best1.safetensors", "bestk.safetensors", "bestk.onnx"] {
        let read = |out: &str| fs::read(case.path(out).join(file)).unwrap();
        assert!(read("a") == read("b"), "{file} differs");
    }
    let test = |out: &str| case.events(out, "end")[0]["checkpoints"].clone();
    assert_eq!(test("a"), test("b"));
    let decisions = case.events("b", "change")[0]["decisions"].to_string();
    assert!(decisions.contains("is left out"), "{decisions}");
}

#[test]
fn an_epoch_with_other_batches_starts_again() {
    let case = Case::cifar();
    case.killed("a", &["--epochs=1", "--recovery-interval=1"]);
    let run = Run::read(&case.path("a")).unwrap();
    assert!(run.epochs.is_empty());
    case.train("b", &["--epochs=1", "--batch-size=10", "--resume-from=a"]);
    assert_eq!(case.events("b", "epoch")[0]["train"]["images"], 100);
    let decisions = case.events("b", "change")[0]["decisions"].to_string();
    assert!(
        decisions.contains("epoch 1 starts again from its first batch"),
        "{decisions}"
    );
}

#[test]
fn what_cannot_be_continued_is_refused() {
    let case = Case::cifar();
    case.train("a", &["--epochs=1"]);
    let before = contents(&case.path("a"));
    let from_a =
        |flags: &[&str]| case.error("b", &[&["--epochs=2", "--resume-from=a"], flags].concat());
    let error = from_a(&["--model=basic-8"]);
    assert_eq!(
        error,
        "--resume-from a: a run is continued with its own network and --test-resize (--model was basic-4, now \
         basic-8): start from its weights with --checkpoint a/bestk.safetensors"
    );
    let error = from_a(&["--val-size=30"]);
    assert!(
        error.contains("are not those that the run in a was trained on"),
        "{error}"
    );
    assert!(error.contains("training images, and has"), "{error}");
    assert!(
        error.ends_with("--checkpoint a/bestk.safetensors"),
        "{error}"
    );
    let error = from_a(&["--checkpoint=a/bestk.safetensors"]);
    assert!(error.contains("would have no effect"), "{error}");
    assert!(!case.path("b").exists());
    let error = case.error("a", &["--epochs=2", "--resume-from=a"]);
    assert_eq!(
        error,
        "--resume-from a is the folder --out: leave it out to resume the run"
    );
    for no_run in ["nowhere", "data", "a/bestk.safetensors"] {
        let error = case.error("b", &["--epochs=2", "--resume-from", no_run]);
        assert!(error.contains("expected the folder of a run"), "{error}");
    }
    let error = case.error("b", &["--epochs=1", "--topk=3", "--resume-from=a"]);
    assert!(error.contains("--topk was 2, now 3"), "{error}");
    assert!(error.ends_with("give more --epochs"), "{error}");
    assert!(contents(&case.path("a")) == before);

    // Another process is training it.
    let log = File::open(case.path("a/log.jsonl")).unwrap();
    log.lock().unwrap();
    let error = from_a(&[]);
    assert!(
        error.contains("another process is training there"),
        "{error}"
    );
    drop(log);

    case.train("other", &["--epochs=1"]);
    let error = case.error("other", &["--epochs=2", "--resume-from=a"]);
    assert!(
        error.contains("other contains a run that does not continue a"),
        "{error}"
    );
}

#[test]
fn a_copy_that_was_interrupted_starts_again() {
    let case = Case::cifar();
    case.train("a", &["--epochs=1"]);
    let flags = ["--epochs=2", "--resume-from=a"];
    case.train("whole", &flags);
    let log = fs::read(case.path("whole/log.jsonl")).unwrap();
    // The process is killed after it has copied a part of the log, or all of it with the line about the change.
    let line_ends: Vec<usize> = (1..=log.len())
        .filter(|&end| log[end - 1] == b'\n')
        .collect();
    for length in [
        0,
        10,
        line_ends[0],
        line_ends[1],
        line_ends[1] + 9,
        line_ends[2],
    ] {
        let _ = fs::remove_dir_all(case.path("b"));
        fs::create_dir(case.path("b")).unwrap();
        fs::write(case.path("b/log.jsonl"), &log[..length]).unwrap();
        fs::copy(
            case.path("a/best1.safetensors"),
            case.path("b/best1.safetensors"),
        )
        .unwrap();
        case.train("b", &flags);
        assert!(
            fs::read(case.path("b/log.jsonl")).unwrap() == log,
            "{length}"
        );
    }
}

#[test]
fn processes_with_other_devices_share_a_sweep() {
    let case = Case::cifar();
    let plan = case.path("plan.toml");
    let text = format!(
        "seeds = [0]\n[settings]\ndata = {:?}\nmodel = \"basic-4\"\nepochs = 1\nval-size = 20\n\
         topk = 2\n[row]\nnoise = [0]\n[[variant]]\nloss = \"ce\"\n",
        case.data.to_str().unwrap()
    );
    fs::write(&plan, text).unwrap();
    let sweep = |flags: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_topk-train"));
        command
            .arg("sweep")
            .arg(&plan)
            .arg("--out")
            .arg(case.path("sweep"));
        let output = command.args(flags).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        one_line(output.stdout)
    };
    sweep(&["--device=cpu", "--workers=1"]);
    let printed = sweep(&["--device=auto", "--workers=2"]);
    assert!(printed.contains(": already finished"), "{printed}");
}

#[test]
fn a_folder_is_locked_before_the_images_are_read() {
    let case = Case::cifar();
    let out = case.path("run");
    fs::create_dir(&out).unwrap();
    let log = File::create(out.join("log.jsonl")).unwrap();
    log.lock().unwrap();
    fs::remove_dir_all(&case.data).unwrap();
    let error = case.error("run", &["--epochs=1"]);
    assert!(
        error.contains("another process is training in run"),
        "{error}"
    );
    drop(log);
    // What cannot start leaves nothing behind.
    let error = case.error("new/run", &["--epochs=1"]);
    assert!(error.contains("data"), "{error}");
    assert!(!case.path("new").exists());
}
