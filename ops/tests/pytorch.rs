//! Label smoothing, class weights and binary cross-entropy against PyTorch and timm; `tests/data/make_pytorch.py` made
//! the values.

use std::path::Path;

use serde::Deserialize;
use topk_ops::{BinaryCrossEntropy, Criterion, CrossEntropy, Loss, Reduction, Score};

#[derive(Deserialize)]
struct Case {
    loss: String,
    smoothing: f64,
    reduction: String,
    ignore_index: Option<i64>,
    weight: Option<Vec<f64>>,
    scores: Vec<f64>,
    labels: Vec<i64>,
    values: Vec<f64>,
    gradient: Vec<f64>,
}

impl Case {
    fn criterion(&self) -> Criterion<Box<dyn Loss>> {
        let loss: Box<dyn Loss> = match &*self.loss {
            "ce" => Box::new(CrossEntropy),
            "bce" => Box::new(BinaryCrossEntropy::mean()),
            "bce-sum" => Box::new(BinaryCrossEntropy::sum()),
            other => panic!("{other} is not a loss"),
        };
        let mut reductions = Reduction::ALL.into_iter();
        let reduction = reductions.find(|reduction| reduction.as_str() == self.reduction);
        let criterion = Criterion::new(loss)
            .with_reduction(reduction.unwrap())
            .with_ignore_index(self.ignore_index)
            .with_label_smoothing(self.smoothing)
            .unwrap();
        match &self.weight {
            Some(weight) => criterion.with_weight(weight.clone()).unwrap(),
            None => criterion,
        }
    }
}

/// Compares with PyTorch, and returns the largest error relative to numbers above 1.
fn largest_error<T: Score>() -> f64 {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/pytorch.jsonl");
    let text = std::fs::read_to_string(path).unwrap();
    assert_eq!(text.lines().count(), 90);
    let mut largest: f64 = 0.0;
    for line in text.lines() {
        let case: Case = serde_json::from_str(line).unwrap();
        let scores: Vec<T> = case.scores.iter().copied().map(T::from_f64).collect();
        let mut values = vec![T::default(); case.values.len()];
        let mut gradient = vec![T::default(); scores.len()];
        case.criterion()
            .forward_backward(&scores, &case.labels, &mut values, &mut gradient)
            .unwrap();
        let found = values.iter().chain(&gradient).map(|&number| number.into());
        let expected = case.values.iter().chain(&case.gradient);
        for (found, expected) in found.zip(expected) {
            assert!(found.is_finite(), "{} {:?}", case.loss, case.labels);
            largest = largest.max((found - expected).abs() / expected.abs().max(1.0));
        }
    }
    largest
}

#[test]
fn double_precision() {
    let error = largest_error::<f64>();
    println!("largest error in f64: {error:.1e}");
    assert!(error < 1e-14, "{error}");
}

#[test]
fn single_precision() {
    let error = largest_error::<f32>();
    println!("largest error in f32: {error:.1e}");
    assert!(error < 1e-7, "{error}");
}
