//! Valid and invalid result files.

mod synthetic;

use std::fs;

use serde_json::Value;
use synthetic::{SKILLS, Size, run};
use topk_results::Results;

fn results() -> Results {
    let size = Size {
        images: 30,
        classes: 8,
    };
    let mut results = run(size, &SKILLS[..2], None);
    results.images[4].labels = vec![2, 5];
    let outcome = results.models[1].outcomes[7].as_mut().unwrap();
    outcome.tied = true;
    outcome.cross_entropy = f64::MIN_POSITIVE;
    results.recompute().unwrap()
}

/// The error of reading a file with this text.
fn refused(text: &str) -> String {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("r.json");
    fs::write(&path, text).unwrap();
    let message = Results::read(&path).unwrap_err().to_string();
    assert!(message.contains("r.json"), "{message}");
    message
}

#[test]
fn files_are_read_back_unchanged() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("r.json");
    let results = results();
    results.save(&path).unwrap();
    let read = Results::read(&path).unwrap();
    assert_eq!(read, results);
    assert_eq!(read.to_json(), fs::read_to_string(&path).unwrap());
}

#[test]
fn fifty_thousand_images_take_less_than_6_mb() {
    let size = Size {
        images: 50_000,
        classes: 20,
    };
    let bytes = run(size, &SKILLS[..1], None).to_json().len();
    assert!(bytes < 6_000_000, "{bytes}");
}

#[test]
fn a_truncated_file_is_an_error() {
    let text = results().to_json();
    for end in [1, text.len() / 3, text.len() / 2, text.len() - 3] {
        let message = refused(&text[..end]);
        assert!(
            message.contains("is not a topk-eval result file, or is damaged"),
            "{message}"
        );
    }
    assert!(refused("<!DOCTYPE html><html>").contains("r.json is an HTML page"));
    assert!(refused("").contains("r.json is empty"));
    assert!(refused("{}").contains("missing field `format`"));
    assert!(refused(&"[".repeat(100_000)).contains("invalid type: sequence"));
}

#[test]
fn a_newer_format_is_reported_before_other_errors() {
    let message = refused(r#"{"format": 2, "something": "new"}"#);
    assert!(
        message.contains("has format 2, but this topk-eval reads formats up to 1"),
        "{message}"
    );
    assert!(refused(r#"{"format": -1}"#).contains("damaged"));
}

#[test]
fn errors_name_contradictions() {
    let mut whole: Value = serde_json::from_str(&results().to_json()).unwrap();
    whole["subset"] = Value::Null;
    let changes: [(&str, &str, &str); 33] = [
        (
            "/images/names",
            "[]",
            "indices, names, labels and groups of images are [30, 0, 30, 30]",
        ),
        (
            "/models/0/outcomes/confidence",
            "[0.5]",
            "[30, 30, 1, 30, 30, 30, 30] entries long",
        ),
        (
            "/models/0/outcomes/rank/0",
            "null",
            "outcome 0 is null in some arrays",
        ),
        (
            "/models/0/outcomes/rank/0",
            "8",
            "its rank is not below the number of valid classes",
        ),
        (
            "/models/0/outcomes/predicted/0",
            "8",
            "its prediction is not a valid class",
        ),
        (
            "/models/0/outcomes/predicted/0",
            "-1",
            "invalid value: integer `-1`",
        ),
        (
            "/models/0/outcomes/confidence/0",
            "1.5",
            "its confidence is not in 0..1",
        ),
        (
            "/models/0/outcomes/cross_entropy/0",
            "-1.0",
            "its cross-entropy is negative or not finite",
        ),
        (
            "/models/0/outcomes/cross_entropy/0",
            "1e999",
            "number out of range",
        ),
        (
            "/models/0/outcomes/brier/0",
            "2.5",
            "its Brier score is not in 0..2",
        ),
        (
            "/models/0/outcomes/brier/11",
            "0.5",
            "outcome 11 is null in some arrays",
        ),
        (
            "/models/0/metrics/coverage/1/images",
            "3",
            "`metrics` of models/resnet18-ce/bestk.onnx does not match",
        ),
        (
            "/models/0/outcomes/topk_loss",
            "null",
            "it has a top-k loss without one in the settings, or lacks it",
        ),
        (
            "/models/0/outcomes/tied",
            "[30]",
            "tied has index 30, which is out of range",
        ),
        (
            "/models/0/outcomes/tied",
            "[3, 3]",
            "tied has index 3, which is out of range",
        ),
        (
            "/models/0/outcomes/best",
            r#"{"count": 1e3, "classes": [], "probabilities": []}"#,
            "damaged",
        ),
        (
            "/models/0/outcomes/best",
            r#"{"count": 18446744073709551615, "classes": [], "probabilities": []}"#,
            "expected 29 outcomes",
        ),
        (
            "/models/0/metrics/topk/0/correct",
            "29",
            "`metrics` of models/resnet18-ce/bestk.onnx does not match",
        ),
        (
            "/models/0/timing/seconds",
            "-1",
            "a time of models/resnet18-ce/bestk.onnx must be in 0.., got -1",
        ),
        (
            "/complete",
            "false",
            "`complete` does not match the outcomes",
        ),
        (
            "/images/labels/0",
            "8",
            "a label of image `ILSVRC2012_val_00000001.JPEG` must be in 0..8, got 8",
        ),
        (
            "/images/indices/1",
            "0",
            "indices of images must be in ascending order, but 0 follows 0",
        ),
        ("/data/images", "29", "must be in 0..29, got 29"),
        (
            "/data/classes",
            "1000000000000",
            "class_names: expected 1000000000000 entries, got 8",
        ),
        (
            "/failures",
            "[]",
            "has no outcome for `ILSVRC2012_val_00000012.JPEG`, which was read",
        ),
        (
            "/failures/0/index",
            "3",
            "has an outcome for `ILSVRC2012_val_00000004.JPEG`, which could not be evaluated",
        ),
        (
            "/settings/topk",
            "[1, 9]",
            "expected 1 to 100 values of k, each from 1 to 8 (the number of valid classes), got 2 with k = 9",
        ),
        (
            "/settings/loss/tau",
            "0",
            "tau (temperature) must be a finite number above 0, got 0",
        ),
        (
            "/shard",
            r#"{"index": 0, "count": 0}"#,
            "shard 0 of 0 does not exist: shards are numbered from 1",
        ),
        (
            "/subset",
            r#"{"images": 2, "seed": 0, "indices": [1]}"#,
            "indices of the subset: expected 2 entries, got 1",
        ),
        (
            "/subset",
            r#"{"images": 2, "seed": 0, "indices": [2, 1]}"#,
            "indices of the subset must be in ascending order, but 1 follows 2",
        ),
        (
            "/subset",
            r#"{"images": 1, "seed": 0, "indices": [100000]}"#,
            "an index of the subset must be in 0..",
        ),
        (
            "/subset",
            r#"{"images": 1, "seed": 0, "indices": [1]}"#,
            "must be in the subset, got 0",
        ),
    ];
    for (index, value, expected) in changes {
        let mut changed = whole.clone();
        *changed.pointer_mut(index).unwrap() = Value::String("HERE".to_owned());
        let text = changed.to_string().replace("\"HERE\"", value);
        let message = refused(&text);
        assert!(message.contains(expected), "{index}: {message}");
    }
}

/// Other versions may have more fields, lack some, and compute other metrics.
#[test]
fn files_of_other_versions_are_read() {
    let results = results();
    let mut other: Value = serde_json::from_str(&results.to_json()).unwrap();
    other["topk_eval"] = "0.0.1".into();
    other["extra"] = 1.into();
    other["models"][0]["model"]["extra"] = 1.into();
    other["models"][0]["metrics"]["cross_entropy"] = 0.5.into();
    let timing = other["models"][0]["timing"].as_object_mut().unwrap();
    timing.remove("sessions").unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("r.json");
    fs::write(&path, other.to_string()).unwrap();
    let read = Results::read(&path).unwrap();
    assert_eq!(read.models[0].metrics, results.models[0].metrics);
    assert_eq!(read.models[0].timing.sessions, None);
}

#[test]
fn invalid_results_are_not_written() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("r.json");
    let mut results = results();
    results.models[0].outcomes[0]
        .as_mut()
        .unwrap()
        .cross_entropy = f64::NAN;
    let message = results.save(&path).unwrap_err().to_string();
    assert!(
        message.contains("its cross-entropy is negative or not finite"),
        "{message}"
    );
    assert!(!path.exists());
}

#[test]
fn errors_name_a_missing_file() {
    let folder = tempfile::tempdir().unwrap();
    let message = Results::read(&folder.path().join("none.json"))
        .unwrap_err()
        .to_string();
    assert!(
        message.starts_with("cannot read ") && message.contains("none.json"),
        "{message}"
    );
}
