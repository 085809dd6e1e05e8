//! Images that are files: class folders, and flat folders with a list of labels.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use tempfile::TempDir;
use topk_data::{Format, Image, ImageSet, Options, Split};
use topk_labels::{Classes, imagenet};
use topk_testing::shared;

/// A folder with files, whose contents are their names.
fn folder(files: &[&str]) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    for file in files {
        write(dir.path(), file, file);
    }
    dir
}

fn write(root: &Path, file: &str, contents: &str) -> PathBuf {
    let path = root.join(file);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, contents).unwrap();
    path
}

fn open(path: &Path) -> ImageSet {
    ImageSet::open(path, &Options::default()).unwrap()
}

fn error(path: &Path, options: &Options) -> String {
    let error = ImageSet::open(path, options).expect_err("it should fail");
    error.to_string()
}

fn with_labels(path: &Path) -> Options {
    let labels = Some(path.to_owned());
    Options {
        labels,
        ..Options::default()
    }
}

fn listed(set: &ImageSet) -> Vec<(&str, Option<u32>)> {
    let samples = set.samples().iter();
    samples
        .map(|sample| (sample.name.as_str(), sample.label))
        .collect()
}

#[test]
fn class_folders_are_in_the_order_of_torchvision() {
    let dir = folder(&[
        "b/2.JPG",
        "b/10.png",
        "a/x/1.webp",
        "a/x-y/1.jpeg",
        "a/z.jpg",
        "a/.h.jpg",
        "a/notes.txt",
        ".git/x.jpg",
        "readme.md",
    ]);
    let set = open(dir.path());
    assert_eq!(set.format(), Format::Folder);
    assert_eq!(
        *set.classes(),
        Classes::Named(vec!["a".to_owned(), "b".to_owned()])
    );
    // Folders by their whole path, in which `-` is before `/`; then files by name.
    let expected = [
        ("a/z.jpg", Some(0)),
        ("a/x/1.webp", Some(0)),
        ("a/x-y/1.jpeg", Some(0)),
        ("b/10.png", Some(1)),
        ("b/2.JPG", Some(1)),
    ];
    assert_eq!(listed(&set), expected);
    assert_eq!(set.warnings().ignored, ["readme.md", "a/notes.txt"]);
    for (index, (name, _)) in expected.iter().enumerate() {
        assert_eq!(
            set.read(index).unwrap(),
            Image::Encoded(name.as_bytes().to_vec())
        );
    }
}

#[test]
fn wnids_and_numbers_are_labels_even_if_folders_are_missing() {
    let dir = folder(&["n01484850/a.jpg", "n01440764/b.jpg", "n15075141/c.jpg"]);
    let set = open(dir.path());
    assert_eq!(*set.classes(), Classes::Imagenet);
    let labels: Vec<_> = set
        .samples()
        .iter()
        .map(|sample| sample.label.unwrap())
        .collect();
    assert_eq!(labels, [0, 2, 999]);
    assert_eq!(
        set.classes().name(2),
        "great white shark, white shark, man-eater, man-eating shark, Carcharodon carcharias"
    );
    assert_eq!(set.description().classes, 1000);

    let files: Vec<String> = (0..12).map(|class| format!("{class}/x.jpeg")).collect();
    let files: Vec<&str> = files.iter().map(String::as_str).collect();
    let numbers = folder(&files);
    let set = open(numbers.path());
    assert_eq!(*set.classes(), Classes::Numbered(12));
    for (class, sample) in (0..).zip(set.samples()) {
        assert_eq!(
            (sample.name.clone(), sample.label),
            (format!("{class}/x.jpeg"), Some(class))
        );
    }
}

#[test]
fn folders_of_splits_are_detected() {
    let dir = folder(&[
        "train/a/1.jpg",
        "train/b/1.jpg",
        "val/a/2.jpg",
        "val/b/2.jpg",
        "val/b/3.jpg",
    ]);
    let set = open(dir.path());
    assert_eq!(
        (set.len(), set.description().path),
        (3, dir.path().join("val"))
    );
    let train = Options {
        split: Split::Train,
        ..Options::default()
    };
    assert_eq!(ImageSet::open(dir.path(), &train).unwrap().len(), 2);
    fs::create_dir(dir.path().join("ILSVRC2012_devkit_t12")).unwrap();
    assert_eq!(ImageSet::open(dir.path(), &train).unwrap().len(), 2);
    // The remaining folder is not a class.
    fs::remove_dir_all(dir.path().join("train")).unwrap();
    let folder_of = Options {
        format: Some(Format::Folder),
        ..train.clone()
    };
    for options in [&train, &folder_of] {
        let error = error(dir.path(), options);
        assert!(error.contains("has no split train, only val"), "{error}");
    }

    let kaggle = folder(&[
        "ILSVRC/Data/CLS-LOC/val/ILSVRC2012_val_00000001.JPEG",
        "ILSVRC/Data/CLS-LOC/train/n01440764/x.JPEG",
    ]);
    write(
        kaggle.path(),
        "LOC_val_solution.csv",
        "ImageId,PredictionString\nILSVRC2012_val_00000001,n01751748 1 2 3 4 n01751748 5 6 7 8 \n",
    );
    let set = open(kaggle.path());
    assert_eq!(set.format(), Format::Flat);
    assert_eq!(listed(&set), [("ILSVRC2012_val_00000001.JPEG", Some(65))]);
    assert!(
        set.description()
            .to_string()
            .ends_with("LOC_val_solution.csv")
    );
}

#[test]
fn folders_around_splits_and_classes_are_passed() {
    let dir = folder(&[
        "imagenette2/train/n01440764/1.jpg",
        "imagenette2/val/n01440764/2.jpg",
        "imagenette2/val/n02102040/2.jpg",
        "imagenette2/noisy.csv",
        "README.md",
    ]);
    let set = open(dir.path());
    assert_eq!(set.description().path, dir.path().join("imagenette2/val"));
    assert_eq!(set.len(), 2);
    let dir = folder(&["images/cat/1.jpg", "images/dog/1.jpg"]);
    assert_eq!(open(dir.path()).classes().len(), 2);
    // A class whose images are in folders.
    let dir = folder(&["cat/long/1.jpg", "cat/short/1.jpg"]);
    assert_eq!(open(dir.path()).classes().len(), 1);
    // Folders of ImageNet's classes beside something else.
    let dir = folder(&["n01440764/1.jpg", "annotations/1.xml"]);
    let set = open(dir.path());
    assert_eq!(set.classes(), &Classes::Imagenet);
    assert_eq!(
        set.warnings().decisions,
        ["folders without images are not classes: annotations"]
    );
}

#[test]
fn a_requested_split_must_be_there() {
    let dir = folder(&["val/a/1.jpg", "val/b/1.jpg", "other/a/1.jpg"]);
    let of = |path: &Path, split| {
        let options = Options {
            split,
            require_split: true,
            ..Options::default()
        };
        ImageSet::open(path, &options)
    };
    // A folder with the name of the split is that split.
    assert_eq!(of(&dir.path().join("val"), Split::Val).unwrap().len(), 2);
    for (path, split) in [("val", Split::Test), ("other", Split::Val)] {
        let error = of(&dir.path().join(path), split).unwrap_err().to_string();
        assert!(error.contains(&format!("has no split {split}")), "{error}");
    }
}

#[test]
fn classes_are_numbered_or_taken_from_other_data() {
    let dir = folder(&[
        "train/n02102040/1.jpg",
        "train/n01440764/1.jpg",
        "val/n02102040/2.jpg",
    ]);
    let mut train = open(&dir.path().join("train"));
    train.keep_present_classes();
    assert_eq!(train.classes().name(0), "tench, Tinca tinca");
    assert_eq!(train.class_counts(), [1, 1]);
    let mut val = open(&dir.path().join("val"));
    val.use_classes(train.classes()).unwrap();
    assert_eq!(listed(&val), [("n02102040/2.jpg", Some(1))]);
    assert_eq!(val.warnings().empty_classes, ["tench, Tinca tinca"]);
    write(dir.path(), "val/n01443537/1.jpg", "");
    let mut val = open(&dir.path().join("val"));
    let missing = val.use_classes(train.classes()).unwrap_err();
    assert!(missing.contains("goldfish"), "{missing}");
}

#[test]
fn links_are_followed_except_to_parents() {
    let dir = folder(&["set/a/1.jpg", "outside/2.jpg"]);
    let set = dir.path().join("set");
    symlink(dir.path().join("outside"), set.join("b")).unwrap();
    symlink(&set, set.join("a/back")).unwrap();
    symlink("nowhere", set.join("a/broken.txt")).unwrap();
    let images = open(&set);
    assert_eq!(
        listed(&images),
        [
            ("a/1.jpg", Some(0)),
            ("a/back/b/2.jpg", Some(0)),
            ("b/2.jpg", Some(1))
        ]
    );
    assert_eq!(images.warnings().loops, ["a/back/a"]);
    assert_eq!(images.warnings().ignored, ["a/broken.txt"]);
}

#[test]
fn other_paths_are_errors() {
    let options = Options::default();
    let empty = tempfile::tempdir().unwrap();
    assert!(error(empty.path(), &options).contains("Supported: one folder of images per class"));
    assert!(error(Path::new("/nowhere/at/all"), &options).contains("/nowhere/at/all"));
    let folder_of = Options {
        format: Some(Format::Folder),
        ..Options::default()
    };
    assert!(error(empty.path(), &folder_of).contains("one folder of images per class"));
    fs::create_dir(empty.path().join("class")).unwrap();
    assert!(error(empty.path(), &folder_of).contains("one folder of images per class"));

    write(empty.path(), "other/1.jpg", "");
    assert!(error(empty.path(), &options).contains("there are no images in class"));
    let labels = write(empty.path(), "list.txt", "1.jpg 0");
    let own = Options {
        labels: Some(labels),
        ..folder_of
    };
    assert!(error(empty.path(), &own).contains("has its own labels"));

    let bytes = std::ffi::OsStr::from_bytes(b"class/\xff.jpg");
    fs::write(empty.path().join(bytes), "").unwrap();
    let error = error(empty.path(), &options);
    assert!(error.contains("is not UTF-8"), "{error}");
}

#[test]
fn images_over_the_size_limit_are_not_read() {
    let dir = folder(&["a/1.jpg"]);
    let set = open(dir.path());
    let file = fs::File::create(dir.path().join("a/1.jpg")).unwrap();
    file.set_len(1 << 40).unwrap();
    let error = set.read(0).unwrap_err().to_string();
    assert!(
        error.contains("a/1.jpg") && error.contains("1099511627776 bytes"),
        "{error}"
    );
}

#[test]
fn lists_of_every_layout_are_read() {
    let names = [
        "ILSVRC2012_val_00000001.JPEG",
        "ILSVRC2012_val_00000003.JPEG",
    ];
    let dir = folder(&[
        "images/ILSVRC2012_val_00000001.JPEG",
        "images/ILSVRC2012_val_00000003.JPEG",
    ]);
    let images = dir.path().join("images");
    assert_eq!(open(&images).classes(), &Classes::Numbered(0));
    let lists = [
        // The development kit's, where 490 is class 65 and 171 is 230.
        "490\n361\n171\n",
        "ILSVRC2012_val_00000001.JPEG 65\r\nILSVRC2012_val_00000003.JPEG 230\r\nILSVRC2012_val_00000002.JPEG 970\r\n",
        "\u{feff}filename,label\nval/ILSVRC2012_val_00000001.JPEG,n01751748\nval/ILSVRC2012_val_00000002.JPEG,n01751748\nval/ILSVRC2012_val_00000003.JPEG,n02105855\n",
        "ImageId,PredictionString\nILSVRC2012_val_00000003,n02105855 85 1 499 272 \nILSVRC2012_val_00000001,n01751748 1 1 2 2 n01751748 3 3 4 4\nILSVRC2012_val_00000002,n01751748 1 1 2 2\n",
    ];
    for list in lists {
        let official = list.starts_with("490");
        let name = match official {
            true => "ILSVRC2012_validation_ground_truth.txt",
            false => "labels.txt",
        };
        let labels = write(dir.path(), name, list);
        // Found above the images, or named.
        for options in [Options::default(), with_labels(&labels)] {
            let set = ImageSet::open(&images, &options).unwrap();
            assert_eq!(
                listed(&set),
                [(names[0], Some(65)), (names[1], Some(230))],
                "{list}"
            );
            assert_eq!(set.classes(), &Classes::Imagenet);
            assert_eq!(set.warnings().labels_without_image.len(), 1, "{list}");
            assert_eq!(set.format(), Format::Flat);
        }
        fs::remove_file(labels).unwrap();
    }
}

#[test]
fn lists_of_other_data_are_read() {
    let dir = folder(&["x/1.jpg", "x/2.jpg", "y/1.jpg", "labels.csv"]);
    let list = |text| with_labels(&write(dir.path(), "list.txt", text));
    let numbers = ImageSet::open(dir.path(), &list("x/1.jpg 7\ny/1.jpg 3\n")).unwrap();
    assert_eq!(
        listed(&numbers),
        [
            ("x/1.jpg", Some(7)),
            ("x/2.jpg", None),
            ("y/1.jpg", Some(3))
        ]
    );
    assert_eq!(numbers.classes(), &Classes::Numbered(8));
    assert_eq!(numbers.class_counts(), [0, 0, 0, 1, 0, 0, 0, 1]);
    assert_eq!(numbers.description().labelled, 2);

    let names = ImageSet::open(dir.path(), &list("./x/1.jpg\tblack cat\nx/2.jpg\tant\n")).unwrap();
    assert_eq!(names.samples()[0].label, Some(1));
    assert_eq!(names.classes().name(1), "black cat");
}

#[test]
fn errors_in_lists_name_the_line() {
    let dir = folder(&["1.jpg", "2.jpg"]);
    let open_error = |text| {
        error(
            dir.path(),
            &with_labels(&write(dir.path(), "list.txt", text)),
        )
    };
    let cases = [
        (
            "1.jpg 0\n\n2.jpg cat\n",
            "line 3: found `cat`, expected a class index",
        ),
        (
            "1.jpg n01440764\n2.jpg cat",
            "line 2: found `cat`, expected a wnid",
        ),
        ("1.jpg 0\n2.jpg 99999999", "line 2: found `99999999`"),
        (
            "1.jpg\n",
            "line 1: found `1.jpg`, expected a name and a label",
        ),
        (
            "1.jpg 0\n2.jpg 1\n1.jpg 1\n",
            "line 3: 1.jpg has a different value than in line 1",
        ),
        ("1\n1000\n", "has 2 numbers without names of images"),
        ("a.jpg 0\n", "lists `a.jpg`, but an image is `1.jpg`"),
        (
            "ImageId,PredictionString\n1,n01440764 1 2 3 4 n01443537 1 2 3 4",
            "line 2",
        ),
        ("x/1.jpg 0\ny/1.jpg 0\n", "1.jpg more than once"),
        ("x/a.jpg 0\ny/a.jpg 0\n", "but an image is `1.jpg`"),
        ("", "is empty"),
        ("filename,label\n", "is empty"),
    ];
    for (text, expected) in cases {
        let error = open_error(text);
        assert!(
            error.contains(expected) && error.contains("list.txt"),
            "{text}: {error}"
        );
    }
    // Repeated equal entries are valid.
    let list = write(dir.path(), "list.txt", "1.jpg 0\n1.jpg 0\n2.jpg 1\n");
    assert_eq!(
        ImageSet::open(dir.path(), &with_labels(&list))
            .unwrap()
            .len(),
        2
    );

    let same = folder(&["x/1.jpg", "y/1.jpg"]);
    let error = error(
        same.path(),
        &with_labels(&write(same.path(), "list.txt", "1.jpg 0\n")),
    );
    assert!(error.contains("1.jpg more than once"), "{error}");
}

#[test]
fn a_class_map_selects_and_numbers_classes() {
    let dir = folder(&["n01440764/a.jpg", "n01443537/b.jpg", "n01484850/c.jpg"]);
    let map = |text| {
        let class_map = Some(write(dir.path(), "map.txt", text));
        Options {
            class_map,
            ..Options::default()
        }
    };
    let set = ImageSet::open(dir.path(), &map("n01484850\nn01440764\n")).unwrap();
    assert_eq!(
        listed(&set),
        [("n01440764/a.jpg", Some(1)), ("n01484850/c.jpg", Some(0))]
    );
    assert_eq!(set.warnings().unmapped, ["n01443537/b.jpg"]);
    assert_eq!(set.classes().name(0), "n01484850");
    // What was left out does not shift the others.
    assert_eq!(
        set.read(1).unwrap(),
        Image::Encoded(b"n01484850/c.jpg".to_vec())
    );
    // Nor does a folder without images.
    fs::create_dir(dir.path().join("empty")).unwrap();
    assert_eq!(
        ImageSet::open(dir.path(), &map("n01484850 5"))
            .unwrap()
            .len(),
        1
    );
    assert!(error(dir.path(), &map("cats\n")).contains("has none of the classes"));
}

#[test]
fn the_hash_covers_names_labels_and_sizes() {
    let dir = folder(&["a/1.jpg", "b/2.jpg"]);
    let set = open(dir.path());
    // Computed with Python's hashlib after the definition.
    let expected = "178851c509cd8dd9279e0f74085f3fe17ea64c14e94c0e5bf3d37bf935ba1991";
    assert_eq!(set.sha256().unwrap(), expected);
    let contents = "908bf52ca2c9c07fc13f98c02e039f362bc01cadb22aa43c845829b3682a1612";
    assert_eq!(set.contents_sha256().unwrap(), contents);
    let size = set.sha256().unwrap();
    fs::write(dir.path().join("a/1.jpg"), "A/1.jpg").unwrap();
    assert_eq!(set.sha256().unwrap(), size);
    assert_ne!(set.contents_sha256().unwrap(), contents);
    fs::write(dir.path().join("a/1.jpg"), "").unwrap();
    assert_ne!(set.sha256().unwrap(), size);
}

#[test]
fn labels_of_the_imagenet_sample_are_found() {
    let (Some(sample), Some(golden)) = (
        shared("data/imagenet-sample"),
        shared("golden/imagenet-sample.pillow13.jsonl"),
    ) else {
        return;
    };
    let golden = fs::read_to_string(golden).unwrap();
    let set = open(&sample);
    assert_eq!((set.len(), set.classes()), (300, &Classes::Imagenet));
    let golden: Vec<serde_json::Value> = golden
        .lines()
        .skip(1)
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(golden.len(), set.len());
    for (sample, golden) in set.samples().iter().zip(&golden) {
        assert_eq!(sample.name, golden["file"]);
        assert_eq!(u64::from(sample.label.unwrap()), golden["label"]);
        let wnid = sample.name.split('/').next();
        assert_eq!(wnid, set.classes().wnid(sample.label.unwrap()));
    }
    // A list in Caffe's manner says the same.
    let list: String = golden
        .iter()
        .map(|g| format!("{} {}\n", g["file"].as_str().unwrap(), g["label"]))
        .collect();
    let dir = tempfile::tempdir().unwrap();
    let list = write(dir.path(), "val.txt", &list);
    let flat = ImageSet::open(&sample, &with_labels(&list)).unwrap();
    assert!(
        flat.samples()
            .iter()
            .zip(set.samples())
            .all(|(a, b)| a.label == b.label && a.name == b.name)
    );
}

#[test]
fn the_lists_of_imagenet_agree_for_all_images() {
    let Some(labels) = shared("data/imagenet-labels") else {
        return;
    };
    const IMAGES: usize = 50_000;
    let dir = tempfile::tempdir().unwrap();
    for number in 1..=IMAGES {
        fs::write(
            dir.path().join(format!("ILSVRC2012_val_{number:08}.JPEG")),
            "",
        )
        .unwrap();
    }
    let read = |file: &str| {
        let set = ImageSet::open(dir.path(), &with_labels(&labels.join(file))).unwrap();
        assert!(set.warnings().labels_without_image.is_empty());
        assert_eq!(set.classes(), &Classes::Imagenet);
        set.samples()
            .iter()
            .map(|sample| sample.label.unwrap())
            .collect::<Vec<_>>()
    };
    let (caffe, devkit) = (
        read("val.txt"),
        read("ILSVRC2012_validation_ground_truth.txt"),
    );
    assert_eq!(caffe.len(), IMAGES);
    assert_eq!(caffe, devkit);
    for class in 0..imagenet::CLASSES as u32 {
        assert_eq!(caffe.iter().filter(|&&label| label == class).count(), 50);
    }
}
