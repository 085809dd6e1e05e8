//! Names of classes from a file.

use std::fs;

use serde_json::json;

use super::{CLASSES, Case, in_order};

/// Flags for a model without metadata.
const FOREIGN: [&str; 4] = ["--mean", "0,0,0", "--std", "1,1,1"];

#[test]
fn class_names_of_a_file_are_in_the_results() {
    let case = Case::new();
    case.write_model(&in_order(), None);
    let names = case.path("names.json");
    let index: serde_json::Map<_, _> = (0..CLASSES)
        .map(|i| {
            (
                i.to_string(),
                json!([format!("n0000000{i}"), format!("kind {i}")]),
            )
        })
        .collect();
    fs::write(&names, serde_json::to_vec(&index).unwrap()).unwrap();
    let html = case.path("out.html");
    let results = case.results(
        &[
            &FOREIGN[..],
            &["--class-names", names.to_str().unwrap()],
            &["--html", html.to_str().unwrap()],
        ]
        .concat(),
    );
    assert_eq!(results["class_names"][4], "kind 4");
    assert_eq!(results["wnids"][4], "n00000004");
    // The model takes class 4 for class 0.
    let html = fs::read_to_string(html).unwrap();
    assert!(html.contains("<td>kind 4</td><td>kind 0</td>"));
    assert!(html.contains("4: kind 4 (n00000004)"));
}

#[test]
fn class_names_that_do_not_match_are_rejected() {
    let case = Case::new();
    case.write_model(&in_order(), None);
    let names = case.path("names.txt");
    let flags = [&FOREIGN[..], &["--class-names", names.to_str().unwrap()]].concat();
    fs::write(&names, "a\nb\nc\n").unwrap();
    let error = case.error(&flags);
    assert!(error.contains("names.txt has 3 names, but /"), "{error}");
    assert!(error.ends_with("model.onnx has 6 classes"), "{error}");

    fs::write(&names, "a\nclass 0\nb\nc\nd\ne\n").unwrap();
    let error = case.error(&flags);
    assert!(
        error.contains("the class `class 1`, which /") && error.contains("names.txt does not name"),
        "{error}"
    );
    fs::remove_file(&names).unwrap();
    let error = case.error(&flags);
    assert!(error.contains("names.txt: No such file"), "{error}");
}
