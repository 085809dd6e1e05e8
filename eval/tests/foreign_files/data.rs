//! Data sets, lists of labels and classes.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;
use tempfile::TempDir;
use topk_onnx::{ModelCard, model};

use crate::case::linear;

/// A folder for a test.
struct Case(TempDir);

/// Metadata of a model: none, or a card with these class names.
type Names<'a> = Option<&'a [&'a str]>;

impl Case {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, contents: impl AsRef<[u8]>) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, contents).unwrap();
    }

    /// Photographs with these names.
    fn images(&self, names: &[&str]) {
        for name in names {
            self.write(name, photo());
        }
    }

    /// A model of `classes` classes that gives class `best` the highest score for every image, the classes
    /// after it the next ones, and so on.
    fn model(&self, name: &str, classes: usize, best: usize, names: Names<'_>) {
        let bias: Vec<f32> = (0..classes)
            .map(|class| -(((class + classes - best) % classes) as f32))
            .collect();
        let card = ModelCard {
            format: ModelCard::FORMAT,
            architecture: "constant".to_owned(),
            class_names: names.map(|names| names.iter().map(|&name| name.to_owned()).collect()),
            input_size: [3, 8, 8],
            resize: None,
            mean: [0.5; 3].into(),
            std: [0.25; 3].into(),
            training: None,
        };
        let file = model(linear(8, bias)(), "", card.to_metadata());
        self.write(name, prost::Message::encode_to_vec(&file));
    }

    fn run(&self, data: &str, flags: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_topk-eval"));
        command.env_clear().current_dir(self.0.path());
        if !flags.contains(&"--model") {
            command.args(["--model", "model.onnx"]);
        }
        command
            .args(["--data", data, "--resize", "8", "--provider", "cpu"])
            .args(["--json", "out.json"])
            .args(flags);
        command.output().unwrap()
    }

    /// What is printed, and the results.
    fn results(&self, data: &str, flags: &[&str]) -> (String, Value) {
        let output = self.run(data, flags);
        assert!(output.status.success(), "{output:?}");
        let printed = String::from_utf8(output.stderr).unwrap();
        let json = fs::read(self.path("out.json")).unwrap();
        // Lines are wrapped for a terminal.
        let printed = printed.split_whitespace().collect::<Vec<_>>().join(" ");
        (printed, serde_json::from_slice(&json).unwrap())
    }

    fn error(&self, data: &str, flags: &[&str]) -> String {
        let output = self.run(data, flags);
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        let printed = String::from_utf8(output.stderr).unwrap();
        let (_, error) = printed.split_once("error: ").expect(&printed);
        error.trim_end().to_owned()
    }

    /// Checks that a decision is printed and recorded, and returns the labels of the images.
    fn labels(&self, data: &str, flags: &[&str], decision: &str) -> Vec<u64> {
        let (printed, results) = self.results(data, flags);
        assert!(printed.contains(decision), "{decision}: {printed}");
        let decisions = results["data"]["decisions"].as_array().unwrap();
        let decided = |line: &Value| line.as_str().unwrap().contains(decision);
        assert!(decisions.iter().any(decided), "{decision}: {decisions:?}");
        labels(&results)
    }
}

/// The labels of the images of results.
fn labels(results: &Value) -> Vec<u64> {
    let columns = results["images"]["labels"].as_array();
    let columns = columns.unwrap_or_else(|| panic!("{}", results["images"]));
    let label = |labels: &Value| labels.as_u64().or_else(|| labels[0].as_u64()).unwrap();
    columns.iter().map(label).collect()
}

/// Number of images whose best class is correct.
fn correct(results: &Value) -> u64 {
    results["models"][0]["metrics"]["topk"][0]["correct"]
        .as_u64()
        .unwrap()
}

/// A photograph.
fn photo() -> Vec<u8> {
    let path =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../data/image/tests/data/images/444.jpg");
    fs::read(path).unwrap()
}

/// A tar file.
fn tar(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (name, contents) in files {
        let mut header = [0; 512];
        header[..name.len()].copy_from_slice(name.as_bytes());
        header[100..107].copy_from_slice(b"0000644");
        let size = format!("{:011o}", contents.len());
        header[124..135].copy_from_slice(size.as_bytes());
        header[148..156].fill(b' ');
        header[156] = b'0';
        header[257..263].copy_from_slice(b"ustar\0");
        let sum: u32 = header.iter().map(|&byte| u32::from(byte)).sum();
        header[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
        bytes.extend(header);
        bytes.extend(*contents);
        bytes.resize(bytes.len().next_multiple_of(512), 0);
    }
    bytes.extend([0; 1024]);
    bytes
}

#[test]
fn class_folders_win_over_archives_beside_them() {
    let case = Case::new();
    case.model("model.onnx", 3, 1, None);
    case.images(&["val/a/1.jpg", "val/b/1.jpg", "val/c/1.jpg", "val/loose.jpg"]);
    let image = photo();
    for (name, contents) in [
        ("part.tar", tar(&[("x/1.jpg", &image), ("y/1.jpg", &image)])),
        ("shard.tar", tar(&[("1.jpg", &image), ("1.cls", b"0")])),
        ("meta.parquet", Vec::new()),
    ] {
        case.write(&format!("val/{name}"), contents);
        let decision = format!("reading the 3 class folders, not {name} (choose with --format)");
        assert_eq!(case.labels("val", &[], &decision), [0, 1, 2], "{name}");
        fs::remove_file(case.path(&format!("val/{name}"))).unwrap();
    }
    case.labels(
        "val",
        &[],
        "1 image beside the class folders, not read: loose.jpg",
    );
    // A folder that may belong to the archive is not a clear case.
    case.images(&["set/examples/1.jpg"]);
    case.write(
        "set/a.tar",
        tar(&[("x/1.jpg", &image), ("y/1.jpg", &image)]),
    );
    let error = case.error("set", &[]);
    assert!(
        error.contains(
            "set has the folder of images examples beside a.tar. Choose one with --format"
        ),
        "{error}"
    );
    case.model("model.onnx", 2, 0, None);
    let (_, results) = case.results("set", &["--format", "tar"]);
    assert_eq!(labels(&results), [0, 1]);
}

#[test]
fn samples_that_are_left_out_of_shards_are_counted() {
    let case = Case::new();
    case.model("model.onnx", 3, 1, None);
    let image = photo();
    let shard = tar(&[
        ("s0.jpg", &image),
        ("s0.cls", b"1"),
        ("s1.v2.jpg", &image),
        ("s1.v2.cls", b"2"),
        ("s2.txt", b"no image"),
    ]);
    case.write("a.tar", shard);
    let decision =
        "2 samples without an image, left out: a.tar/s1 (.v2.jpg, .v2.cls), a.tar/s2 (.txt)";
    assert_eq!(case.labels("a.tar", &[], decision), [1]);
    case.write(
        "a.tar",
        tar(&[("s0.jpg", &image), ("s0.cls", b"1"), ("s1.jpg", &image)]),
    );
    let error = case.error("a.tar", &[]);
    assert!(
        error.contains("1 of 2 images have no label (for example a.tar/s1.jpg)"),
        "{error}"
    );
    // A list of classes does not make a shard of an archive of class folders.
    let files: [(&str, &[u8]); 3] = [
        ("classes.json", b"[\"cat\"]"),
        ("cat/1.jpg", &image),
        ("dog/1.jpg", &image),
    ];
    case.write("b.tar", tar(&files));
    case.model("model.onnx", 2, 1, None);
    let (_, results) = case.results("b.tar", &[]);
    assert_eq!(
        (&results["data"]["format"], labels(&results)),
        (&"tar".into(), vec![0, 1])
    );
}

#[test]
fn splits_are_recognised_in_folders_and_archives() {
    let case = Case::new();
    case.model("model.onnx", 2, 0, None);
    let image = photo();
    for [train, val, other] in [
        ["train", "val", "unlabeled"],
        ["Train", "Val", "lost+found"],
        ["training", "testing", "__MACOSX"],
        ["train", "dev", ".ipynb_checkpoints"],
        ["seg_train", "seg_test", "seg_pred"],
        ["train_set", "validation_set", "extra"],
    ] {
        let names = [
            format!("{train}/a/1.jpg"),
            format!("{train}/b/1.jpg"),
            format!("{train}/b/2.jpg"),
            format!("{val}/a/3.jpg"),
            format!("{val}/b/3.jpg"),
            format!("{other}/4.jpg"),
        ];
        let names = names.each_ref().map(String::as_str);
        let _ = fs::remove_dir_all(case.path("d"));
        case.images(
            &names
                .map(|name| format!("d/{name}"))
                .each_ref()
                .map(String::as_str),
        );
        case.write("d.tar", tar(&names.map(|name| (name, image.as_slice()))));
        for data in ["d", "d.tar"] {
            assert_eq!(
                case.labels(data, &[], &format!("reading {val}")),
                [0, 1],
                "{data} {val}"
            );
            let of_train = case.labels(data, &["--split", "train"], &format!("reading {train}"));
            assert_eq!(of_train, [0, 1, 1], "{data} {train}");
        }
    }
    // A test set beside the validation set is named, and can be chosen.
    case.images(&[
        "e/val/a/1.jpg",
        "e/val/b/1.jpg",
        "e/test/a/1.jpg",
        "e/test/b/1.jpg",
        "e/test/b/2.jpg",
    ]);
    case.labels("e", &[], "split val: reading val, not test");
    assert_eq!(
        case.labels(
            "e",
            &["--split", "test"],
            "split test: reading test, not val"
        ),
        [0, 1, 1]
    );
    let error = case.error("e", &["--split", "train"]);
    assert!(
        error.contains("e has no split train, only test, val"),
        "{error}"
    );
    case.images(&["e/bus/1.jpg"]);
    let error = case.error("e", &[]);
    assert!(
        error.contains("e has the splits test, val beside the images in bus"),
        "{error}"
    );
    // Files of splits by their names.
    case.write("s/dev-0.tar", tar(&[("1.jpg", &image), ("1.cls", b"1")]));
    case.write("s/train-0.tar", tar(&[("1.jpg", &image), ("1.cls", b"0")]));
    assert_eq!(
        case.labels("s", &[], "split val: reading dev-0.tar, not train-0.tar"),
        [1]
    );
}

#[test]
fn tables_of_labels_have_titles_and_columns() {
    let case = Case::new();
    case.model("model.onnx", 11, 2, None);
    case.images(&["d/a.jpg", "d/b.jpg", "d/c.jpg"]);
    for (list, decision) in [
        (
            "image,category\na.jpg,2\nb.jpg,10\nc.jpg,0\n",
            "images from column image, labels from category",
        ),
        ("id,breed\na,2\nb,10\nc,0\n", "labels from breed"),
        (
            "split;Label;File Name\ntest;2;a.jpg\ntest;10;b.jpg\ntest;0;c.jpg\n",
            "column split is not used",
        ),
        (
            "filename\tlabel\textra\na.jpg\t2\t7\nb.jpg\t10\t7\nc.jpg\t0\t7\n",
            "labels from label",
        ),
        (
            "2,a.jpg\n10,b.jpg\n0,c.jpg\n",
            "images from the second column",
        ),
        (
            "image,label\na.jpg,2.0\nb.jpg,10.0\nc.jpg,0.0\n",
            "labels from label",
        ),
    ] {
        case.write("list.csv", list);
        let found = case.labels("d", &["--labels", "list.csv"], decision);
        assert_eq!(found, [2, 10, 0], "{list}");
    }
    for (list, expected) in [
        (
            "a.jpg,2,1\nb.jpg,10,1\nc.jpg,0,1\n",
            "it has 3 columns without titles",
        ),
        (
            "image,label,class\na.jpg,2,1\nb.jpg,10,1\nc.jpg,0,1\n",
            "label and class both look like labels",
        ),
        (
            "2\n10\n1\n",
            "list.csv has 3 numbers without names of images",
        ),
        ("<!DOCTYPE html><html>\n", "list.csv is an HTML page"),
    ] {
        case.write("list.csv", list);
        let error = case.error("d", &["--labels", "list.csv"]);
        assert!(error.contains(expected), "{list}: {error}");
    }
    // A file of class names is passed over for a list of labels.
    case.write("d/labels.txt", "cat\ndog\n");
    case.write("labels.csv", "image,label\na.jpg,2\nb.jpg,10\nc.jpg,0\n");
    let found = case.labels("d", &[], "labels.txt is not used as a list of labels");
    assert_eq!(found, [2, 10, 0]);
}

#[test]
fn numbered_class_folders_are_in_numeric_order() {
    let case = Case::new();
    case.model("model.onnx", 12, 2, None);
    let names: Vec<String> = (1..=12).map(|class| format!("d/{class}/1.jpg")).collect();
    case.images(&names.iter().map(String::as_str).collect::<Vec<_>>());
    let decision = "the 12 class folders from 1 to 12 are numbered by value, 1 is class 0";
    assert_eq!(case.labels("d", &[], decision), (0..12).collect::<Vec<_>>());
    let names: Vec<String> = (1..=12)
        .map(|class| format!("e/{class:03}/1.jpg"))
        .collect();
    case.images(&names.iter().map(String::as_str).collect::<Vec<_>>());
    let (_, results) = case.results("e", &[]);
    assert_eq!(results["class_names"][11], "012");
    // A model whose classes were numbered in the order of text.
    let text = ["0", "1", "10", "11", "2", "3", "4", "5", "6", "7", "8", "9"];
    case.model("model.onnx", 12, 2, Some(&text));
    case.images(
        &text
            .map(|class| format!("f/{class}/1.jpg"))
            .each_ref()
            .map(String::as_str),
    );
    let (printed, results) = case.results("f", &[]);
    assert!(
        printed.contains("matched by name: class 2 of the data, 2, is output 4, 2"),
        "{printed}"
    );
    // Output 2 is the folder 10.
    assert_eq!(results["models"][0]["outcomes"]["best"]["classes"][0], 10);
}

#[test]
fn published_layouts_of_imagenet_are_read() {
    let case = Case::new();
    case.model("model.onnx", 1000, 65, None);
    let names = [
        "ILSVRC2012_val_00000001.JPEG",
        "ILSVRC2012_val_00000003.JPEG",
    ];
    let list = "ILSVRC2012_val_00000001.JPEG 65\nILSVRC2012_val_00000003.JPEG 230\n";
    case.images(
        &names
            .map(|name| format!("a/ILSVRC2012_img_val/{name}"))
            .each_ref()
            .map(String::as_str),
    );
    case.write("a/val.txt", list);
    assert_eq!(
        case.labels("a", &[], "split val: reading ILSVRC2012_img_val"),
        [65, 230]
    );
    // Tiny ImageNet.
    case.images(&[
        "t/val/images/val_0.JPEG",
        "t/val/images/val_1.JPEG",
        "t/train/n01440764/images/x.JPEG",
    ]);
    let list = "val_0.JPEG\tn01443537\t0\t32\t44\t62\nval_1.JPEG\tn01440764\t52\t55\t57\t59\n";
    case.write("t/val/val_annotations.txt", list);
    let decision = "reading the images in images with the labels in val_annotations.txt";
    assert_eq!(case.labels("t", &[], decision), [1, 0]);
}

#[test]
fn classes_of_some_wnids_are_explained_or_numbered() {
    let case = Case::new();
    case.images(&[
        "d/n01440764/1.jpg",
        "d/n02102040/1.jpg",
        "d/n03888257/1.jpg",
    ]);
    // A model of ImageNet.
    case.model("model.onnx", 1000, 217, None);
    let (_, results) = case.results("d", &[]);
    assert_eq!(
        (labels(&results), correct(&results)),
        (vec![0, 217, 701], 1)
    );
    // A model of these classes, without names.
    case.model("model.onnx", 3, 1, None);
    let error = case.error("d", &[]);
    assert!(
        error.contains("has 3 classes but the data has 1000, 3 of them with images"),
        "{error}"
    );
    assert!(error.contains("pass --classes-present"), "{error}");
    assert!(
        error.ends_with(":\n  n01440764 0\n  n02102040 1\n  n03888257 2"),
        "{error}"
    );
    let decision =
        "3 of 1000 classes have images and are numbered in this order: tench, Tinca tinca; English";
    assert_eq!(
        case.labels("d", &["--classes-present"], decision),
        [0, 1, 2]
    );
    case.write("map.txt", "n01440764 2\nn02102040 1\nn03888257 0\n");
    let (_, results) = case.results("d", &["--class-map", "map.txt"]);
    assert_eq!(labels(&results), [2, 1, 0]);
    // With names, in any order.
    case.model(
        "model.onnx",
        3,
        1,
        Some(&["parachute, chute", "tench", "n02102040"]),
    );
    let (printed, results) = case.results("d", &[]);
    assert_eq!(labels(&results), [1, 2, 0]);
    assert!(printed.contains("matched by name"), "{printed}");
}

#[test]
fn class_folders_match_the_names_of_the_model() {
    let case = Case::new();
    let names = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l"];
    case.model("model.onnx", 12, 11, Some(&names));
    let folders = names
        .iter()
        .filter(|name| **name != "c")
        .map(|name| format!("d/{name}/1.jpg"));
    let folders: Vec<String> = folders.collect();
    case.images(&folders.iter().map(String::as_str).collect::<Vec<_>>());
    let decision =
        "the data has images of 11 of the 12 classes of the model, matched by name; none of: c";
    let expected = [0, 1, 3, 4, 5, 6, 7, 8, 9, 10, 11];
    assert_eq!(case.labels("d", &[], decision), expected);
    // Also where the folder is there, but empty.
    fs::create_dir(case.path("d/c")).unwrap();
    assert_eq!(case.labels("d", &[], "1 class without images: c"), expected);
    case.model("model.onnx", 12, 11, None);
    let error = case.error("d", &[]);
    assert!(error.contains("there are no images in c"), "{error}");
    // A folder that the model does not know.
    case.images(&["d/x/1.jpg"]);
    case.model("model.onnx", 12, 11, Some(&names));
    let error = case.error("d", &[]);
    assert!(
        error.contains("images of the class `x`, which model.onnx does not name"),
        "{error}"
    );
    assert!(error.contains("--class-map"), "{error}");
}

#[test]
fn models_with_other_class_orders_are_matched_by_name() {
    let case = Case::new();
    let synsets = topk_labels::imagenet::synsets();
    let reversed: Vec<&str> = synsets.iter().rev().map(|synset| synset.wnid).collect();
    // Output 999 is the tench, class 0.
    case.model("reversed.onnx", 1000, 999, Some(&reversed));
    case.images(&["d/n01440764/1.jpg", "d/n01443537/1.jpg"]);
    let (printed, results) = case.results("d", &["--model", "reversed.onnx"]);
    assert_eq!((labels(&results), correct(&results)), (vec![0, 1], 1));
    assert!(
        printed.contains("in another order and matched by name"),
        "{printed}"
    );
    assert_eq!(results["class_names"][0], "tench, Tinca tinca");
    let names: Vec<&str> = synsets
        .iter()
        .rev()
        .map(|synset| synset.names.split(',').next().unwrap())
        .collect();
    case.model("names.onnx", 1000, 999, Some(&names));
    let (_, results) = case.results("d", &["--model", "names.onnx"]);
    assert_eq!(correct(&results), 1);
    // Short names in the usual order are the same classes.
    let short: Vec<&str> = synsets
        .iter()
        .map(|synset| synset.names.split(',').next().unwrap())
        .collect();
    case.model("short.onnx", 1000, 0, Some(&short));
    let both = ["--model", "reversed.onnx", "--model", "short.onnx"];
    let (_, results) = case.results("d", &both);
    for model in 0..2 {
        assert_eq!(results["models"][model]["metrics"]["topk"][0]["correct"], 1);
    }
    // A class map of wnids for a model with names of ImageNet.
    let map: String = synsets
        .iter()
        .enumerate()
        .map(|(i, s)| format!("{} {i}\n", s.wnid))
        .collect();
    case.write("map.txt", map);
    let (_, results) = case.results("d", &["--model", "short.onnx", "--class-map", "map.txt"]);
    assert_eq!((labels(&results), correct(&results)), (vec![0, 1], 1));
    // The metadata has another order than the folders: names that do not fit are refused with the flag.
    let other: Vec<&str> = (0..1000)
        .map(|class| if class == 5 { "tench" } else { "thing" })
        .collect();
    case.model("other.onnx", 1000, 5, Some(&other));
    let error = case.error("d", &["--model", "other.onnx"]);
    assert!(error.contains("--class-map"), "{error}");
}

#[test]
fn placeholders_for_data_are_recognised() {
    let case = Case::new();
    case.model("model.onnx", 2, 0, None);
    let pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a21\nsize 12345\n";
    for (name, contents, expected) in [
        ("a.tar", pointer, "a.tar is a Git LFS pointer"),
        (
            "a.parquet",
            "<!DOCTYPE html><html></html>",
            "a.parquet is an HTML page",
        ),
        ("b.parquet", "", "b.parquet is empty"),
        (
            "cifar-10-python.tar.gz",
            pointer,
            "cifar-10-python.tar.gz is a Git LFS pointer",
        ),
        ("test_batch", pointer, "test_batch is a Git LFS pointer"),
    ] {
        let folder = format!("{name}.d");
        case.write(&format!("{folder}/{name}"), contents);
        case.write(&format!("{folder}/batches.meta"), pointer);
        let data = match name {
            "test_batch" => folder,
            name => format!("{folder}/{name}"),
        };
        let error = case.error(&data, &[]);
        assert!(error.contains(expected), "{name}: {error}");
    }
}

#[test]
fn unreadable_names_and_links_do_not_end_the_listing() {
    use std::os::unix::ffi::OsStrExt;
    let case = Case::new();
    case.model("model.onnx", 2, 0, None);
    case.images(&["d/a/1.jpg", "d/b/1.jpg"]);
    fs::write(
        case.path("d/a")
            .join(std::ffi::OsStr::from_bytes(b"\xff.txt")),
        "",
    )
    .unwrap();
    std::os::unix::fs::symlink("nowhere.jpg", case.path("d/b/2.jpg")).unwrap();
    let error = case.error("d", &[]);
    assert!(
        error.contains("1 image cannot be") && error.contains("b/2.jpg"),
        "{error}"
    );
    let (_, results) = case.results("d", &["--on-bad-image", "skip"]);
    assert_eq!(results["models"][0]["metrics"]["images"], 2);
}

#[test]
fn k_follows_the_classes_of_the_model() {
    let case = Case::new();
    case.model("model.onnx", 1000, 0, None);
    let image = photo();
    case.write("a.tar", tar(&[("1.jpg", &image), ("1.cls", b"2")]));
    let (_, results) = case.results("a.tar", &[]);
    assert_eq!(results["settings"]["topk"], serde_json::json!([1, 5]));
}

#[test]
fn valid_labels_give_class_folders_their_indices() {
    let case = Case::new();
    case.model("model.onnx", 1000, 7, None);
    case.images(&["d/cats/1.jpg", "d/dogs/1.jpg"]);
    case.write("valid.txt", "7\n3\n");
    let decision =
        "the 2 classes of the data are those of --valid-labels, in the order of that file";
    assert_eq!(
        case.labels("d", &["--valid-labels", "valid.txt"], decision),
        [7, 3]
    );
}
