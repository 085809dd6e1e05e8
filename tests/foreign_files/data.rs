//! Data sets: splits and classes.

use std::fs;
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

/// A folder of photographs with these names.
fn photographs(names: &[String]) -> TempDir {
    let images = Path::new(env!("CARGO_MANIFEST_DIR")).join("data/image/tests/data/images");
    let photograph = fs::read(images.join("444.jpg")).unwrap();
    let folder = tempfile::tempdir().unwrap();
    for name in names {
        let path = folder
            .path()
            .join("data")
            .join(name.trim_start_matches('/'));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, &photograph).unwrap();
    }
    folder
}

/// What a run of one epoch prints.
fn train(folder: &TempDir, flags: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_topk-train"))
        .env_clear()
        .current_dir(folder.path())
        .args([
            "--data=data",
            "--out=run",
            "--model=basic-6",
            "--input-size=32",
            "--loss=ce",
        ])
        .args([
            "--topk=2",
            "--epochs=1",
            "--batch-size=4",
            "--device=cpu",
            "--workers=1",
        ])
        .args(flags)
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// Names of images of some classes.
fn names(split: &str, classes: &[&str], images: usize) -> Vec<String> {
    let of_class = |class: &&str| {
        let prefix = format!("{split}/{class}");
        (0..images).map(move |image| format!("{prefix}/{image}.jpg"))
    };
    classes.iter().flat_map(of_class).collect()
}

const WNIDS: [&str; 3] = ["n01440764", "n02102040", "n03888257"];

#[test]
fn some_wnids_are_all_classes() {
    let folder = photographs(&names("", &WNIDS, 4));
    let printed = train(&folder, &["--val-size=3"]);
    assert!(
        printed.contains("9 training, 3 validation and no test images, 3 classes"),
        "{printed}"
    );
    assert!(
        printed.contains("3 of 1000 classes have images"),
        "{printed}"
    );
    let log = fs::read_to_string(folder.path().join("run/log.jsonl")).unwrap();
    let start = log.lines().next().unwrap();
    assert!(start.contains("3 of 1000 classes have images"), "{start}");
}

#[test]
fn validation_is_on_val_and_the_test_on_test() {
    let splits = ["Training", "Val", "Test"].map(|split| names(split, &WNIDS, 3));
    let mut all = splits.concat();
    // The validation images are of fewer classes.
    all.retain(|name| !name.starts_with("Val/n03888257"));
    let folder = photographs(&all);
    let printed = train(&folder, &[]);
    assert!(
        printed.contains("9 training, 6 validation and 9 test images, 3 classes"),
        "{printed}"
    );
    for split in [
        "training images: split train: reading Training",
        "test images: split test: reading Test",
    ] {
        assert!(printed.contains(split), "{printed}");
    }
    assert!(
        printed.contains("validation images: 1 class without images: parachute"),
        "{printed}"
    );
}

#[test]
fn a_test_set_without_labels_is_not_used() {
    let mut all = ["train", "val"]
        .map(|split| names(split, &WNIDS, 3))
        .concat();
    all.push("test/0001.jpg".to_owned());
    let folder = photographs(&all);
    let printed = train(&folder, &["--val-size=3"]);
    assert!(
        printed.contains("6 training, 3 validation and 9 test images, 3 classes"),
        "{printed}"
    );
    assert!(
        printed.contains("the split test is not used: it has images without a label"),
        "{printed}"
    );
}

#[test]
fn numbered_class_folders_are_classes_in_numeric_order() {
    let classes: Vec<String> = (1..=12).map(|class| class.to_string()).collect();
    let classes: Vec<&str> = classes.iter().map(String::as_str).collect();
    let folder = photographs(&names("", &classes, 2));
    let printed = train(&folder, &["--val-size=12"]);
    assert!(
        printed.contains("the 12 class folders from 1 to 12 are numbered by value"),
        "{printed}"
    );
}
