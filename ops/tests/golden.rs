//! The smooth top-k SVM against values computed with 60 digits.
//!
//! `tests/data/loss.jsonl` holds the smaller cases; the full list is read as well where it is present.

use std::path::Path;

use topk_perf::{Bars, Errors, read_cases};
use topk_testing::shared;

fn check(path: &Path, count: usize) {
    let cases = read_cases(path).unwrap();
    assert_eq!(cases.len(), count);
    let none: [String; 0] = [];
    assert_eq!(Errors::of::<f32>(&cases, &Bars::F32).outside, none);
    assert_eq!(Errors::of::<f64>(&cases, &Bars::F64).outside, none);
}

#[test]
fn smaller_cases() {
    check(
        &Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/loss.jsonl"),
        72,
    );
}

#[test]
fn all_cases() {
    if let Some(path) = shared("golden/loss.jsonl") {
        check(&path, 107);
    }
}
