//! The steps of `topk-train`: batches, what is left out of them, Ctrl-C between them, and the average of the weights.

#[path = "sample/coloured_image.rs"]
mod coloured_image;
#[path = "sample/interruption.rs"]
mod interruption;
#[path = "sample/results.rs"]
mod results;
mod sample;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use interruption::interrupt;
use results::results;
use serde_json::Value;
use tempfile::TempDir;
use topk_models::Checkpoint;
use topk_weights::{StateDict, Tensor};

/// Its last batch norms have one value per channel for images of 32x32.
const SINGLE_VALUE: &str = "--model=mobilenet_v3_small";

struct Case {
    folder: TempDir,
}

impl Case {
    /// An empty folder.
    fn empty() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
        }
    }

    /// A folder with a part of the sample in `data`.
    fn sample(train: usize, test: usize) -> Self {
        let case = Self::empty();
        let data = case.path("data");
        fs::create_dir(&data).unwrap();
        sample::write(&data, train, test);
        case
    }

    /// Class folders of images in `data`, and others in the folder `part`; returns the flag for these.
    fn folders(count: usize, part: &str, other_count: usize) -> (Self, String) {
        let case = Self::empty();
        write_images(&case.path("data"), count);
        write_images(&case.path(part), other_count);
        let flag = format!("--{part}-data={}", case.path(part).display());
        (case, flag)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn command(&self, out: &str, flags: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_topk-train"));
        command
            .args([
                "--model=basic-4",
                "--epochs=1",
                "--device=cpu",
                "--workers=1",
            ])
            .arg("--data")
            .arg(self.path("data"))
            .arg("--out")
            .arg(self.path(out))
            .args(flags);
        command
    }

    /// Trains; returns what it printed.
    fn train(&self, out: &str, flags: &[&str]) -> String {
        let output = self.command(out, flags).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// The error message of a run that fails.
    fn error(&self, out: &str, flags: &[&str]) -> String {
        let output = self.command(out, flags).output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        let message = String::from_utf8(output.stderr).unwrap();
        // Without the line breaks of the terminal.
        message.split_whitespace().collect::<Vec<_>>().join(" ")
    }

    fn log(&self, out: &str) -> Vec<Value> {
        let text = fs::read_to_string(self.path(out).join("log.jsonl")).unwrap_or_default();
        let lines = text.lines().filter(|line| line.ends_with('}'));
        lines
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    /// Starts a run and interrupts it once `due`; fails unless it stops as it should.
    fn interrupt(&self, out: &str, flags: &[&str], due: impl Fn() -> bool) {
        let mut command = self.command(out, flags);
        let command = command.stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child: Child = command.spawn().unwrap();
        while !due() {
            assert!(child.try_wait().unwrap().is_none(), "it ended too early");
            sleep(Duration::from_millis(1));
        }
        interrupt(child, libc::SIGINT);
    }

    /// Resumes a run and compares it with one that was not interrupted.
    fn assert_resumes(&self, out: &str, flags: &[&str]) {
        self.train(out, flags);
        self.train("whole", flags);
        let whole = results(&self.path("whole"));
        for (name, bytes) in results(&self.path(out)) {
            assert!(bytes == whole[name], "{name} differs");
        }
    }

    fn state(&self, out: &str) -> StateDict {
        StateDict::read(&self.path(out).join("state.safetensors")).unwrap()
    }

    /// Epoch and batch of the saved state.
    fn position(&self, out: &str) -> [u64; 2] {
        let topk_weights::Value::Text(text) = &self.state(out).metadata["topk-train"] else {
            panic!("the position is a text");
        };
        let position: Value = serde_json::from_str(text).unwrap();
        ["epoch", "batch"].map(|key| position[key].as_u64().unwrap())
    }
}

/// Writes images of one colour channel each: `count` images to each class folder.
fn write_images(folder: &Path, count: usize) {
    for class in 0..3 {
        for i in 0..count {
            write_image(&folder.join(["blue", "green", "red"][class]), i, 2 - class);
        }
    }
}

/// Writes an image in which one channel is brighter.
fn write_image(folder: &Path, number: usize, channel: usize) {
    let mut colour = [0; 3];
    colour[channel] = 158;
    let path = folder.join(format!("{number:03}.bmp"));
    coloured_image::write(&path, number as u32, [32, 32], colour);
}

/// Replaces all images by files that cannot be read.
fn damage(folder: &Path) {
    for class in fs::read_dir(folder).unwrap() {
        for file in fs::read_dir(class.unwrap().path()).unwrap() {
            fs::write(file.unwrap().path(), "BM, and nothing more").unwrap();
        }
    }
}

const FOLDERS: [&str; 6] = [
    "--input-size=32",
    "--augment=none",
    "--val-resize=32",
    "--topk=1",
    "--loss=ce",
    "--lr=0.02",
];

#[test]
fn a_last_batch_of_one_image_joins_the_batch_before() {
    let case = Case::sample(60, 10);
    let flags = [
        "--train-size=33",
        "--val-size=20",
        "--batch-size=16",
        SINGLE_VALUE,
    ];
    let recorded = |out: &str, decision: &str| {
        let decisions = case.log(out)[0]["decisions"].clone();
        let decisions = decisions.as_array().into_iter().flatten();
        decisions
            .filter_map(Value::as_str)
            .any(|line| line == decision)
    };
    let joined = "the last batch of each epoch has 17 images, because a single one would be left";
    let printed = case.train("joined", &flags);
    assert_eq!(case.log("joined")[1]["train"]["images"], 33);
    assert!(
        printed.contains("the last batch of each epoch has 17 images"),
        "{printed}"
    );
    assert!(recorded("joined", joined));
    let printed = case.train("dropped", &[&flags[..], &["--drop-last"]].concat());
    assert_eq!(case.log("dropped")[1]["train"]["images"], 32);
    let left_out = "1 of 33 training images are left out of each epoch (--drop-last)";
    assert!(printed.contains(left_out), "{printed}");
    assert!(recorded("dropped", left_out));
    // 16 + 17 images are one step.
    case.train(
        "accumulated",
        &[&flags[..], &["--grad-accum-steps=2"]].concat(),
    );
    assert_eq!(case.log("accumulated")[1]["train"]["images"], 33);
}

#[test]
fn batches_of_one_image_are_refused_if_batch_norm_cannot_use_them() {
    let case = Case::sample(60, 10);
    let sizes = ["--train-size=10", "--val-size=20"];
    let error = case.error(
        "out",
        &[&sizes[..], &["--batch-size=1", SINGLE_VALUE]].concat(),
    );
    assert!(error.contains("--batch-size is 1"), "{error}");
    assert!(
        error.contains("batch normalisation is undefined at the layer features.9.block.1.1"),
        "{error}"
    );
    assert!(error.contains("Use --batch-size 2 or more"), "{error}");
    let one = ["--train-size=1", "--val-size=20", SINGLE_VALUE];
    let error = case.error("out", &one);
    assert!(error.contains("there is one training image"), "{error}");
    assert!(error.contains("a smaller --val-size"), "{error}");
    let error = case.error("out", &[&sizes[..], &["--drop-last"]].concat());
    assert!(
        error.contains("10 training images do not fill a batch of --batch-size 64"),
        "{error}"
    );
    assert!(!case.path("out").exists());
    // The maps of this network are larger.
    case.train("fine", &[&sizes[..], &["--batch-size=1"]].concat());
    assert_eq!(case.log("fine")[1]["train"]["images"], 10);
}

#[test]
fn the_only_readable_image_of_a_batch_is_left_out_if_batch_norm_cannot_use_it() {
    let (case, val) = Case::folders(2, "val", 1);
    fs::write(case.path("data/red/001.bmp"), "BM, and nothing more").unwrap();
    let flags = [
        &FOLDERS[..],
        &["--on-bad-image=skip", "--batch-size=2", &val],
    ]
    .concat();
    let counts = |out: &str| {
        let epoch = &case.log(out)[1];
        [&epoch["train"]["images"], &epoch["skipped_images"]].map(|count| count.as_u64().unwrap())
    };
    let printed = case.train("single", &[&flags[..], &[SINGLE_VALUE]].concat());
    assert_eq!(counts("single"), [4, 2]);
    assert!(
        printed.contains("only one of 2 images can be read"),
        "{printed}"
    );
    assert!(printed.contains("2 training images left out"), "{printed}");
    let printed = case.train("fine", &flags);
    assert_eq!(counts("fine"), [5, 1]);
    assert!(
        printed.contains("1 training image left out as unreadable, such as red/001.bmp"),
        "{printed}"
    );
}

#[test]
fn an_interrupt_is_honoured_where_an_epoch_is_one_step() {
    let case = Case::sample(120, 10);
    let sizes = ["--train-size=64", "--val-size=50", "--epochs=40"];
    for (name, batches) in [
        ("step", &["--batch-size=64"][..]),
        ("group", &["--batch-size=16", "--grad-accum-steps=4"]),
    ] {
        let flags = [&sizes[..], batches].concat();
        let out = format!("interrupted-{name}");
        case.interrupt(&out, &flags, || case.log(&out).len() > 2);
        assert!(case.log(&out).len() < 41);
        case.assert_resumes(&out, &flags);
        fs::remove_dir_all(case.path("whole")).unwrap();
    }
}

#[test]
fn an_interrupt_is_honoured_during_validation() {
    let case = Case::sample(3064, 10);
    let flags = [
        "--train-size=64",
        "--val-size=3000",
        "--batch-size=64",
        "--validation-batch-size=1",
        "--recovery-interval=1",
    ];
    let state = case.path("interrupted/state.safetensors");
    case.interrupt("interrupted", &flags, || state.exists());
    assert_eq!(case.log("interrupted").len(), 1, "validation was finished");
    assert_eq!(case.position("interrupted"), [1, 1]);
    assert!(!case.path("interrupted/best1.safetensors").exists());
    case.assert_resumes("interrupted", &flags);
}

#[test]
fn an_interrupt_is_honoured_during_the_final_test() {
    let case = Case::sample(120, 2000);
    let flags = ["--val-size=50", "--batch-size=35", "--test-crops=ten"];
    let onnx = case.path("interrupted/best1.onnx");
    case.interrupt("interrupted", &flags, || onnx.exists());
    assert_eq!(case.log("interrupted").len(), 2, "the test was finished");
    assert!(!case.path("interrupted/bestk.json").exists());
    case.assert_resumes("interrupted", &flags);
    assert_eq!(
        case.log("interrupted")[2]["checkpoints"][0]["test"]["images"],
        2000
    );
}

#[test]
fn unreadable_validation_images_are_an_error_that_repair_ends() {
    let (case, val) = Case::folders(4, "val", 2);
    let flags = [
        &FOLDERS[..],
        &["--on-bad-image=skip", "--batch-size=6", "--epochs=2", &val],
    ]
    .concat();
    damage(&case.path("val"));
    for _ in 0..2 {
        let error = case.error("out", &flags);
        assert!(
            error.contains(
                "none of the 6 validation images can be read after epoch 1, such as blue/000.bmp of"
            ),
            "{error}"
        );
        assert_eq!(case.log("out").len(), 1);
        assert!(!case.path("out/best1.safetensors").exists());
        assert_eq!(case.position("out"), [1, 2]);
    }
    write_images(&case.path("val"), 2);
    case.assert_resumes("out", &flags);

    // Some of them are counted.
    fs::write(case.path("val/red/001.bmp"), "BM, and nothing more").unwrap();
    let printed = case.train("some", &flags);
    let epoch = &case.log("some")[1];
    assert_eq!(
        [&epoch["val"]["images"], &epoch["skipped_val_images"]],
        [5, 1]
    );
    assert!(
        printed.contains("1 validation image left out as unreadable, such as red/001.bmp"),
        "{printed}"
    );
    // Without --on-bad-image skip, the epoch before is not lost either.
    let fails: Vec<&str> = flags
        .into_iter()
        .filter(|flag| !flag.contains("skip"))
        .collect();
    let error = case.error("fails", &fails);
    assert!(
        error.contains("cannot use the image red/001.bmp"),
        "{error}"
    );
    assert_eq!(case.position("fails"), [1, 2]);
}

#[test]
fn unreadable_training_images_are_an_error() {
    let (case, val) = Case::folders(4, "val", 2);
    let flags = [
        &FOLDERS[..],
        &[
            "--on-bad-image=skip",
            "--batch-size=6",
            "--recovery-interval=1",
            &val,
        ],
    ]
    .concat();
    damage(&case.path("data"));
    let error = case.error("out", &flags);
    assert!(
        error.contains("none of the 12 training images of epoch 1 can be used, such as "),
        "{error}"
    );
    let names = fs::read_dir(case.path("out")).unwrap();
    let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    assert!(names.into_iter().all(|name| !name.starts_with("best")));
    write_images(&case.path("data"), 4);
    case.assert_resumes("out", &flags);
}

#[test]
fn unreadable_test_images_are_an_error_that_repair_ends() {
    let (case, test) = Case::folders(4, "test", 2);
    let flags = [
        &FOLDERS[..],
        &[
            "--on-bad-image=skip",
            "--batch-size=9",
            "--val-size=3",
            &test,
        ],
    ]
    .concat();
    damage(&case.path("test"));
    let error = case.error("out", &flags);
    assert!(
        error.contains("none of the 6 test images can be read, such as blue/000.bmp: "),
        "{error}"
    );
    assert_eq!(case.log("out").len(), 2);
    write_images(&case.path("test"), 2);
    case.assert_resumes("out", &flags);

    fs::write(case.path("test/red/001.bmp"), "BM, and nothing more").unwrap();
    let printed = case.train("some", &flags);
    assert!(
        printed.contains("best1: 1 of 6 test images left out as unreadable"),
        "{printed}"
    );
}

/// With scores of this size, the gradient of a batch overflows if one of its images is misclassified; otherwise it is
/// exactly 0.
#[test]
fn skipped_steps_are_counted_and_their_images_are_not() {
    let (case, val) = Case::folders(16, "val", 4);
    let flags = [&FOLDERS[..], &["--batch-size=8", &val, "--weight-decay=0"]].concat();
    case.train("trained", &[&flags[..], &["--epochs=10"]].concat());
    let trained = Checkpoint::load(&case.path("trained/best1.safetensors")).unwrap();
    let mut weights = StateDict {
        tensors: trained.weights().clone(),
        ..StateDict::default()
    };
    let large = |tensor: &mut Tensor| {
        let values: Vec<f32> = tensor.to_f32().unwrap();
        let values: Vec<f32> = values.iter().map(|value| value * 2f32.powi(90)).collect();
        *tensor = Tensor::from_f32(tensor.shape(), &values).unwrap();
    };
    large(weights.tensors.get_mut("fc.weight").unwrap());
    large(weights.tensors.get_mut("fc.bias").unwrap());
    weights.save(&case.path("large.safetensors")).unwrap();

    // A blue image among the red ones.
    write_image(&case.path("data/red"), 15, 2);
    let weights = format!("--checkpoint={}", case.path("large.safetensors").display());
    let flags = [&flags[..], &[&weights, "--on-nan=skip"]].concat();
    let printed = case.train("skips", &flags);
    let epoch = &case.log("skips")[1];
    assert_eq!(epoch["skipped_steps"], 1, "{epoch}");
    assert_eq!(epoch["train"]["images"], 40, "{epoch}");
    assert_eq!(epoch["train"]["top1_correct"], 40, "{epoch}");
    assert_eq!(epoch["loss"], 0.0, "{epoch}");
    assert!(
        printed.contains("1 of 6 steps skipped because the loss or a gradient was not finite"),
        "{printed}"
    );

    // If all steps are skipped, nothing is learnt any more.
    for class in ["blue", "green", "red"] {
        for i in 0..16 {
            let channel = ["green", "red", "blue"]
                .iter()
                .position(|name| *name == class);
            write_image(&case.path("data").join(class), i, channel.unwrap());
        }
    }
    let error = case.error("all", &flags);
    assert!(
        error.contains("all 6 steps of epoch 1 were skipped"),
        "{error}"
    );
    assert!(!case.path("all/best1.safetensors").exists());
}

#[test]
fn the_average_starts_with_the_weights_after_the_first_step() {
    let case = Case::sample(84, 10);
    let flags = [
        "--train-size=64",
        "--val-size=20",
        "--model-ema-decay=0.9999",
    ];
    let differences = |out: &str| {
        let state = case.state(out);
        let weights = state.tensors.iter();
        let weights =
            weights.filter_map(|(name, tensor)| Some((name.strip_prefix("weights/")?, tensor)));
        let average = |name: &str| &state.tensors[&format!("averages/{name}")];
        let differ: Vec<bool> = weights
            .map(|(name, tensor)| average(name) != tensor)
            .collect();
        (
            differ.iter().filter(|differs| **differs).count(),
            differ.len(),
        )
    };
    case.train("warm", &flags);
    assert_eq!(differences("warm").0, 0);
    assert_eq!(case.log("warm")[0]["config"]["model-ema-warmup"], true);
    case.train(
        "constant",
        &[&flags[..], &["--model-ema-warmup=false"]].concat(),
    );
    let (differ, all) = differences("constant");
    assert_eq!(differ, all);
    let error = case.error("none", &["--model-ema-warmup"]);
    assert!(
        error.contains(
            "--model-ema-warmup must be used with --model-ema-decay, got true without it"
        ),
        "{error}"
    );
}
