//! Which images of class folders are trained on, and which are held out.

#[path = "sample/class_folders.rs"]
mod class_folders;
#[path = "sample/coloured_image.rs"]
mod coloured_image;

use std::fs;
use std::process::{Command, Output};

use serde_json::Value;
use tempfile::TempDir;

struct Case(TempDir);

impl Case {
    fn new(classes: &[(&str, usize)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        class_folders::write(&folder.path().join("photos"), classes);
        Self(folder)
    }

    fn run(&self, flags: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_topk-train"))
            .args(["--model=basic-4", "--input-size=32", "--val-resize=32"])
            .args(["--augment=none", "--loss=ce", "--topk=1", "--epochs=1"])
            .args(["--batch-size=400", "--device=cpu", "--workers=1", "--data"])
            .arg(self.0.path().join("photos"))
            .arg("--out")
            .arg(self.0.path().join("run"))
            .args(flags)
            .output()
            .unwrap()
    }

    /// Numbers of training and validation images, and the decisions.
    fn split(&self, flags: &[&str]) -> (u64, u64, String) {
        let _ = fs::remove_dir_all(self.0.path().join("run"));
        let output = self.run(flags);
        assert!(output.status.success(), "{output:?}");
        let log = fs::read_to_string(self.0.path().join("run/log.jsonl")).unwrap();
        let start: Value = serde_json::from_str(log.lines().next().unwrap()).unwrap();
        let decisions: Vec<&str> = start["decisions"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|line| line.as_str().unwrap())
            .collect();
        let printed = one_line(&String::from_utf8(output.stdout).unwrap());
        for decision in &decisions {
            assert!(printed.contains(decision), "{printed}");
        }
        let number = |key: &str| start[key].as_u64().unwrap();
        (
            number("train_images"),
            number("val_images"),
            decisions.join("\n"),
        )
    }

    fn error(&self, flags: &[&str]) -> String {
        let output = self.run(flags);
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        assert!(!self.0.path().join("run").exists());
        String::from_utf8(output.stderr)
            .unwrap()
            .trim_end()
            .to_owned()
    }
}

#[test]
fn a_tenth_of_each_class_is_held_out_by_default() {
    let case = Case::new(&[("a", 18), ("b", 1)]);
    let (train, val, decisions) = case.split(&[]);
    assert_eq!((train, val), (17, 2));
    assert_eq!(
        decisions,
        "2 images held out for validation, a tenth of each class, 0 to 2 of each\n\
         1 class with only one image, which is trained on: none is held out for validation"
    );
    let case = Case::new(&[("a", 300), ("b", 51), ("c", 2)]);
    let (train, val, decisions) = case.split(&[]);
    assert_eq!((train, val), (317, 36));
    assert_eq!(
        decisions,
        "36 images held out for validation, a tenth of each class, 1 to 30 of each"
    );
}

#[test]
fn a_tenth_of_some_classes_of_imagenet_is_held_out() {
    let case = Case::new(&[("n01440764", 51), ("n02102040", 20)]);
    let (train, val, _) = case.split(&[]);
    assert_eq!((train, val), (64, 7));
}

#[test]
fn requested_numbers_of_images_are_exact() {
    let case = Case::new(&[("a", 40), ("b", 20), ("c", 7), ("d", 1)]);
    let (train, val, decisions) = case.split(&["--val-size=10"]);
    assert_eq!((train, val), (58, 10));
    assert_eq!(
        decisions,
        "--val-size 10: 10 images held out for validation, in proportion to the images of the classes, \
         0 to 6 of each\n\
         1 class with only one image, which is trained on: none is held out for validation"
    );
    let (train, val, decisions) = case.split(&["--val-size=10", "--train-size=21"]);
    assert_eq!((train, val), (21, 10));
    assert!(
        decisions.ends_with(
            "--train-size 21: 21 images to train on, in proportion to the images of the classes, 1 to 12 \
             of each"
        ),
        "{decisions}"
    );
    // The authors' rule, where it is possible.
    let case = Case::new(&[("a", 40), ("b", 20), ("c", 8)]);
    let (train, val, decisions) = case.split(&["--val-size=9", "--train-size=15"]);
    assert_eq!((train, val, &*decisions), (15, 9, ""));
}

#[test]
fn a_long_tailed_part_keeps_fewer_images_of_later_classes() {
    let case = Case::new(&[("a", 50), ("b", 50), ("c", 50)]);
    let (train, val, decisions) = case.split(&["--imbalance-factor=16"]);
    // 45 of each are left, of which 45, 11 and 2 are trained on.
    assert_eq!((train, val), (58, 15));
    assert!(
        decisions.ends_with("--imbalance-factor 16: 58 images of 135 to train on, 2 to 45 of each"),
        "{decisions}"
    );
    let case = Case::new(&[("a", 5), ("b", 5)]);
    assert_eq!(
        case.error(&["--imbalance-factor=0.5"]),
        "error: --imbalance-factor must be a finite number of at least 1, got 0.5"
    );
}

#[test]
fn a_split_that_is_not_possible_is_explained_once() {
    let case = Case::new(&[("a", 18), ("b", 1)]);
    assert_eq!(
        one_line(&case.error(&["--val-size=18"])),
        "error: 18 of 19 images cannot be held out for validation with at least one of each of 2 classes \
         left to train on: choose a smaller --val-size, or give --val-data"
    );
    assert_eq!(
        one_line(&case.error(&["--train-size=18"])),
        "error: cannot take 18 training and 2 validation images from a set of 19: choose a smaller \
         --train-size or --val-size"
    );
    assert_eq!(
        one_line(&case.error(&["--train-size=1"])),
        "error: 1 training images are fewer than one per class for 2 classes: choose a larger \
         --train-size"
    );
    let case = Case::new(&[("a", 1), ("b", 1)]);
    let error = one_line(&case.error(&[]));
    assert!(
        error.contains("because each class has only one") && error.contains("--val-data"),
        "{error}"
    );
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
