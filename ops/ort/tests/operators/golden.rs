//! The smooth top-k SVM against values computed with 60 digits.

use ort::value::TensorElementType::{self, Bfloat16, Float16, Float32, Float64, Int32, Int64};
use serde::Deserialize;
use topk_onnx::attribute;
use topk_ops::operator::LossOperator;
use topk_reference::{Tolerance, read_cases};

use crate::case::{Array, Case};

/// The settings that `topk_reference::Case` does not contain.
#[derive(Deserialize)]
struct Probability {
    p: f64,
}

#[test]
fn golden_values_are_within_tolerance() {
    let path = topk_testing::golden();
    let cases = read_cases(&path).unwrap();
    let text = std::fs::read_to_string(path).unwrap();
    assert_eq!(cases.len(), text.lines().count());
    for (golden, line) in cases.iter().zip(text.lines()) {
        let Probability { p } = serde_json::from_str(line).unwrap();
        for (kind, bars) in [(Float32, Tolerance::F32), (Float64, Tolerance::F64)] {
            let [loss, grad, prob] = &case(golden, kind, Int64).check()[..] else {
                panic!("three outputs");
            };
            let name = &golden.name;
            let error = (loss.elements[0] - golden.loss).abs() / golden.loss.max(1.0);
            assert!(error <= bars.loss, "{name}: loss {error:e}");
            for (found, expected) in grad.elements.iter().zip(&golden.grad) {
                assert!((found - expected).abs() <= bars.grad, "{name}: gradient");
            }
            let error = (prob.elements[0] - p).abs();
            assert!(error <= 1e-6, "{name}: probability {error:e}");
        }
    }
    for golden in cases.iter().take(12) {
        for kind in [Float32, Float64, Float16, Bfloat16] {
            for labels in [Int64, Int32] {
                case(golden, kind, labels).check();
            }
        }
    }
}

fn case(golden: &topk_reference::Case, kind: TensorElementType, labels: TensorElementType) -> Case {
    let classes = golden.scores.len() as i64;
    let scores = Array::new(kind, &[1, classes], &golden.scores);
    let label = Array::new(labels, &[1], &[golden.y as f64]);
    Case::new(LossOperator::SmoothTopkSvm, golden.k as i64, scores, label)
        .with(attribute::float("tau", golden.tau as f32))
        .with(attribute::float("alpha", golden.alpha as f32))
}
