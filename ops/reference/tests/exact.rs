//! The smooth top-k SVM against an independent computation with 106 bits, on random batches.

use topk_ops::{Loss, Score, SmoothTopkSvm};
use topk_reference::algorithms::{divide_and_conquer, log_summation};
use topk_reference::{Tolerance, exact, random_batch};

fn check<T: Score>(tolerance: Tolerance) {
    let shapes = [
        (2, 1),
        (6, 5),
        (50, 2),
        (101, 32),
        (101, 33),
        (300, 5),
        (1000, 20),
    ];
    for (seed, (classes, k)) in (0..).zip(shapes) {
        for scale in [0.0, 1.0, 100.0] {
            for tau in [1e-3, 0.1, 1.0, 1e3] {
                let svm = SmoothTopkSvm::new(k, tau, 1.0).unwrap();
                let (scores, labels) = random_batch::<T>(seed, 2, classes, scale);
                let mut values = vec![T::default(); labels.len()];
                let mut grad = vec![T::default(); scores.len()];
                svm.forward_backward(&scores, &labels, &mut values, &mut grad)
                    .unwrap();
                let scores: Vec<f64> = scores.into_iter().map(T::into).collect();
                let rows = scores.chunks(classes).zip(grad.chunks(classes));
                for (((scores, grad), label), value) in rows.zip(&labels).zip(values) {
                    let context = format!("{classes} classes, k={k} tau={tau} scale={scale}");
                    let exact = exact(&svm, scores, *label as usize).unwrap();
                    let error = (value.into() - exact.loss).abs() / exact.loss.max(1.0);
                    assert!(error <= tolerance.loss, "{context}: loss off by {error:e}");
                    for (&found, expected) in grad.iter().zip(&exact.grad) {
                        let error = (found.into() - expected).abs();
                        assert!(
                            error <= tolerance.grad,
                            "{context}: gradient off by {error:e}"
                        );
                    }
                }
            }
        }
    }
}

#[test]
fn single_precision() {
    check::<f32>(Tolerance::F32);
}

#[test]
fn double_precision() {
    check::<f64>(Tolerance::F64);
}

#[test]
fn agrees_with_other_algorithms_at_moderate_temperatures() {
    let (samples, classes) = (20, 200);
    let (scores, labels) = random_batch::<f64>(1, samples, classes, 1.0);
    for k in 1..=6 {
        let svm = SmoothTopkSvm::new(k, 1.0, 1.0).unwrap();
        let mut expected = vec![0.0; samples];
        let mut expected_grad = vec![0.0; samples * classes];
        svm.forward_backward(&scores, &labels, &mut expected, &mut expected_grad)
            .unwrap();
        for algorithm in [log_summation, divide_and_conquer] {
            let mut values = vec![0.0; samples];
            let mut grad = vec![0.0; samples * classes];
            algorithm(&svm, &scores, &labels, &mut values, Some(&mut grad)).unwrap();
            let found = values.iter().chain(&grad);
            for (found, expected) in found.zip(expected.iter().chain(&expected_grad)) {
                assert!((found - expected).abs() < 1e-9, "k={k}: {found} {expected}");
            }
        }
    }
}
