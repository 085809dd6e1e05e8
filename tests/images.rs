//! Which images runs are trained on, and in which form.

#[path = "sample/class_folders.rs"]
mod class_folders;
#[path = "sample/coloured_image.rs"]
mod coloured_image;

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;
use tempfile::TempDir;
use topk_models::Checkpoint;

/// A folder with class folders of 24, 12 and 4 images.
fn photos() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    class_folders::write(
        &folder.path().join("photos"),
        &[("cat", 24), ("dog", 12), ("eel", 4)],
    );
    folder
}

fn train(folder: &Path, data: &str, out: &str, flags: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_topk-train"))
        .args([
            "--batch-size=6",
            "--device=cpu",
            "--workers=1",
            "--epochs=1",
        ])
        .args(["--topk=2", "--seed=3"])
        .arg("--data")
        .arg(folder.join(data))
        .arg("--out")
        .arg(folder.join(out))
        .args(flags)
        .output()
        .unwrap()
}

/// The events of a run's log.
fn log(folder: &Path, out: &str) -> Vec<Value> {
    let log = fs::read_to_string(folder.join(out).join("log.jsonl")).unwrap();
    log.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// Trains, and returns the first event of the log, its decisions, and the event of the only epoch.
fn trained(folder: &Path, data: &str, out: &str, flags: &[&str]) -> (Value, String, Value) {
    let output = train(folder, data, out, flags);
    assert!(output.status.success(), "{output:?}");
    let [start, epoch, ..] = &log(folder, out)[..] else {
        panic!("the log has a start and an epoch");
    };
    (start.clone(), start["decisions"].to_string(), epoch.clone())
}

#[test]
fn samplers_repeats_and_limits_are_recorded() {
    let folder = photos();
    let folder = folder.path();
    let small = ["--model=basic-4", "--input-size=32", "--val-size=4"];
    let run =
        |out: &str, flags: &[&str]| trained(folder, "photos", out, &[&small[..], flags].concat());
    let (start, decisions, epoch) = run("drawn", &["--sampler=class-balanced"]);
    assert_eq!(start["config"]["sampler"], "class-balanced");
    assert!(
        decisions
            .contains("an epoch draws 36 images with replacement, on average 12 of each class"),
        "{decisions}"
    );
    assert_eq!(epoch["train"]["images"], 36);

    let (start, decisions, epoch) = run("repeated", &["--aug-repeats=3"]);
    assert_eq!(start["config"]["aug-repeats"], 3.0);
    assert!(
        decisions.contains("--aug-repeats 3: an epoch has 36 images, 12 of 36 repeated"),
        "{decisions}"
    );
    assert_eq!(epoch["train"]["images"], 36);

    let limits = ["--limit-batches=2", "--validation-batch-size=1"];
    let (_, decisions, epoch) = run("limited", &limits);
    assert!(
        decisions.contains("2 of 6 batches are trained on in each epoch (--limit-batches)")
            && decisions.contains("validation on 2 of 4 images, evenly spaced"),
        "{decisions}"
    );
    assert_eq!(epoch["train"]["images"], 12);
    assert_eq!(epoch["val"]["images"], 2);

    let (start, decisions, epoch) = run("overfitted", &["--overfit-batches=2"]);
    assert!(
        decisions.contains("--overfit-batches 2: 12 of 36 training images, the same batches"),
        "{decisions}"
    );
    assert_eq!(start["train_images"], 12);
    assert_eq!(epoch["val"]["images"], 12);
    // A run with its own images is not resumed with others.
    let output = train(folder, "photos", "overfitted", &small);
    assert!(!output.status.success(), "{output:?}");
}

/// A manifest with splits, a class map, oblong images, and augmentation in timm's words; up to the final test.
#[test]
fn a_manifest_is_trained_on_as_it_says() {
    let folder = photos();
    let folder = folder.path();
    let mut list = "label,path,split\n".to_owned();
    for (class, count) in [("cat", 24), ("dog", 12), ("eel", 4)] {
        for number in 0..count {
            let split = ["train", "train", "val", "test"][number % 4];
            list += &format!("{class},photos/{class}/{number:05}.bmp,{split}\n");
        }
    }
    fs::write(folder.join("list.csv"), list).unwrap();
    fs::write(folder.join("classes.txt"), "eel\ncat\n").unwrap();
    let map = folder.join("classes.txt");
    let map = format!("--class-map={}", map.display());
    let flags = [
        "--model=resnet18",
        "--loss=ce",
        "--topk=1",
        &*map,
        "--aa=rand-m9-mstd0.5-inc1",
        "--train-interpolation=random",
        "--vflip=0.2",
        "--reprob=0.5",
        "--remode=rand",
        "--recount=2",
        // Words that end with the next flag.
        "--scale",
        "0.5",
        "1",
        "--input-size",
        "3",
        "40",
        "56",
    ];
    let (start, decisions, epoch) = trained(folder, "list.csv", "run", &flags);
    let config = &start["config"];
    assert_eq!(config["input-size"], serde_json::json!([3, 40, 56]));
    assert_eq!(config["scale"], serde_json::json!([0.5, 1.0]));
    assert_eq!(config["aa"], "rand-m9-n2-p0.5-mstd0.5-inc1");
    assert!(config.get("augment").is_none(), "{config}");
    for line in [
        "--augment resized-crop:size=56x40:scale=0.5..1:ratio=0.75..1.3333333333333333:interpolation=random,flip:p=0.5,\
         vflip:p=0.2,aa:policy=rand-m9-n2-p0.5-mstd0.5-inc1:fill=124-116-104:interpolation=random,random-erasing:p=0.5:",
        "split train: reading train, not val, test",
        "validation images are resized to cover 46x64 pixels",
    ] {
        assert!(decisions.contains(line), "{decisions}");
    }
    // Of cat and eel, half, and a quarter each.
    assert_eq!(epoch["train"]["images"], 14);
    assert_eq!(epoch["val"]["images"], 7);
    let checkpoint = Checkpoint::load(&folder.join("run/best1.safetensors")).unwrap();
    let card = checkpoint.card();
    assert_eq!(card.input_size, [3, 40, 56]);
    assert_eq!(card.resize.unwrap().cover, Some([64, 46]));
    assert_eq!(card.class_names.as_deref().unwrap(), ["eel", "cat"]);
    // The evaluator computes what validation does.
    let results = fs::read_to_string(folder.join("run/best1.json")).unwrap();
    assert!(results.contains("resize"), "{results}");
    let end = log(folder, "run").pop().unwrap();
    assert_eq!(end["checkpoints"][0]["test"]["images"], 7, "{end}");
    // The same command finds the run finished.
    let output = train(folder, "list.csv", "run", &flags);
    assert!(output.status.success(), "{output:?}");
}

/// Flags that validate and test on the training images.
fn same_images(folder: &Path) -> [String; 2] {
    let photos = folder.join("photos");
    ["--val-data", "--test-data"].map(|flag| format!("{flag}={}", photos.display()))
}

/// The final test prepares oblong images as validation does.
#[test]
fn validation_and_test_of_oblong_images_agree() {
    let folder = photos();
    let folder = folder.path();
    let same = same_images(folder);
    let flags = [
        "--model=resnet18",
        "--loss=ce",
        "--topk=1",
        "--input-size=33,64",
        "--lr=0.01",
        &*same[0],
        &*same[1],
    ];
    let (_, _, epoch) = trained(folder, "photos", "run", &flags);
    let end = log(folder, "run").pop().unwrap();
    assert_eq!(end["checkpoints"][0]["test"], epoch["val"], "{end}");
}

/// Trained on grey images of colour photographs: recorded, resumed bit by bit, and tested like validated.
#[test]
fn images_of_one_channel_are_trained_on() {
    let folder = photos();
    let folder = folder.path();
    let same = same_images(folder);
    let flags = [
        "--model=basic-4",
        "--in-chans=1",
        "--input-size=32",
        "--val-resize=40",
        "--aa=rand-m9",
        "--reprob=0.5",
        "--mix=cutmix:1",
        "--sched=constant",
        "--lr=0.01",
        &*same[0],
        &*same[1],
    ];
    let two = [&flags[..], &["--epochs=2"]].concat();
    let output = train(folder, "photos", "run", &two);
    assert!(output.status.success(), "{output:?}");
    let events = log(folder, "run");
    assert_eq!(events[0]["config"]["in-chans"], 1);
    let decisions = events[0]["decisions"].to_string();
    assert!(
        decisions.contains("--in-chans 1: images are converted to grey like Pillow's convert(")
            && decisions
                .contains("mean 0.449 and std 0.226 are the averages over red, green and blue"),
        "{decisions}"
    );
    let best = Checkpoint::load(&folder.join("run/best1.safetensors")).unwrap();
    assert_eq!(best.card().input_size, [1, 32, 32]);
    assert_eq!(best.card().mean.as_slice(), [0.449]);
    let images = &best.card().training.as_ref().unwrap().data_settings;
    assert_eq!(images["mix"], "cutmix:1");
    assert_eq!(images["sampler"], "shuffle");
    let augment = images["augment"].as_str().unwrap();
    assert!(
        augment.contains("aa:policy=rand-m9") && augment.contains(":fill=114-114-114"),
        "{augment}"
    );
    let end = &events[events.len() - 1]["checkpoints"][0];
    assert_eq!(end["test"], end["val"], "{end}");
    let results = fs::read_to_string(folder.join("run/best1.json")).unwrap();
    assert!(
        results.contains(r#""mode":"L""#) || results.contains(r#""mode": "L""#),
        "{results}"
    );

    trained(folder, "photos", "resumed", &flags);
    let output = train(folder, "photos", "resumed", &two);
    assert!(output.status.success(), "{output:?}");
    let weights = |out: &str| fs::read(folder.join(out).join("best1.safetensors")).unwrap();
    assert!(weights("run") == weights("resumed"));

    // Other channels are another network.
    let colours: Vec<&str> = two
        .iter()
        .copied()
        .filter(|flag| *flag != "--in-chans=1")
        .collect();
    let output = train(folder, "photos", "run", &colours);
    let message = String::from_utf8(output.stderr).unwrap();
    assert!(
        !output.status.success() && message.contains("--in-chans"),
        "{message}"
    );

    // Weights of a network for colours are adapted.
    let coloured = ["--model=basic-4", "--input-size=32", "--val-size=4"];
    trained(folder, "photos", "colours", &coloured);
    let checkpoint = folder.join("colours/best1.safetensors");
    let checkpoint = format!("--checkpoint={}", checkpoint.display());
    let grey = [&coloured[..], &["--in-chans=1", &*checkpoint]].concat();
    let (_, decisions, _) = trained(folder, "photos", "adapted", &grey);
    assert!(
        decisions.contains(
            "base.0.weight of three input channels is summed over them for grey images, as by timm"
        ),
        "{decisions}"
    );

    let output = train(folder, "photos", "four", &["--in-chans=4"]);
    let message = String::from_utf8(output.stderr).unwrap();
    assert_eq!(
        message.trim_end(),
        "error: --in-chans must be 1 (grey) or 3 (red, green and blue), which are what image files are decoded to (for \
         images of other channels, train in PyTorch with the losses of the Python package topk), got 4"
    );
}
