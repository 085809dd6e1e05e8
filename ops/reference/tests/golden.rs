//! The smooth top-k SVM against values computed with 60 digits.
//!
//! `ops/tests/data/loss.jsonl` contains the smaller cases; the full list is also checked if it is present.

use std::path::Path;

use topk_reference::{Errors, Tolerance, read_cases};
use topk_testing::shared;

fn check(path: &Path, count: usize) {
    let cases = read_cases(path).unwrap();
    assert_eq!(cases.len(), count);
    let none: [String; 0] = [];
    assert_eq!(Errors::of::<f32>(&cases, &Tolerance::F32).failures, none);
    assert_eq!(Errors::of::<f64>(&cases, &Tolerance::F64).failures, none);
}

#[test]
fn smaller_cases() {
    check(
        &Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/data/loss.jsonl"),
        72,
    );
}

#[test]
fn all_cases() {
    if let Some(path) = shared("golden/loss.jsonl") {
        check(&path, 107);
    }
}
