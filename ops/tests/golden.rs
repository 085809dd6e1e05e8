//! The smooth top-k SVM against values computed with 60 digits.
//!
//! `tests/data/loss.jsonl` holds the small cases; the full list is read as well where it is present.

use std::fs;
use std::io::Write;
use std::path::Path;

use serde::Deserialize;
use topk_ops::{Loss, Score, SmoothTopkSvm};

#[derive(Deserialize)]
struct Case {
    name: String,
    k: usize,
    tau: f64,
    alpha: f64,
    y: i64,
    /// Exactly representable as `f32`.
    scores: Vec<f64>,
    loss: f64,
    grad: Vec<f64>,
}

/// Largest allowed errors: of the loss relative to max(1, loss), and of a gradient entry.
struct Bars {
    loss: f64,
    grad: f64,
}

fn check<T: Score>(cases: &[Case], bars: &Bars) {
    for case in cases {
        let scores: Vec<T> = case.scores.iter().map(|&s| T::from_f64(s)).collect();
        let mut value = [T::from_f64(f64::NAN)];
        let mut grad = vec![T::from_f64(f64::NAN); scores.len()];
        SmoothTopkSvm::new(case.k, case.tau, case.alpha)
            .unwrap()
            .forward_backward(&scores, &[case.y], &mut value, &mut grad)
            .unwrap();
        let [value] = value.map(Into::into);
        let error = (value - case.loss).abs() / case.loss.max(1.0);
        assert!(
            error <= bars.loss,
            "{}: loss {value}, not {}",
            case.name,
            case.loss
        );
        for (i, (&found, &expected)) in grad.iter().zip(&case.grad).enumerate() {
            let found: f64 = found.into();
            let error = (found - expected).abs();
            assert!(
                error <= bars.grad,
                "{}: gradient {i} {found}, not {expected}",
                case.name
            );
        }
    }
}

fn check_file(path: &Path, count: usize) {
    let text = fs::read_to_string(path).unwrap();
    let cases: Vec<Case> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(cases.len(), count);
    check::<f32>(
        &cases,
        &Bars {
            loss: 2e-7,
            grad: 1e-7,
        },
    );
    check::<f64>(
        &cases,
        &Bars {
            loss: 1e-12,
            grad: 1e-12,
        },
    );
}

#[test]
fn small_cases() {
    check_file(
        Path::new(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/tests/data/loss.jsonl"
        )),
        72,
    );
}

#[test]
fn all_cases() {
    let path = Path::new(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../shared/golden/loss.jsonl"
    ));
    if path.exists() {
        check_file(path, 107);
    } else {
        // Not `eprintln!`, which the test harness captures.
        let _ = writeln!(
            std::io::stderr(),
            "SKIPPED all_cases: {} is absent",
            path.display()
        );
    }
}
