//! The `topk-train` command on a part of the CIFAR-100 sample, and the evaluation of its models.

#[path = "sample/coloured_image.rs"]
mod coloured_image;
mod sample;

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::AtomicBool;

use serde_json::Value;
use tch::{Kind, Tensor};
use tempfile::TempDir;
use topk_data::{Image, ImageSet, Options};
use topk_eval::{EvalOptions, Evaluation, Execution, InputTensor, Model, labels_of};
use topk_history::Accuracy;
use topk_image::NormalizationTable;
use topk_models::Checkpoint;
use topk_models_tch::scores;
use topk_native::Runtime;
use topk_ops::accuracy::label_ranks;
use topk_preprocessing::Normalization;

const K: usize = 5;
const EPOCHS: usize = 10;

/// A folder with a part of the sample, and runs trained on it.
struct Case {
    folder: TempDir,
}

impl Case {
    fn new() -> Self {
        let case = Self {
            folder: tempfile::tempdir().unwrap(),
        };
        sample::write(case.folder.path(), 700, 500);
        case
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Runs the command in another folder and with an empty environment.
    fn run(&self, out: &str, flags: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_topk-train"))
            .env_clear()
            .current_dir("/")
            .args([
                "--model=basic-6",
                "--epochs=10",
                "--batch-size=32",
                "--device=cpu",
            ])
            .args(["--noise=0.2", "--val-size=200", "--seed=3", "--workers=1"])
            .arg("--data")
            .arg(self.folder.path())
            .arg("--out")
            .arg(self.path(out))
            .args(flags)
            .output()
            .unwrap()
    }

    fn train(&self, out: &str, flags: &[&str]) {
        let output = self.run(out, flags);
        assert!(output.status.success(), "{output:?}");
        assert!(
            output.stderr.is_empty(),
            "no progress bar without a terminal: {output:?}"
        );
        let printed = String::from_utf8(output.stdout).unwrap();
        for epoch in 1..=EPOCHS {
            let number = format!("{epoch}/{EPOCHS}");
            let lines = printed
                .lines()
                .filter(|line| line.split_whitespace().next() == Some(&number));
            assert_eq!(lines.count(), 1, "{printed}");
        }
    }

    fn log(&self, out: &str) -> Vec<Value> {
        let text = fs::read_to_string(self.path(out).join("log.jsonl")).unwrap();
        text.lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    /// The error message, one line, of a run that cannot start.
    fn error(&self, out: &str, flags: &[&str]) -> String {
        let output = self.run(out, flags);
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        let message = String::from_utf8(output.stderr).unwrap();
        assert_eq!(message.trim_end().lines().count(), 1, "{message}");
        message
            .strip_prefix("error: ")
            .expect(&message)
            .trim_end()
            .to_owned()
    }
}

/// The normalised test images of a case, and their labels.
struct TestImages {
    images: Vec<Vec<f32>>,
    labels: Vec<i64>,
    class_names: Vec<String>,
}

impl TestImages {
    fn read(folder: &Path) -> Self {
        let set = ImageSet::open(folder, &Options::default()).unwrap();
        let table = NormalizationTable::new(&Normalization::CIFAR100);
        let image = |index| {
            let Image::Pixels { pixels, .. } = set.read(index).unwrap() else {
                panic!("CIFAR images are pixels");
            };
            let mut values = vec![0.0; pixels.len()];
            table.normalize(&pixels, &mut values);
            values
        };
        let classes = set.classes();
        Self {
            images: (0..set.len()).map(image).collect(),
            labels: set
                .samples()
                .iter()
                .map(|sample| sample.label.unwrap().into())
                .collect(),
            class_names: (0..classes.len() as u32)
                .map(|class| classes.name(class).into_owned())
                .collect(),
        }
    }
}

fn ranks_by_libtorch(checkpoint: &Path, test: &TestImages) -> Vec<usize> {
    let images = Tensor::from_slice(&test.images.concat()).view([-1, 3, 32, 32]);
    let scores = scores(&Checkpoint::load(checkpoint).unwrap(), &images);
    let scores: Vec<f32> = Vec::try_from(scores.view(-1)).unwrap();
    label_ranks(&scores, &test.labels).unwrap()
}

fn ranks_by_onnx_runtime(runtime: &Runtime, onnx: &Path, folder: &Path) -> Vec<usize> {
    let set = ImageSet::open(folder, &Options::default()).unwrap();
    let labels = labels_of(&set);
    let model = Model::open(runtime, onnx, Execution::default()).unwrap();
    let options = EvalOptions {
        // A different batch size than libtorch's must not matter.
        batch_size: 70,
        ..EvalOptions::new(&set).unwrap()
    };
    let mut evaluation = Evaluation::new(runtime, &set, &labels, vec![model], &options).unwrap();
    let indices = evaluation.indices();
    let results = evaluation
        .run(&indices, &AtomicBool::new(false), |_| ())
        .unwrap();
    let outcomes = results.models[0].outcomes.iter().flatten();
    outcomes.map(|outcome| outcome.rank as usize).collect()
}

/// Fails unless the ranks are the same, except for images where the label's score equals another one up to the
/// rounding of `f32`: then either order is correct.
fn assert_same_ranks(model: &mut Model, test: &TestImages, torch: &[usize], onnx: &[usize]) {
    let count = test.images.len();
    assert_eq!([torch.len(), onnx.len()], [count; 2]);
    for image in (0..count).filter(|&image| torch[image] != onnx[image]) {
        let pixels = test.images[image].clone();
        let scores = model.scores(&InputTensor::f32(pixels, [32; 2])).unwrap();
        let label = scores[test.labels[image] as usize];
        let largest = scores.iter().fold(0f32, |max, score| max.max(score.abs()));
        let ties = scores
            .iter()
            .filter(|&score| (score - label).abs() <= 1e-6 * largest)
            .count();
        assert!(
            ties > torch[image].abs_diff(onnx[image]),
            "image {image}: rank {} in libtorch, {} in ONNX Runtime, scores {scores:?}",
            torch[image],
            onnx[image]
        );
    }
}

#[test]
fn evaluator_and_libtorch_agree_on_each_image() {
    let case = Case::new();
    let test = TestImages::read(case.folder.path());
    let runtime = Runtime::load().unwrap();
    for loss in ["svm", "ce"] {
        case.train(loss, &["--loss", loss]);
        let log = case.log(loss);
        assert_eq!(log.len(), 1 + EPOCHS + 1);
        assert_eq!(log[0]["event"], "start");
        assert_eq!(log[0]["train_images"], 500);
        let best = log[EPOCHS + 1]["checkpoints"].as_array().unwrap();
        assert_eq!(
            best.iter().map(|best| &best["name"]).collect::<Vec<_>>(),
            ["best1", "bestk"]
        );
        for best in best {
            // The checkpoint is from the first epoch with the best validation accuracy.
            let key = if best["name"] == "best1" {
                "top1_correct"
            } else {
                "topk_correct"
            };
            let counts: Vec<u64> = log[1..=EPOCHS]
                .iter()
                .map(|epoch| epoch["val"][key].as_u64().unwrap())
                .collect();
            let max = counts.iter().max().unwrap();
            let first = counts.iter().position(|count| count == max).unwrap() + 1;
            assert_eq!(best["epoch"], first);

            let path = |key: &str| case.path(loss).join(best[key].as_str().unwrap());
            let torch = ranks_by_libtorch(&path("checkpoint"), &test);
            let onnx = ranks_by_onnx_runtime(&runtime, &path("onnx"), case.folder.path());
            let mut model = Model::open(&runtime, &path("onnx"), Execution::default()).unwrap();
            assert_same_ranks(&mut model, &test, &torch, &onnx);
            let counted: Accuracy = serde_json::from_value(best["test"].clone()).unwrap();
            assert_eq!(counted, Accuracy::of(&onnx, K));
            assert!(
                counted.topk() > 0.29,
                "chance level is 0.25, found {}",
                counted.topk()
            );

            let card = model.card().unwrap();
            let training = card.training.as_ref().unwrap();
            assert_eq!(
                (&*training.loss, training.k, training.seed, training.noise),
                (loss, K, 3, 0.2)
            );
            assert_eq!(training.tau, (loss == "svm").then_some(1.0));
            assert_eq!(
                (card.mean.rgb(), card.std.rgb()),
                (Normalization::CIFAR100.mean, Normalization::CIFAR100.std)
            );
            assert_eq!(card.class_names.as_ref(), Some(&test.class_names));
            assert_eq!(training.epoch, first);
        }
    }
}

#[test]
fn exported_scores_equal_those_of_libtorch() {
    let case = Case::new();
    case.train("run", &[]);
    let out = case.path("run");
    let checkpoint = Checkpoint::load(&out.join("best1.safetensors")).unwrap();
    let runtime = Runtime::load().unwrap();
    let mut model = Model::open(&runtime, &out.join("best1.onnx"), Execution::default()).unwrap();
    let images = Tensor::randn([50, 3, 32, 32], (Kind::Float, tch::Device::Cpu));
    let expected = scores(&checkpoint, &images);
    let expected: Vec<f32> = Vec::try_from(expected.view(-1)).unwrap();
    let images: Vec<f32> = Vec::try_from(images.view(-1)).unwrap();
    let found = model.scores(&InputTensor::f32(images, [32; 2])).unwrap();
    let difference = found
        .iter()
        .zip(&expected)
        .fold(0f32, |max, (a, b)| max.max((a - b).abs()));
    assert_eq!(found.len(), expected.len());
    assert!(difference <= 1e-4, "{difference}");
}

#[test]
fn a_run_is_reproducible_bit_for_bit() {
    let case = Case::new();
    case.train("a", &[]);
    case.train("b", &[]);
    case.train("c", &["--seed=4"]);
    let bytes = |out: &str, file: &str| fs::read(case.path(out).join(file)).unwrap();
    for file in [
        "best1.safetensors",
        "bestk.safetensors",
        "best1.onnx",
        "bestk.onnx",
    ] {
        assert!(bytes("a", file) == bytes("b", file), "{file}");
        assert!(
            bytes("a", file) != bytes("c", file),
            "{file} does not depend on the seed"
        );
    }
}

#[test]
fn a_finished_run_is_neither_repeated_nor_overwritten() {
    let case = Case::new();
    case.train("run", &[]);
    let files = || {
        let folders = ["run", "run/steps"].map(|folder| fs::read_dir(case.path(folder)).unwrap());
        let paths = folders.into_iter().flatten();
        let paths = paths.map(|entry| entry.unwrap().path());
        let mut files: Vec<_> = paths
            .filter(|path| path.is_file())
            .map(|path| {
                let modified = path.metadata().unwrap().modified().unwrap();
                (fs::read(&path).unwrap(), modified, path)
            })
            .collect();
        files.sort();
        files
    };
    let before = files();
    let output = case.run("run", &[]);
    assert!(output.status.success(), "{output:?}");
    let printed = String::from_utf8(output.stdout).unwrap();
    assert!(
        printed.contains("run already contains this run (finished):"),
        "{printed}"
    );
    assert!(printed.contains("bestk (epoch "), "{printed}");
    assert!(files() == before);
    let error = case.error("run", &["--lr=0.2", "--clip-grad=1"]);
    assert!(
        error.contains("--clip-grad was not set, now 1.0; --lr was 0.1, now 0.2"),
        "{error}"
    );
    assert!(files() == before);
}

#[test]
fn unusable_settings_are_rejected_before_the_folder_is_created() {
    let case = Case::new();
    let missing = case.path("nowhere");
    let cases: [(&[&str], &str); 10] = [
        (&["--data", missing.to_str().unwrap()], "nowhere"),
        (
            &["--model=resnet-18"],
            "`resnet-18` is not a known architecture",
        ),
        (
            &["--topk=20"],
            "this loss needs at least 21 classes, got 20",
        ),
        (
            &["--loss=ce", "--topk=21"],
            "--topk 21 is more than the 20 classes of the data set",
        ),
        (
            &["--tau=0"],
            "tau (temperature) must be a finite number above 0, got 0",
        ),
        (&["--noise=1.5"], "--noise must be from 0 to 1, got 1.5"),
        (&["--val-size=700"], "none of the 700 images of"),
        (&["--val-size=0"], "--val-size must be at least 1, got 0"),
        (
            &["--batch-size=0"],
            "--batch-size must be at least 1, got 0",
        ),
        (&["--device=cuda:99"], "cuda:99 was requested, but libtorch"),
    ];
    for (flags, message) in cases {
        let error = case.error("run", flags);
        assert!(error.contains(message), "{flags:?}: {error}");
        assert!(!case.path("run").exists(), "{flags:?}");
    }
}

#[test]
fn a_diverging_run_stops_with_advice() {
    let case = Case::new();
    let error = case.error("run", &["--lr=1e30"]);
    let start = "training diverged in epoch 1, batch ";
    assert!(error.starts_with(start), "{error}");
    assert!(
        error.contains("at learning rate 1000000000000000000"),
        "{error}"
    );
    assert!(error.contains("finite"), "{error}");
    assert!(
        error.ends_with("skip such steps with --on-nan skip"),
        "{error}"
    );
}

/// Writes class folders of three classes that differ in colour.
fn write_images(folder: &Path, per_class: u32) {
    for class in 0..3 {
        let folder = folder.join(["blue", "green", "red"][class]);
        let mut colour = [0; 3];
        colour[2 - class] = 158;
        for i in 0..per_class {
            let path = folder.join(format!("{i:03}.bmp"));
            coloured_image::write(&path, i, [40 + i % 7, 30 + i % 5], colour);
        }
    }
}

#[test]
fn class_folders_are_trained_on_and_tested() {
    let case = Case::new();
    let data = case.path("colours");
    write_images(&data.join("train"), 20);
    write_images(&data.join("val"), 5);
    let flags = [
        "--data",
        data.to_str().unwrap(),
        "--model=basic-4",
        "--input-size=32",
        "--loss=ce",
        "--topk=1",
        "--noise=0",
        "--val-size=12",
        "--batch-size=8",
        "--lr=0.02",
        "--test-crops=ten",
        "--val-resize=36",
        "--test-resize=40",
    ];
    let output = case.run("run", &flags);
    assert!(output.status.success(), "{output:?}");
    let log = case.log("run");
    assert_eq!(
        (&log[0]["train_images"], &log[0]["val_images"]),
        (&48.into(), &12.into())
    );
    let best: Accuracy =
        serde_json::from_value(log[EPOCHS + 1]["checkpoints"][0]["test"].clone()).unwrap();
    assert_eq!(best.images, 15);
    assert!(
        best.top1() > 0.8,
        "the colours are easy to distinguish, found {}",
        best.top1()
    );
    let runtime = Runtime::load().unwrap();
    let model = Model::open(&runtime, &case.path("run/best1.onnx"), Execution::default()).unwrap();
    let card = model.card().unwrap();
    assert_eq!(card.resize.unwrap().shorter_side, 40);
    assert_eq!(
        card.class_names.as_ref().unwrap(),
        &["blue", "green", "red"]
    );

    // Validation images in a folder of their own.
    let val = data.join("val");
    let val_data = ["--val-data", val.to_str().unwrap(), "--epochs=1"];
    let without_size: Vec<&str> = flags
        .into_iter()
        .filter(|flag| *flag != "--val-size=12")
        .collect();
    let output = Command::new(env!("CARGO_BIN_EXE_topk-train"))
        .args(without_size)
        .args(val_data)
        .args(["--device=cpu", "--out"])
        .arg(case.path("val-data"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    assert_eq!(case.log("val-data")[0]["val_images"], 15);

    fs::write(data.join("train/red/000.bmp"), "BM, and nothing more").unwrap();
    let error = case.error("bad", &flags);
    assert!(error.contains("image red/000.bmp of "), "{error}");
    assert!(error.contains("--on-bad-image skip"), "{error}");
    let output = case.run("skip", &[&flags[..], &["--on-bad-image=skip"]].concat());
    assert!(output.status.success(), "{output:?}");
    // The image is one of the training images or of the validation images.
    for epoch in &case.log("skip")[1..=EPOCHS] {
        let skipped = |key: &str| epoch.get(key).and_then(Value::as_u64).unwrap_or(0);
        assert_eq!(skipped("skipped_images") + skipped("skipped_val_images"), 1);
        let images = |part: &str| epoch[part]["images"].as_u64().unwrap();
        assert_eq!(images("train") + images("val"), 59);
    }
}

#[test]
fn a_sweep_summarises_its_runs_and_does_not_repeat_them() {
    let case = Case::new();
    let plan = case.path("plan.toml");
    let text = format!(
        "seeds = [0, 1]\n[settings]\ndata = {:?}\nmodel = \"basic-4\"\nepochs = 9\nval-size = 100\n\
         device = \"cpu\"\nworkers = 1\n[row]\nnoise = [0, 0.5]\n\
         [[variant]]\nloss = \"ce\"\n[[variant]]\nloss = \"svm\"\n",
        case.folder.path().to_str().unwrap()
    );
    fs::write(&plan, text).unwrap();
    let out = case.path("sweep");
    let sweep = |flags: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_topk-train"));
        command
            .arg("sweep")
            .arg(&plan)
            .arg("--out")
            .arg(&out)
            .args(flags);
        command.output().unwrap()
    };
    // A run that another process is training is skipped.
    let busy = out.join("ce-noise-0-seed-0");
    fs::create_dir_all(&busy).unwrap();
    let other = File::create(busy.join("log.jsonl")).unwrap();
    other.lock().unwrap();
    let output = sweep(&["--epochs", "1"]);
    assert!(output.status.success(), "{output:?}");
    let printed = String::from_utf8(output.stdout).unwrap();
    assert!(
        printed.contains("ce-noise-0-seed-0: another process is training it"),
        "{printed}"
    );
    assert!(
        printed.contains("Another process is still training a run"),
        "{printed}"
    );
    drop(other);
    let output = sweep(&["--epochs", "1"]);
    assert!(output.status.success(), "{output:?}");
    let printed = String::from_utf8(output.stdout).unwrap();
    assert_eq!(
        printed.matches(": already finished").count(),
        7,
        "{printed}"
    );
    let runs = fs::read_dir(&out)
        .unwrap()
        .filter(|entry| entry.as_ref().unwrap().path().is_dir());
    assert_eq!(runs.count(), 8);
    let csv = fs::read_to_string(out.join("sweep.csv")).unwrap();
    let log = |run: &str| fs::read(out.join(run).join("log.jsonl")).unwrap();
    let before = log("svm-noise-0.5-seed-1");
    let output = sweep(&["--epochs", "1"]);
    let printed = String::from_utf8(output.stdout).unwrap();
    assert_eq!(
        printed.matches(": already finished").count(),
        8,
        "{printed}"
    );
    assert_eq!(fs::read_to_string(out.join("sweep.csv")).unwrap(), csv);
    assert!(log("svm-noise-0.5-seed-1") == before);
    // Runs with other settings are rejected one by one.
    let output = sweep(&["--epochs", "1", "--lr", "0.2"]);
    assert!(!output.status.success());
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(
        error.contains("8 of 8 runs failed, such as ce-noise-0-seed-0"),
        "{error}"
    );
}

#[test]
fn training_starts_from_the_weights_of_a_checkpoint() {
    let case = Case::new();
    case.train("first", &[]);
    let weights = case.path("first").join("bestk.safetensors");
    let weights = weights.to_str().unwrap();
    // One epoch with a learning rate of 0 changes nothing.
    let still = [
        "--epochs=1",
        "--lr=0",
        "--augment=none",
        "--checkpoint",
        weights,
    ];
    assert!(case.run("again", &still).status.success());
    let new_classifier = [&still[..], &["--classifier=new"]].concat();
    assert!(case.run("new", &new_classifier).status.success());
    let checkpoint = |out: &str| {
        let path = case.path(out).join("bestk.safetensors");
        Checkpoint::load(&path).unwrap()
    };
    let [first, again, new] = ["first", "again", "new"].map(checkpoint);
    for (name, tensor) in first.weights() {
        // Batch norm statistics change even with a learning rate of 0.
        if !name.contains("running_") {
            assert!(&again.weights()[name] == tensor, "{name}");
            let in_classifier = name.starts_with("fc.");
            assert!((&new.weights()[name] == tensor) != in_classifier, "{name}");
        }
    }

    let error = case.run("other", &["--checkpoint", weights, "--model=basic-8"]);
    let error = String::from_utf8(error.stderr).unwrap();
    assert!(
        error.contains("bestk.safetensors: the weights do not fit basic-8:\n"),
        "{error}"
    );
    assert!(
        error.ends_with("They are of a network of other sizes: choose another --model\n"),
        "{error}"
    );
    assert!(!case.path("other").exists());
}
