//! Result files, whole and hostile.

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
    results.finish().unwrap()
}

/// What reading a file with this text says.
fn refused(text: &str) -> String {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("r.json");
    fs::write(&path, text).unwrap();
    let message = Results::read(&path).unwrap_err().to_string();
    assert!(message.contains("r.json"), "{message}");
    message
}

#[test]
fn what_was_written_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("r.json");
    let results = results();
    results.save(&path).unwrap();
    let read = Results::read(&path).unwrap();
    assert_eq!(read, results);
    assert_eq!(read.to_json(), fs::read_to_string(&path).unwrap());
}

#[test]
fn fifty_thousand_images_take_few_megabytes() {
    let size = Size {
        images: 50_000,
        classes: 20,
    };
    let bytes = run(size, &SKILLS[..1], None).to_json().len();
    assert!(bytes < 6_000_000, "{bytes}");
}

#[test]
fn a_truncated_file_is_refused() {
    let text = results().to_json();
    for end in [0, 1, text.len() / 3, text.len() / 2, text.len() - 3] {
        let message = refused(&text[..end]);
        assert!(
            message.contains("is not a result file of topk-eval, or is damaged"),
            "{message}"
        );
    }
    assert!(refused("{}").contains("missing field `format`"));
    assert!(refused(&"[".repeat(100_000)).contains("invalid type: sequence"));
}

#[test]
fn a_newer_format_is_refused_before_anything_else() {
    let message = refused(r#"{"format": 2, "something": "new"}"#);
    assert!(
        message.contains("has format 2, this topk-eval reads up to 1"),
        "{message}"
    );
    assert!(refused(r#"{"format": -1}"#).contains("damaged"));
}

#[test]
fn contradictions_are_named() {
    let whole: Value = serde_json::from_str(&results().to_json()).unwrap();
    let changes: [(&str, &str, &str); 26] = [
        (
            "/images/names",
            "[]",
            "places, names and labels of images are [30, 0, 30]",
        ),
        (
            "/models/0/outcomes/confidence",
            "[0.5]",
            "[30, 30, 1, 30, 30] entries long",
        ),
        (
            "/models/0/outcomes/rank/0",
            "null",
            "outcome 0 is null in some arrays",
        ),
        (
            "/models/0/outcomes/rank/0",
            "8",
            "its rank is not below the number of classes",
        ),
        (
            "/models/0/outcomes/predicted/0",
            "8",
            "its prediction is not a class",
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
            "its cross-entropy is not",
        ),
        (
            "/models/0/outcomes/cross_entropy/0",
            "1e999",
            "number out of range",
        ),
        (
            "/models/0/outcomes/topk_loss",
            "null",
            "it has a top-k loss where the settings have none",
        ),
        (
            "/models/0/outcomes/tied",
            "[30]",
            "tied names outcome 30, which there is not",
        ),
        (
            "/models/0/outcomes/tied",
            "[3, 3]",
            "tied names outcome 3, which there is not, or twice",
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
            "`metrics` of models/resnet18-ce/bestk.onnx is not what",
        ),
        (
            "/models/0/timing/seconds",
            "-1",
            "a time of models/resnet18-ce/bestk.onnx is -1",
        ),
        (
            "/complete",
            "false",
            "`complete` is not what the outcomes give",
        ),
        (
            "/images/labels/0",
            "8",
            "a label of image `ILSVRC2012_val_00000001.JPEG` is 8, which is not in 0..8",
        ),
        (
            "/images/places/1",
            "0",
            "places of images must be in ascending order, but 0 follows 0",
        ),
        ("/data/images", "29", "is 29, which is not in 0..29"),
        (
            "/data/classes",
            "1000000000000",
            "class_names: 8 entries, expected 1000000000000",
        ),
        (
            "/failures",
            "[]",
            "has no outcome for `ILSVRC2012_val_00000012.JPEG`, which was read",
        ),
        (
            "/failures/0/place",
            "3",
            "has an outcome for `ILSVRC2012_val_00000004.JPEG`, which could not be read",
        ),
        (
            "/settings/topk",
            "[1, 9]",
            "2 k for top-k accuracy, the first 9: name 1 to 100",
        ),
        (
            "/settings/loss/tau",
            "0",
            "tau (temperature) must be a finite number above 0, got 0",
        ),
        (
            "/shard",
            r#"{"index": 0, "count": 0}"#,
            "shard 0 of 0: shards are counted from 1",
        ),
    ];
    for (place, value, expected) in changes {
        let mut changed = whole.clone();
        *changed.pointer_mut(place).unwrap() = Value::String("HERE".to_owned());
        let text = changed.to_string().replace("\"HERE\"", value);
        let message = refused(&text);
        assert!(message.contains(expected), "{place}: {message}");
    }
    let mut unknown = whole.clone();
    unknown["extra"] = 1.into();
    assert!(refused(&unknown.to_string()).contains("unknown field `extra`"));
}

#[test]
fn nothing_that_could_not_be_read_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("r.json");
    let mut results = results();
    results.models[0].outcomes[0]
        .as_mut()
        .unwrap()
        .cross_entropy = f64::NAN;
    let message = results.save(&path).unwrap_err().to_string();
    assert!(
        message.contains("its cross-entropy is not a finite number"),
        "{message}"
    );
    assert!(!path.exists());
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let message = Results::read(&folder.path().join("none.json"))
        .unwrap_err()
        .to_string();
    assert!(
        message.starts_with("cannot read ") && message.contains("none.json"),
        "{message}"
    );
}
