//! Images that a table or a JSON file lists by path.

use std::fs;
use std::path::{Path, PathBuf};

use tempfile::TempDir;
use topk_data::{Format, Image, ImageSet, Options, Split};
use topk_labels::Classes;

const TABLE: &str = "path,label,split
photos/1.jpg,cat,train
photos/deep/2.jpg,dog,train
3.jpg,dog,val
photos/4.jpg,ape,test
";

/// A folder with images, whose contents are their names, and a manifest.
fn folder(name: &str, manifest: &str) -> (TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    for file in ["photos/1.jpg", "photos/deep/2.jpg", "3.jpg", "photos/4.jpg"] {
        let path = dir.path().join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, file).unwrap();
    }
    let path = dir.path().join(name);
    fs::write(&path, manifest).unwrap();
    (dir, path)
}

fn of_split(split: Split) -> Options {
    Options {
        split,
        ..Options::default()
    }
}

fn listed(set: &ImageSet) -> Vec<(&str, u32)> {
    let samples = set.samples().iter();
    samples
        .map(|sample| (sample.name.as_str(), sample.label.unwrap()))
        .collect()
}

fn error(path: &Path, options: &Options) -> String {
    ImageSet::open(path, options).unwrap_err().to_string()
}

#[test]
fn a_split_is_read_with_the_classes_of_all() {
    let (_dir, path) = folder("list.csv", TABLE);
    let set = ImageSet::open(&path, &of_split(Split::Train)).unwrap();
    assert_eq!(set.format(), Format::Manifest);
    let classes = ["ape", "cat", "dog"].map(str::to_owned);
    assert_eq!(*set.classes(), Classes::Named(classes.to_vec()));
    assert_eq!(
        listed(&set),
        [("photos/1.jpg", 1), ("photos/deep/2.jpg", 2)]
    );
    let Image::Encoded(bytes) = set.read(1).unwrap() else {
        panic!("the image is a file");
    };
    assert_eq!(bytes, b"photos/deep/2.jpg");
    assert_eq!(
        set.warnings().lines(),
        [
            "list.csv: images from column path, labels from label",
            "split train: reading train, not val, test"
        ]
    );
    for (split, expected) in [
        (Split::Val, ("3.jpg", 2)),
        (Split::Test, ("photos/4.jpg", 0)),
        (Split::Evaluation, ("3.jpg", 2)),
    ] {
        let set = ImageSet::open(&path, &of_split(split)).unwrap();
        assert_eq!(listed(&set), [expected], "{split}");
    }
}

#[test]
fn json_is_a_table_too() {
    let (dir, path) = folder(
        "list.json",
        r#"[{"path": "photos/1.jpg", "label": 4}, {"path": "3.jpg", "label": 0}]"#,
    );
    let set = ImageSet::open(&path, &of_split(Split::Train)).unwrap();
    assert_eq!(listed(&set), [("photos/1.jpg", 4), ("3.jpg", 0)]);
    assert_eq!(*set.classes(), Classes::Numbered(5));
    // Without splits, a request for one is answered by the name of the file only.
    let requested = Options {
        require_split: true,
        ..of_split(Split::Val)
    };
    assert!(error(&path, &requested).contains("has no split val"));
    let val = dir.path().join("val.json");
    fs::copy(&path, &val).unwrap();
    assert_eq!(ImageSet::open(&val, &requested).unwrap().len(), 2);
}

#[test]
fn a_class_map_gives_the_indices() {
    let (dir, path) = folder("list.csv", TABLE);
    let map = dir.path().join("map.txt");
    fs::write(&map, "dog\nbird\n").unwrap();
    let options = Options {
        class_map: Some(map),
        ..of_split(Split::Train)
    };
    let set = ImageSet::open(&path, &options).unwrap();
    assert_eq!(listed(&set), [("photos/deep/2.jpg", 0)]);
    assert_eq!(set.classes().len(), 2);
}

#[test]
fn errors_name_the_file_and_what_is_wrong() {
    let train = of_split(Split::Train);
    let of = |text: &str| {
        let (_dir, path) = folder("list.csv", text);
        error(&path, &train)
    };
    let missing = of("path,label\nphotos/9.jpg,cat\n");
    assert!(
        missing.contains("list.csv lists the image photos/9.jpg, but "),
        "{missing}"
    );
    let split = of("path,label,split\n3.jpg,cat,first\n");
    assert!(
        split.contains("the column split has `first`, which is not a split"),
        "{split}"
    );
    let twice = of("path,label\n3.jpg,cat\n./3.jpg,cat\n");
    assert!(
        twice.contains("3.jpg") && twice.contains("more than once"),
        "{twice}"
    );
    let none = of("path,label,split\n3.jpg,cat,val\n");
    assert!(none.contains("has no split train, only val"), "{none}");
    // Folds are not splits.
    let (_dir, path) = folder(
        "list.csv",
        "path,label,fold\n3.jpg,cat,0\nphotos/1.jpg,dog,1\n",
    );
    let set = ImageSet::open(&path, &train).unwrap();
    assert_eq!(set.len(), 2);
    assert!(
        set.warnings()
            .lines()
            .contains(&"list.csv: column fold is not used".to_owned())
    );
}
