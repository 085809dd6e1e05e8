//! The reference algorithms against the crate's own and against exact values.

use topk_ops::{Loss, LossError, SmoothTopkSvm};
use topk_perf::random_batch;
use topk_perf::reference::{Real, divide_and_conquer, log_summation, summation};

type Algorithm<T> =
    fn(&SmoothTopkSvm, &[T], &[i64], &mut [T], Option<&mut [T]>) -> Result<(), LossError>;

fn references<T: Real>() -> [(&'static str, Algorithm<T>); 3] {
    [
        ("summation", summation),
        ("log-summation", log_summation),
        ("divide and conquer", divide_and_conquer),
    ]
}

fn distance<T: Real>(a: &[T], b: &[T]) -> f64 {
    let distance = |(&a, &b): (&T, &T)| -> f64 { (a - b).abs().into() };
    a.iter().zip(b).map(distance).fold(0.0, f64::max)
}

#[test]
fn agree_with_the_fused_algorithm() {
    let samples = 40;
    for classes in [8, 30, 101] {
        let (scores, labels) = random_batch::<f64>(classes as u64, samples, classes, 1.0);
        for k in 1..=6 {
            for tau in [1.0, 2.0, 5.0] {
                let svm = SmoothTopkSvm::new(k, tau, 1.0).unwrap();
                let (mut expected, mut expected_grad) =
                    (vec![0.0; samples], vec![0.0; samples * classes]);
                svm.forward_backward(&scores, &labels, &mut expected, &mut expected_grad)
                    .unwrap();
                for (name, algorithm) in references() {
                    let context = format!("{name} {classes} k={k} tau={tau}");
                    let mut values = vec![f64::NAN; samples];
                    algorithm(&svm, &scores, &labels, &mut values, None).unwrap();
                    assert!(distance(&values, &expected) < 1e-9, "{context}");
                    let mut grad = vec![f64::NAN; samples * classes];
                    values.fill(f64::NAN);
                    algorithm(&svm, &scores, &labels, &mut values, Some(&mut grad)).unwrap();
                    assert!(distance(&values, &expected) < 1e-9, "{context}");
                    let error = distance(&grad, &expected_grad);
                    println!("{context} {error:e}");
                    assert!(error < 1e-9, "{context}: {error:e}");
                }
            }
        }
    }
}
