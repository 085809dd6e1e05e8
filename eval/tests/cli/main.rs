//! The `topk-eval` command on small generated models and data, without libtorch.

mod bench;
mod calibration;
mod case;
mod class_names;
mod in_flight;
#[cfg(target_os = "linux")]
mod interrupt;
mod leaderboard;
#[cfg(target_os = "linux")]
mod ranks;
mod real_labels;
#[cfg(feature = "remote")]
mod remote;
mod sources;
mod standard_output;
mod subset;
mod variants;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use topk_onnx::proto::DataType;
use topk_onnx::{Dim, GraphBuilder, ModelCard};

use case::{CLASSES, Case, card, class_names, correct, in_order, linear};

#[test]
fn counts_are_exact_and_in_the_result_file() {
    let case = Case::new();
    // The last batch is smaller than the others.
    let flags = ["--topk", "2,4", "--batch-size", "3", "--device", "cpu"];
    let results = case.results(&flags);
    assert_eq!(correct(&results, 0), [(1, 3), (2, 5), (4, 7)]);
    assert_eq!(results["complete"], true);
    assert_eq!(results["data"]["images"], 10);
    let model = &results["models"][0]["model"];
    assert_eq!(model["path"], case.path("model.onnx").to_str().unwrap());
    assert_eq!(model["normalization"]["mean"][0], 0.5);
    assert_eq!(model["provider"], "cpu");
    assert_eq!(model["precision"], "float32");
    assert_eq!(model["nodes"]["CPUExecutionProvider"], 2);
    let ranks = &results["models"][0]["outcomes"]["rank"];
    assert_eq!(*ranks, serde_json::json!(Case::LABELS));
}

#[test]
#[cfg(target_os = "linux")]
fn no_telemetry_is_written() {
    let case = Case::new();
    let home = tempfile::tempdir().unwrap();
    let output = case
        .command(&[])
        .env("HOME", home.path())
        .env("TMPDIR", home.path())
        .current_dir(home.path())
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    // Where ONNX Runtime would store telemetry.
    let left: Vec<_> = fs::read_dir(home.path()).unwrap().collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn several_models_give_one_result_each() {
    let case = Case::new();
    fs::copy(case.path("model.onnx"), case.path("again.onnx")).unwrap();
    let pattern = case.path("ag*.onnx");
    let results = case.results(&["--model", pattern.to_str().unwrap()]);
    assert_eq!(correct(&results, 0), correct(&results, 1));
    let results = case.results(&["--model", case.folder.path().to_str().unwrap()]);
    let paths: Vec<&str> = (0..3)
        .map(|i| results["models"][i]["model"]["path"].as_str().unwrap())
        .map(|path| path.rsplit_once('/').unwrap().1)
        .collect();
    // The model passed first, and those in the folder.
    assert_eq!(paths, ["model.onnx", "again.onnx", "model.onnx"]);
    fs::remove_file(case.path("out.json")).unwrap();
    let error = case.error(&["--model", case.path("no*.onnx").to_str().unwrap()]);
    assert!(
        error.ends_with("no*.onnx contains no models: expected .onnx files"),
        "{error}"
    );
}

#[test]
fn runs_resume_and_shards_merge_to_the_whole() {
    let case = Case::new();
    let flags = ["--batch-size", "3", "--device", "cpu"];
    let outcomes = |results: &Value| results["models"][0]["outcomes"].clone();
    let metrics = |results: &Value| results["models"][0]["metrics"].clone();
    let whole = case.results(&flags);
    for others in [
        ["--batch-size", "1", "--sessions", "3"],
        ["--workers", "1", "--sessions", "1"],
    ] {
        let results = case.results(&others);
        assert_eq!(outcomes(&results), outcomes(&whole));
        assert_eq!(metrics(&results), metrics(&whole));
    }
    let mut parts = Vec::new();
    for shard in ["1/3", "2/3", "3/3"] {
        let results = case.results(&[&flags[..], &["--shard", shard]].concat());
        assert_eq!(results["complete"], true);
        let part = case.path(&shard.replace('/', "-"));
        fs::write(&part, serde_json::to_vec(&results).unwrap()).unwrap();
        parts.push(part);
    }
    let merged = case.path("merged.json");
    let classes = case.path("classes.csv");
    let merge = |parts: &[PathBuf], flags: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_topk-eval"));
        command.arg("merge").args(parts).arg("--json").arg(&merged);
        command.args(flags).output().unwrap()
    };
    let read = || -> Value { serde_json::from_slice(&fs::read(&merged).unwrap()).unwrap() };
    let output = merge(
        &parts,
        &["--metrics", "--class-csv", classes.to_str().unwrap()],
    );
    assert!(output.status.success());
    let table = String::from_utf8(output.stdout).unwrap();
    assert!(table.contains("adaptive ECE %"), "{table}");
    let classes = fs::read_to_string(&classes).unwrap();
    assert_eq!(classes.lines().count(), 1 + CLASSES);
    assert_eq!(outcomes(&read()), outcomes(&whole));
    assert_eq!(metrics(&read()), metrics(&whole));
    assert_eq!(read()["images"], whole["images"]);

    let output = merge(&parts[..2], &[]);
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(error.contains("4 of 10 images are missing"), "{error}");
    assert!(merge(&parts[..2], &["--allow-missing"]).status.success());
    assert_eq!(read()["complete"], false);
    fs::copy(&merged, case.path("out.json")).unwrap();
    let resumed = case.results(&[&flags[..], &["--resume"]].concat());
    assert_eq!(outcomes(&resumed), outcomes(&whole));
    assert_eq!(metrics(&resumed), metrics(&whole));
    assert_eq!(resumed["complete"], true);

    fs::copy(&merged, case.path("out.json")).unwrap();
    let other = ["--resume", "--mean", "0,0,0", "--std", "1,1,1"];
    let output = case.run(
        &[
            &flags[..],
            &other,
            &["--json", case.path("out.json").to_str().unwrap()],
        ]
        .concat(),
    );
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(
        error.contains("cannot resume ") && error.contains("out.json"),
        "{error}"
    );
    assert!(error.contains("mean"), "{error}");
    // The earlier results are unchanged.
    assert_eq!(
        fs::read(case.path("out.json")).unwrap(),
        fs::read(&merged).unwrap()
    );
}

#[test]
fn several_devices_give_the_results_of_one() {
    let case = Case::new();
    let one = case.results(&["--device", "cpu", "--batch-size", "3"]);
    for (devices, count) in [("cpu", 1), ("cpu,cpu", 2), ("cpu,cpu,cpu", 3)] {
        for flags in [&[][..], &["--in-flight", "2"], &["--sessions", "2"]] {
            let several = [&["--devices", devices, "--batch-size", "3"], flags].concat();
            let several = case.results(&several);
            let [one, several] = [&one, &several].map(|results| &results["models"][0]);
            for member in ["model", "metrics", "outcomes"] {
                assert_eq!(several[member], one[member], "{devices} {flags:?}");
            }
            let each = if flags.contains(&"--sessions") { 2 } else { 1 };
            assert_eq!(several["timing"]["sessions"], each * count);
        }
    }
    fs::remove_file(case.path("out.json")).unwrap();
    let output = case.run(&["--device", "cpu", "--devices", "cpu,cpu"]);
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(
        error.contains("cannot be used with '--devices <LIST>'"),
        "{error}"
    );
    let error = case.error(&["--devices", "0,cpu"]);
    assert!(
        error.starts_with("--devices lists GPUs and the CPU"),
        "{error}"
    );
    let error = case.error(&["--devices", "98,99"]);
    assert!(error.starts_with("cannot use provider cuda:98"), "{error}");
}

#[test]
fn errors_name_a_missing_model() {
    let case = Case::new();
    fs::remove_file(case.path("model.onnx")).unwrap();
    let error = case.error(&[]);
    assert!(error.starts_with("cannot read the model /"), "{error}");
    assert!(error.contains("model.onnx: No such file"), "{error}");
}

#[test]
fn files_that_are_not_onnx_models_are_rejected() {
    let case = Case::new();
    let whole = fs::read(case.path("model.onnx")).unwrap();
    for content in [&b""[..], b"not a model at all", &whole[..whole.len() / 2]] {
        fs::write(case.path("model.onnx"), content).unwrap();
        let error = case.error(&[]);
        assert!(error.contains("cannot load the ONNX model /"), "{error}");
    }
}

#[test]
fn models_that_are_not_image_classifiers_are_rejected() {
    let case = Case::new();
    case.write_model(
        &|| {
            let mut graph = GraphBuilder::new("two inputs");
            graph.input(
                "a",
                DataType::Float,
                &[Dim::Dynamic("batch"), Dim::Fixed(CLASSES)],
                "",
            );
            graph.input(
                "b",
                DataType::Float,
                &[Dim::Dynamic("batch"), Dim::Fixed(CLASSES)],
                "",
            );
            graph.node("Add", "sum", &["a", "b"], []);
            graph.output(
                "sum",
                DataType::Float,
                &[Dim::Dynamic("batch"), Dim::Fixed(CLASSES)],
                "",
            );
            graph.finish()
        },
        None,
    );
    assert!(
        case.error(&[])
            .contains(r#"expected 1 input, got 2 ["a", "b"]"#)
    );

    case.write_model(
        &|| {
            let mut graph = GraphBuilder::new("features");
            graph.input(
                "a",
                DataType::Float,
                &[Dim::Dynamic("batch"), Dim::Fixed(CLASSES)],
                "",
            );
            graph.node("Relu", "b", &["a"], []);
            graph.output(
                "b",
                DataType::Float,
                &[Dim::Dynamic("batch"), Dim::Fixed(CLASSES)],
                "",
            );
            graph.finish()
        },
        None,
    );
    let error = case.error(&[]);
    assert!(error.contains("expected `a` to be "), "{error}");
    assert!(
        error.contains(
            "[batch, 3, height, width] or [batch, height, width, 3], or 1 in place of 3 for grey images, of floating-point numbers or u8, got "
        ),
        "{error}"
    );
}

#[test]
fn a_model_with_other_classes_is_rejected() {
    let case = Case::new();
    let flags = ["--mean", "0,0,0", "--std", "1,1,1"];
    case.write_model(&linear(32, vec![0.0; 9]), None);
    let error = case.error(&flags);
    assert!(
        error.contains("has 9 classes but the data has 6"),
        "{error}"
    );

    let with_names = |names: Vec<String>| ModelCard {
        class_names: Some(names),
        ..card()
    };
    let mut names = class_names();
    names[4] = "other".to_owned();
    case.write_model(&in_order(), Some(&with_names(names)));
    let error = case.error(&[]);
    assert!(
        error.contains("the class `class 4`, which /")
            && error.contains("(its class 4 is `other`)"),
        "{error}"
    );

    let fewer = class_names()[1..].to_vec();
    case.write_model(&in_order(), Some(&with_names(fewer)));
    let error = case.error(&[]);
    assert!(
        error.contains("its metadata lists 5 classes, but its output has 6"),
        "{error}"
    );
}

#[test]
fn a_model_with_another_input_size_is_rejected() {
    let case = Case::new();
    case.write_model(&linear(16, vec![0.0; CLASSES]), None);
    let error = case.error(&["--mean", "0,0,0", "--std", "1,1,1"]);
    assert_eq!(
        error,
        "test.bin/00000 has 32x32 pixels (height x width) after preprocessing, but the model takes \
         16x16: pass --resize or --preset"
    );
    let flags = ["--mean", "0,0,0", "--std", "1,1,1", "--resize", "16"];
    assert_eq!(case.results(&flags)["data"]["images"], 10);
}

#[test]
fn fast_decoding_needs_models_with_the_same_preprocessing() {
    let case = Case::new();
    fs::copy(case.path("model.onnx"), case.path("again.onnx")).unwrap();
    case.write_model(&linear(16, vec![0.0; CLASSES]), None);
    let again = case.path("again.onnx");
    let flags = ["--model", again.to_str().unwrap(), "--fast"];
    let normalization = ["--mean", "0,0,0", "--std", "1,1,1", "--resize", "32"];
    let error = case.error(&[&flags[..], &normalization].concat());
    assert!(
        error.contains("--fast needs models with the same preprocessing"),
        "{error}"
    );
    assert!(
        error.contains("model.onnx and /") && error.contains("again.onnx separately"),
        "{error}"
    );
    case.write_model(&in_order(), None);
    let results = case.results(&[&flags[..], &normalization].concat());
    assert_eq!(
        results["models"][1]["model"]["preprocessing_settings"]["fast"],
        true
    );
}

#[test]
fn k_must_not_exceed_the_number_of_classes() {
    let case = Case::new();
    assert_eq!(
        case.error(&["--topk", "2,7"]),
        "--topk 7 is larger than the number of classes, 6"
    );
    let output = case.run(&["--topk", "0"]);
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(
        error.contains("invalid value '0' for '--topk <K,…>'"),
        "{error}"
    );
}

#[test]
fn errors_name_unreadable_records() {
    let case = Case::new();
    let records = fs::read(case.path("test.bin")).unwrap();
    fs::write(case.path("test.bin"), &records[..records.len() - 10]).unwrap();
    let error = case.error(&[]);
    assert!(
        error.contains("test.bin is truncated: 30730 bytes"),
        "{error}"
    );

    case.write_records(&[0, 6]);
    let error = case.error(&[]);
    assert!(
        error.contains("test.bin: record 1 has label 6, but there are 6 classes"),
        "{error}"
    );

    fs::remove_file(case.path("test.bin")).unwrap();
    let error = case.error(&[]);
    assert!(error.contains("is not a recognised data set"), "{error}");
}

#[test]
fn an_unknown_normalisation_is_an_error() {
    let case = Case::new();
    case.write_model(&in_order(), None);
    let error = case.error(&[]);
    assert!(
        error.contains("has no metadata on normalisation"),
        "{error}"
    );
    let error = case.error(&["--mean", "0.5,0.5,0.5", "--std", "0.2,0,0.2"]);
    assert!(error.contains("each std above 0"), "{error}");
    let output = case.run(&["--mean", "0.5,0.5,0.5", "--std", "0.2,0.2,0.2"]);
    assert!(output.status.success(), "{output:?}");
}

#[test]
fn nan_scores_are_errors_of_their_images() {
    let case = Case::new();
    let mut bias = vec![0.0; CLASSES];
    bias[3] = f32::NAN;
    case.write_model(&linear(32, bias), Some(&card()));
    // All images have NaN scores; whichever is ready first, the error names the first one.
    let error = case.error(&["--batch-size", "1"]);
    assert!(error.starts_with("1 image cannot be evaluated"), "{error}");
    assert!(error.contains("test.bin/00000: "), "{error}");
    assert!(
        error.contains("model.onnx: the score of class 3 is NaN"),
        "{error}"
    );
}

#[test]
fn a_missing_gpu_is_an_error() {
    let case = Case::new();
    let error = case.error(&["--device", "cuda:99"]);
    assert!(
        error.starts_with("cannot use provider cuda:99: "),
        "{error}"
    );
}

#[test]
fn the_evaluator_does_not_depend_on_libtorch() {
    let output = Command::new(env!("CARGO"))
        .args([
            "tree",
            "--package=topk-eval",
            "--edges=normal",
            "--prefix=none",
            "--locked",
        ])
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")))
        .output()
        .unwrap();
    let tree = String::from_utf8(output.stdout).unwrap();
    assert!(tree.contains("ort v"), "{tree}");
    assert!(
        !tree
            .lines()
            .any(|line| line.starts_with("torch-sys") || line.starts_with("tch "))
    );
}

/// Six class folders with two images each; the files in `bad` are damaged.
fn folders(case: &Case, bad: &[&str]) -> PathBuf {
    let images = Path::new(env!("CARGO_MANIFEST_DIR")).join("../data/image/tests/data/images");
    let good = [
        fs::read(images.join("444.jpg")).unwrap(),
        fs::read(images.join("420.jpg")).unwrap(),
    ];
    let root = case.path("images");
    for (class, name) in class_names().iter().enumerate() {
        let folder = root.join(name);
        fs::create_dir_all(&folder).unwrap();
        for (i, good) in good.iter().enumerate() {
            let file = format!("{class}-{i}.jpg");
            let bytes = match bad.contains(&&*file) {
                true => &good[..good.len() / 2],
                false => good,
            };
            fs::write(folder.join(file), bytes).unwrap();
        }
    }
    root
}

#[test]
fn unreadable_images_are_listed_counted_or_skipped() {
    let case = Case::new();
    let root = folders(&case, &["0-1.jpg", "3-0.jpg"]);
    let flags = [
        "--data",
        root.to_str().unwrap(),
        "--resize",
        "32",
        "--topk",
        "1",
    ];
    let error = case.error(&flags);
    let lines: Vec<&str> = error.lines().collect();
    assert_eq!(lines.len(), 3, "{error}");
    assert!(
        lines[0].starts_with(
            "2 images cannot be evaluated (use --on-bad-image count-wrong or skip to evaluate the"
        ),
        "{error}"
    );
    assert!(lines[1].starts_with("  class 0/0-1.jpg: "), "{error}");
    assert!(lines[2].starts_with("  class 3/3-0.jpg: "), "{error}");

    // The model takes every image for class 0.
    for (policy, images) in [("count-wrong", 12), ("skip", 10)] {
        let results = case.results(&[&flags[..], &["--on-bad-image", policy]].concat());
        assert_eq!(correct(&results, 0), [(1, 1)], "{policy}");
        let metrics = &results["models"][0]["metrics"];
        assert_eq!(metrics["images"], images, "{policy}");
        assert_eq!(metrics["failed"], 2, "{policy}");
        assert_eq!(
            results["failures"][1]["name"], "class 3/3-0.jpg",
            "{policy}"
        );
        assert_eq!(results["settings"]["failures"], policy);
        assert_eq!(results["complete"], true);
    }
}

#[test]
fn every_kind_of_result_is_written() {
    let case = Case::new();
    let root = folders(&case, &[]);
    let path = |name: &str| case.path(name).to_str().unwrap().to_owned();
    let results = case.results(&[
        "--data",
        root.to_str().unwrap(),
        "--resize",
        "40",
        "--crops",
        "ten",
        "--loss-topk",
        "2",
        "--html",
        &path("a.html"),
        "--csv",
        &path("a.csv"),
        "--class-csv",
        &path("classes.csv"),
        "--confusion-csv",
        &path("confusion.csv"),
        "--predictions",
        &path("b.csv"),
        "--paper-table",
        &path("a.txt"),
    ]);
    let model = &results["models"][0];
    assert_eq!(model["model"]["crops"], "probs");
    assert!(model["metrics"]["topk_loss"].is_f64(), "{model}");
    assert_eq!(correct(&results, 0), [(1, 2), (5, 10)]);
    let read = |name: &str| fs::read_to_string(case.path(name)).unwrap();
    let html = read("a.html");
    // Ten mistakes, each shown.
    assert_eq!(html.matches("data:image/png;base64,").count(), 10);
    assert!(html.contains("class 3/3-0.jpg"));
    assert_eq!(read("a.csv").lines().count(), 2);
    assert_eq!(read("classes.csv").lines().count(), 1 + CLASSES);
    // The model predicts class 0 for every image.
    assert_eq!(read("confusion.csv").lines().count(), 1 + CLASSES);
    assert_eq!(read("b.csv").lines().count(), 13);
    assert!(
        read("a.txt").contains("0.16666666666666666"),
        "{}",
        read("a.txt")
    );

    fs::remove_file(case.path("out.json")).unwrap();
    let error = case.error(&["--predictions", &path("b.txt")]);
    assert!(
        error.ends_with("b.txt: expected a file name that ends in .csv or .parquet"),
        "{error}"
    );
    let error = case.error(&["--html", &path("nowhere/a.html")]);
    assert!(
        error.contains("nowhere/a.html: No such file or directory"),
        "{error}"
    );
}

#[test]
fn two_results_are_compared() {
    let case = Case::new();
    fs::copy(case.path("model.onnx"), case.path("in_order.onnx")).unwrap();
    let reverse = (0..CLASSES).map(|class| class as f32).collect();
    case.write_model(&linear(32, reverse), Some(&card()));
    let in_order = case.path("in_order.onnx");
    case.results(&["--model", in_order.to_str().unwrap()]);
    let compare = |flags: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_topk-eval"));
        command
            .arg("compare")
            .arg(case.path("out.json"))
            .args(flags);
        command.output().unwrap()
    };
    let output = compare(&[]);
    let table = String::from_utf8(output.stdout).unwrap();
    // 2 images of class 5 are correct before, 3 of class 0 after.
    let row = table
        .lines()
        .find(|line| line.starts_with("top-1"))
        .unwrap();
    let words: Vec<&str> = row.split_whitespace().collect();
    assert_eq!(words[1..4], ["20.00", "30.00", "+10.00"], "{table}");
    assert_eq!(
        words[words.len() - 3..words.len() - 1],
        ["2", "3"],
        "{table}"
    );
    // They rank the images of other classes than the middle ones differently.
    let output = compare(&["--same-ranks"]);
    assert_eq!(output.status.code(), Some(1));
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(
        error.contains("the true class has another rank in 10 of 10 images"),
        "{error}"
    );
    let output = compare(&["--models", "1,1", "--same-ranks"]);
    assert!(output.status.success(), "{output:?}");
    let error = compare(&["--models", "1,3"]).stderr;
    let error = String::from_utf8(error).unwrap();
    assert!(error.contains("out.json"), "{error}");
}
