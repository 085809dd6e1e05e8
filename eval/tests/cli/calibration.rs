//! Logits, temperature scaling and prediction sets.

use std::fs;
use std::process::{Command, Output};

use serde_json::Value;
use topk_onnx::proto::{DataType, GraphProto};
use topk_onnx::{Dim, GraphBuilder, attribute};

use super::case::{CLASSES, Case, RECORD, card, in_order, noise};

const IMAGES: usize = 90;

/// A linear classifier with random weights.
pub(super) fn random(classes: usize) -> GraphProto {
    let features = 3 * 32 * 32;
    let mut graph = GraphBuilder::new("random");
    let (batch, side) = (Dim::Dynamic("batch"), Dim::Fixed(32));
    graph.input(
        "input",
        DataType::Float,
        &[batch, Dim::Fixed(3), side, side],
        "",
    );
    let weights: Vec<f32> = noise(classes * features, 5)
        .iter()
        .map(|weight| 0.05 * weight)
        .collect();
    graph.initializer("weight", &[classes, features], &weights);
    graph.node("Flatten", "flat", &["input"], [attribute::int("axis", 1)]);
    graph.node(
        "Gemm",
        "logits",
        &["flat", "weight"],
        [attribute::int("transB", 1)],
    );
    graph.output("logits", DataType::Float, &[batch, Dim::Fixed(classes)], "");
    graph.finish()
}

pub(super) fn random_case() -> Case {
    let case = Case::new();
    let mut records = Vec::new();
    for (i, pixels) in noise(IMAGES * (RECORD - 2), 1)
        .chunks(RECORD - 2)
        .enumerate()
    {
        records.extend([0, (i % CLASSES) as u8]);
        records.extend(pixels.iter().map(|pixel| (127.0 * pixel + 128.0) as u8));
    }
    fs::write(case.path("test.bin"), records).unwrap();
    case.write_model(&|| random(CLASSES), Some(&card()));
    case
}

fn topk_eval(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_topk-eval"))
        .args(args)
        .output()
        .unwrap()
}

#[test]
fn half_of_the_images_calibrate_the_model() {
    let case = random_case();
    let plain = case.results(&[]);
    let calibrated = case.results(&["--calibrate", "--coverage", "0.8,0.5"]);
    let [before, after] = [&plain, &calibrated].map(|results| &results["models"][0]);
    assert_eq!(before["outcomes"], after["outcomes"]);
    assert_eq!(before["metrics"], after["metrics"]);
    assert!(before.get("calibration").is_none());
    let calibration = &after["calibration"];
    assert_eq!(
        (
            calibration["fitted_on"].as_u64(),
            calibration["images"].as_u64()
        ),
        (Some(45), Some(45))
    );
    let [scaled, unscaled] =
        ["after", "before"].map(|when| calibration[when]["nll"]["value"].as_f64().unwrap());
    // The model knows nothing, and is sure of it only after scaling.
    assert!(scaled < unscaled, "{scaled} {unscaled}");
    let sets = calibration["sets"].as_array().unwrap();
    assert_eq!(sets.len(), 8);
    for sets in sets {
        let part = |name: &str| sets[name].as_f64().unwrap();
        let coverage = sets["coverage"]["value"].as_f64().unwrap();
        assert!(coverage > part("target") - 0.25, "{sets}");
        assert!(part("max") <= CLASSES as f64);
    }
}

#[test]
fn logits_of_shards_give_the_calibration_of_the_whole() {
    let case = random_case();
    let whole = case.results(&["--calibrate"]);
    let files = ["1/2", "2/2"].map(|shard| {
        let file = case.path(&format!("logits-{}.npz", &shard[..1]));
        let path = file.to_str().unwrap().to_owned();
        case.results(&["--shard", shard, "--logits", &path]);
        path
    });
    let json = case.path("calibration.json");
    let [first, second] = &files;
    let output = topk_eval(&["calibrate", second, first, "--json", json.to_str().unwrap()]);
    assert!(output.status.success(), "{output:?}");
    let found: Value = serde_json::from_slice(&fs::read(&json).unwrap()).unwrap();
    assert_eq!(found, whole["models"][0]["calibration"]);
    let output = topk_eval(&["calibrate", first, first]);
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(
        error.contains("has image 0, which another file or row has too"),
        "{error}"
    );
}

#[test]
fn calibration_is_compared_and_in_the_table() {
    let case = random_case();
    let [csv, first, second, other] =
        ["out.csv", "1.json", "2.json", "3.json"].map(|name| case.path(name));
    let path = |path: &std::path::Path| path.to_str().unwrap().to_owned();
    let run = |json: &std::path::Path, coverage: &str| {
        let flags = [
            "--calibrate",
            "--coverage",
            coverage,
            "--csv",
            &path(&csv),
            "--json",
            &path(json),
        ];
        let output = case.run(&flags);
        assert!(output.status.success(), "{output:?}");
    };
    run(&first, "0.8");
    let results: Value = serde_json::from_slice(&fs::read(&first).unwrap()).unwrap();
    let calibration = &results["models"][0]["calibration"];
    let mut reader = csv::Reader::from_path(&csv).unwrap();
    let titles = reader.headers().unwrap().clone();
    let row = reader.records().next().unwrap().unwrap();
    let field = |title: &str| -> f64 {
        let at = titles.iter().position(|known| known == title).expect(title);
        row[at].parse().unwrap()
    };
    assert_eq!(calibration["temperature"]["value"], field("temperature"));
    assert_eq!(
        calibration["after"]["ece"]["value"],
        field("half_ece_scaled")
    );
    let sets = calibration["sets"].as_array().unwrap();
    let lac = sets.iter().find(|sets| sets["method"] == "lac").unwrap();
    assert_eq!(lac["size"]["value"], field("lac_0.8_size"));

    run(&second, "0.8");
    run(&other, "0.9");
    let compare = |after: &std::path::Path| {
        let json = case.path("comparison.json");
        let output = topk_eval(&[
            "compare",
            &path(&first),
            &path(after),
            "--json",
            &path(&json),
        ]);
        assert!(output.status.success(), "{output:?}");
        let text = String::from_utf8(output.stdout).unwrap();
        let json: Value = serde_json::from_slice(&fs::read(json).unwrap()).unwrap();
        (text, json)
    };
    let (text, json) = compare(&second);
    assert!(
        text.contains("NLL, scaled") && text.contains("LAC sets at 80 %, size"),
        "{text}"
    );
    assert_eq!(json["calibration"]["before"], *calibration);
    let (text, json) = compare(&other);
    assert!(text.contains("and is not compared"), "{text}");
    assert!(json.get("calibration").is_none());
}

#[test]
fn files_of_logits_give_the_same_calibration() {
    let case = random_case();
    let json = case.path("calibration.json");
    for name in ["logits.npz", "logits.safetensors", "logits.parquet"] {
        let logits = case.path(name);
        let logits = logits.to_str().unwrap();
        let results = case.results(&["--calibrate", "--logits", logits, "--batch-size", "7"]);
        let output = topk_eval(&["calibrate", logits, "--json", json.to_str().unwrap()]);
        assert!(output.status.success(), "{output:?}");
        let found: Value = serde_json::from_slice(&fs::read(&json).unwrap()).unwrap();
        assert_eq!(found, results["models"][0]["calibration"]);
        let printed = String::from_utf8(output.stdout).unwrap();
        let words: Vec<&str> = printed.split_whitespace().collect();
        assert!(
            words
                .join(" ")
                .contains("fitted on 45 images; measured on the other 45 images"),
            "{printed}"
        );
        assert!(
            printed.lines().all(|line| line.chars().count() <= 80),
            "{printed}"
        );
    }
}

#[test]
fn classes_that_may_not_be_predicted_are_masked() {
    let case = random_case();
    let valid = case.path("valid.txt");
    fs::write(&valid, "1\n3\n4\n").unwrap();
    let logits = case.path("logits.npz");
    let flags = [
        "--calibrate",
        "--topk",
        "2",
        "--valid-labels",
        valid.to_str().unwrap(),
    ];
    let results = case.results(&[&flags[..], &["--logits", logits.to_str().unwrap()]].concat());
    let calibration = &results["models"][0]["calibration"];
    assert_eq!(calibration["fitted_on"], 22);
    let sets = calibration["sets"].as_array().unwrap();
    assert!(
        sets.iter()
            .all(|sets| sets["threshold"].is_null() || sets["max"].as_u64() <= Some(3)),
        "{sets:?}"
    );
}

#[test]
fn each_model_has_its_file_of_logits() {
    let case = random_case();
    fs::copy(case.path("model.onnx"), case.path("again.onnx")).unwrap();
    let (again, logits) = (case.path("again.onnx"), case.path("logits.npz"));
    case.results(&[
        "--model",
        again.to_str().unwrap(),
        "--logits",
        logits.to_str().unwrap(),
    ]);
    let [first, second] =
        ["logits-model.npz", "logits-again.npz"].map(|name| fs::read(case.path(name)).unwrap());
    assert_eq!(first, second);
    assert!(!logits.exists());
}

#[test]
fn what_cannot_be_calibrated_is_an_error() {
    let case = random_case();
    assert!(
        case.error(&["--calibrate", "--coverage", "90"])
            .contains("a coverage must be above 0 and below 1")
    );
    assert!(
        case.error(&["--raps-k", "3"])
            .contains("have no effect without --calibrate")
    );
    assert!(
        case.error(&["--logits", "logits.csv"])
            .contains("ends in .npz, .safetensors or .parquet")
    );
    assert!(
        case.error(&["--calibrate", "--resume"])
            .contains("--calibrate with --resume needs --logits")
    );
    case.write_records(&[1]);
    assert!(
        case.error(&["--calibrate"])
            .contains("calibration needs at least 2 images")
    );
    let output = topk_eval(&["calibrate", case.path("model.onnx").to_str().unwrap()]);
    assert!(
        String::from_utf8(output.stderr)
            .unwrap()
            .contains("ends in .npz, .safetensors or .parquet")
    );
}

#[test]
fn a_finished_run_without_what_is_requested_is_not_resumed() {
    let case = random_case();
    case.results(&[]);
    let json = case.path("out.json");
    let logits = case.path("logits.npz");
    let resume = |flags: &[&str]| {
        let output = case.run(&[flags, &["--resume", "--json", json.to_str().unwrap()]].concat());
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        String::from_utf8(output.stderr).unwrap()
    };
    let logits = ["--logits", logits.to_str().unwrap()];
    let error = resume(&logits);
    assert!(error.contains("logits.npz does not exist"), "{error}");
    let error = resume(&[&logits[..], &["--calibrate"]].concat());
    assert!(error.contains("by a run without --calibrate"), "{error}");
}

#[test]
fn merged_results_have_the_calibration_of_a_single_run() {
    let case = random_case();
    let coverage = ["--calibrate", "--coverage", "0.8"];
    let whole = case.results(&coverage);
    let mut parts = Vec::new();
    for shard in ["2/2", "1/2"] {
        let [json, logits] = ["json", "parquet"].map(|extension| {
            let path = case.path(&format!("{}.{extension}", &shard[..1]));
            path.to_str().unwrap().to_owned()
        });
        let results = case.results(&["--calibrate", "--shard", shard, "--logits", logits.as_str()]);
        assert_eq!(results["models"][0]["calibration"]["images"], 23);
        fs::write(&json, serde_json::to_vec(&results).unwrap()).unwrap();
        parts.push((json, logits));
    }
    let [(second, second_logits), (first, first_logits)] = &parts[..] else {
        unreachable!("there are two parts");
    };
    let merge = |flags: &[&str]| {
        let output = topk_eval(&[&["merge", first.as_str(), second], flags].concat());
        let [stdout, stderr] =
            [output.stdout, output.stderr].map(|text| String::from_utf8(text).unwrap());
        (output.status.success(), stdout, stderr)
    };
    let (merged, _, warned) = merge(&[]);
    let left_out = "the calibration and the mAP that the results have are left out";
    assert!(merged && warned.contains(left_out), "{warned}");

    let json = case.path("merged.json");
    let json = json.to_str().unwrap();
    let logits = ["--logits", second_logits, first_logits];
    let flags = [&logits[..], &["--json", json], &coverage[1..]].concat();
    let (merged, printed, warned) = merge(&flags);
    assert!(merged && warned.is_empty(), "{warned}");
    assert!(printed.contains("fitted on 45 images"), "{printed}");
    let results: Value = serde_json::from_slice(&fs::read(json).unwrap()).unwrap();
    assert_eq!(
        results["models"][0]["calibration"],
        whole["models"][0]["calibration"]
    );

    let refused = |flags: &[&str], expected: &str| {
        let (merged, _, error) = merge(flags);
        assert!(!merged && error.contains(expected), "{error}");
    };
    refused(
        &["--coverage", "0.5"],
        "have no effect without --logits: add it",
    );
    refused(&["--logits", first_logits], "pass the files of all parts");
    let output = topk_eval(&["merge", first, "--allow-missing", "--logits", first_logits]);
    assert!(output.status.success(), "a shard is complete: {output:?}");
    // Logits of another model.
    case.write_model(&in_order(), Some(&card()));
    for (shard, file) in [("1/2", first_logits), ("2/2", second_logits)] {
        case.results(&["--shard", shard, "--logits", file]);
    }
    refused(&logits, "predict another class than the merged results");
}

#[test]
fn results_are_compared_with_their_logits() {
    let case = random_case();
    let [first, second] = [("first", "npz"), ("second", "parquet")].map(|(name, format)| {
        let [json, logits] =
            ["json", format].map(|extension| case.path(&format!("{name}.{extension}")));
        let results = case.results(&["--logits", logits.to_str().unwrap()]);
        fs::write(&json, serde_json::to_vec(&results).unwrap()).unwrap();
        [json, logits].map(|path| path.to_str().unwrap().to_owned())
    });
    let output = topk_eval(&[
        "compare", &first[0], &second[0], "--logits", &first[1], &second[1],
    ]);
    let printed = String::from_utf8(output.stdout).unwrap();
    assert!(
        printed.contains("logits differ by at most 0.000e0"),
        "{printed}"
    );

    case.write_records(&[1, 2]);
    let json = case.path("third.json");
    let results = case.results(&[]);
    fs::write(&json, serde_json::to_vec(&results).unwrap()).unwrap();
    let json = json.to_str().unwrap();
    let output = topk_eval(&["compare", json, json, "--logits", &first[1], &second[1]]);
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(
        error.contains("has the logits of 90 images, but the results have 2 in common"),
        "{error}"
    );
}
