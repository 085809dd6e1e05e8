use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;
use crate::{CrossEntropy, Loss, MaxTopkSvm, SmoothTopkSvm, bf16, f16};

const SCORES: [f64; 12] = [
    0.3, -1.0, 2.0, 0.5, 1.1, 0.2, 0.9, -0.4, 0.0, 0.7, -2.0, 1.6,
];
const LABELS: [i64; 3] = [2, -1, 0];
const WEIGHT: [f64; 4] = [0.5, 9.0, 2.0, 9.0];

fn svm() -> SmoothTopkSvm {
    SmoothTopkSvm::new(2, 0.5, 1.0).unwrap()
}

fn criterion(reduction: Reduction) -> Criterion<SmoothTopkSvm> {
    let criterion = Criterion::new(svm()).with_ignore_index(-1);
    let criterion = criterion.with_weight(WEIGHT.to_vec()).unwrap();
    criterion.with_reduction(reduction)
}

/// Values and gradient of the three samples without options; the second label is 1.
fn plain() -> ([f64; 3], [f64; 12]) {
    let (mut values, mut grad) = ([0.0; 3], [0.0; 12]);
    svm()
        .forward_backward(&SCORES, &[2, 1, 0], &mut values, &mut grad)
        .unwrap();
    (values, grad)
}

#[test]
fn weights_scale_losses_and_ignored_samples_do_not_count() {
    let (plain_values, plain_grad) = plain();
    let total = 2.0 * plain_values[0] + 0.5 * plain_values[2];
    let cases = [
        (
            Reduction::None,
            1.0,
            vec![2.0 * plain_values[0], 0.0, 0.5 * plain_values[2]],
        ),
        (Reduction::Sum, 1.0, vec![total]),
        (Reduction::Mean, 2.5, vec![total / 2.5]),
    ];
    for (reduction, divisor, expected) in cases {
        let mut values = vec![f64::NAN; expected.len()];
        let mut grad = [f64::NAN; 12];
        let criterion = criterion(reduction);
        criterion
            .forward_backward(&SCORES, &LABELS, &mut values, &mut grad)
            .unwrap();
        for (found, expected) in values.iter().zip(&expected) {
            assert!((found - expected).abs() < 1e-14, "{reduction:?}");
        }
        for (i, (found, plain)) in grad.iter().zip(plain_grad).enumerate() {
            let expected = [2.0, 0.0, 0.5][i / 4] / divisor * plain;
            assert!((found - expected).abs() < 1e-15, "{reduction:?} {i}");
        }
        let mut forward = vec![f64::NAN; expected.len()];
        criterion.forward(&SCORES, &LABELS, &mut forward).unwrap();
        assert_eq!(forward, values);
    }
}

#[test]
fn scores_of_ignored_samples_are_not_read() {
    let mut scores = SCORES;
    scores[4..8].fill(f64::NAN);
    let (mut mean, mut grad) = ([0.0], [1.0; 12]);
    criterion(Reduction::Mean)
        .forward_backward(&scores, &LABELS, &mut mean, &mut grad)
        .unwrap();
    assert!(mean[0].is_finite());
    assert_eq!(grad[4..8], [0.0; 4]);
}

#[test]
fn the_sum_over_no_samples_is_zero_and_the_mean_nan() {
    let of = |reduction, scores: &[f64], labels: &[i64]| {
        let mut value = [1.0];
        let criterion = criterion(reduction);
        criterion.forward(scores, labels, &mut value).unwrap();
        value[0]
    };
    assert_eq!(of(Reduction::Sum, &[], &[]), 0.0);
    assert!(of(Reduction::Mean, &[], &[]).is_nan());
    assert_eq!(of(Reduction::Sum, &SCORES, &[-1; 3]), 0.0);
    assert!(of(Reduction::Mean, &SCORES, &[-1; 3]).is_nan());
    let nothing: &mut [f64; 0] = &mut [];
    criterion(Reduction::None)
        .forward_backward(&[], &[], nothing, &mut [])
        .unwrap();
}

#[test]
fn slow_losses_are_divided_among_more_tasks() {
    struct Count(AtomicUsize);
    impl Executor for Count {
        fn for_each(&self, tasks: usize, task: &(dyn Fn(usize) + Sync)) {
            self.0.store(tasks, Ordering::Relaxed);
            (0..tasks).for_each(task);
        }
    }
    let tasks = |k, samples, classes| {
        let count = Count(AtomicUsize::new(1));
        let scores = vec![0f32; samples * classes];
        let criterion = Criterion::new(SmoothTopkSvm::new(k, 1.0, 1.0).unwrap());
        let mut values = [0.0];
        let outputs = BatchOutputs::new(&mut values);
        let labels = vec![0; samples];
        criterion
            .compute(&count, &scores, &labels, outputs)
            .unwrap();
        count.0.into_inner()
    };
    assert_eq!(tasks(50, 16, 1000), 16);
    assert_eq!(tasks(5, 16, 1000), 1);
    assert_eq!(tasks(5, 256, 1000), 16);
    // Of equal size.
    assert_eq!(tasks(5, 256, 100), 2);
    assert_eq!(tasks(1, 1, 100_000), 1);
}

#[test]
fn results_do_not_depend_on_the_samples_beside() {
    for (k, classes) in [(2, 3), (2, 40), (5, 101), (20, 31), (20, 300), (32, 2000)] {
        let samples = 19;
        let scores: Vec<f32> = (0..samples * classes)
            .map(|i| 4.0 * f32::sin(0.37 * i as f32 + (i * i % 1013) as f32))
            .collect();
        let labels: Vec<i64> = (0..samples)
            .map(|i| {
                if i % 5 == 3 {
                    -1
                } else {
                    (i * 7 % classes) as i64
                }
            })
            .collect();
        let criterion = Criterion::new(SmoothTopkSvm::new(k, 0.5, 1.0).unwrap())
            .with_reduction(Reduction::None)
            .with_ignore_index(-1);
        let (mut values, mut grad) = (vec![0.0; samples], vec![0.0; scores.len()]);
        criterion
            .forward_backward(&scores, &labels, &mut values, &mut grad)
            .unwrap();
        let mut forward = vec![0.0; samples];
        criterion.forward(&scores, &labels, &mut forward).unwrap();
        assert_eq!(forward, values);
        for (i, (scores, label)) in scores.chunks(classes).zip(labels).enumerate() {
            let (mut value, mut own) = ([0.0], vec![0.0; classes]);
            criterion
                .forward_backward(scores, &[label], &mut value, &mut own)
                .unwrap();
            assert_eq!(value[0], values[i], "k={k} classes={classes} sample {i}");
            assert_eq!(own, grad[i * classes..(i + 1) * classes]);
        }
    }
}

#[test]
fn sums_do_not_depend_on_the_executor() {
    struct Backwards;
    impl Executor for Backwards {
        fn for_each(&self, tasks: usize, task: &(dyn Fn(usize) + Sync)) {
            assert!(tasks > 1);
            (0..tasks).rev().for_each(task);
        }
    }
    let (samples, classes) = (200, 300);
    let scores: Vec<f32> = (0..samples * classes).map(|i| f32::sin(i as f32)).collect();
    let labels: Vec<i64> = (0..samples as i64).collect();
    let criterion = Criterion::new(svm());
    let (mut mean, mut grad) = ([0.0], vec![0.0; scores.len()]);
    criterion
        .forward_backward(&scores, &labels, &mut mean, &mut grad)
        .unwrap();
    let (mut mean_backwards, mut grad_backwards) = ([0.0], vec![0.0; scores.len()]);
    let mut losses = vec![f64::NAN; samples];
    let outputs = BatchOutputs {
        values: &mut mean_backwards,
        losses: Some(&mut losses),
        grad: Some(&mut grad_backwards),
    };
    criterion
        .compute(&Backwards, &scores, &labels, outputs)
        .unwrap();
    assert_eq!(mean, mean_backwards);
    assert_eq!(grad, grad_backwards);
    let mut values = vec![f32::NAN; samples];
    let each = criterion.with_reduction(Reduction::None);
    each.forward(&scores, &labels, &mut values).unwrap();
    let rounded: Vec<_> = losses.iter().map(|&loss| loss as f32).collect();
    assert_eq!(values, rounded);
}

#[test]
fn losses_of_samples_have_neither_weight_nor_reduction() {
    let (plain_values, _) = plain();
    for reduction in [Reduction::None, Reduction::Sum, Reduction::Mean] {
        let criterion = criterion(reduction);
        let mut values = vec![f64::NAN; criterion.output_len(3)];
        let mut losses = [f64::NAN; 3];
        let outputs = BatchOutputs {
            losses: Some(&mut losses),
            ..BatchOutputs::new(&mut values)
        };
        criterion
            .compute(&Rayon, &SCORES, &LABELS, outputs)
            .unwrap();
        assert_eq!(losses, [plain_values[0], 0.0, plain_values[2]]);
        let mut alone = vec![f64::NAN; values.len()];
        criterion.forward(&SCORES, &LABELS, &mut alone).unwrap();
        assert_eq!(values, alone);
    }
    // Half precision rounds values and gradient, but not these.
    let scores = SCORES.map(f16::from_f64);
    let (mut values, mut losses) = ([f16::default(); 3], [0.0; 3]);
    let outputs = BatchOutputs {
        losses: Some(&mut losses),
        ..BatchOutputs::new(&mut values)
    };
    Criterion::new(svm())
        .with_reduction(Reduction::None)
        .compute(&Rayon, &scores, &[2, 1, 0], outputs)
        .unwrap();
    assert_eq!(values, losses.map(f16::from_f64));
    assert_ne!(losses, values.map(f64::from));
}

#[test]
fn half_precision_is_computed_in_single() {
    fn check<T: Score>(epsilon: f64) {
        let scores = SCORES.map(T::from_f64);
        let (mut values, mut grad) = ([T::default(); 3], [T::default(); 12]);
        svm()
            .forward_backward(&scores, &[2, 1, 0], &mut values, &mut grad)
            .unwrap();
        // The same scores, once rounded, in double precision.
        let scores = scores.map(Into::<f64>::into);
        let (mut wide_values, mut wide_grad) = ([0.0; 3], [0.0; 12]);
        svm()
            .forward_backward(&scores, &[2, 1, 0], &mut wide_values, &mut wide_grad)
            .unwrap();
        let pairs = values.iter().zip(&wide_values);
        for (&found, &expected) in pairs.chain(grad.iter().zip(&wide_grad)) {
            let error = (found.into() - expected).abs();
            assert!(
                error <= 0.51 * epsilon * expected.abs() + 1e-6,
                "{found:?} {expected}"
            );
        }
    }
    check::<f16>(f16::EPSILON.into());
    check::<bf16>(bf16::EPSILON.into());
}

#[test]
fn boxed_losses_give_the_same_values() {
    let losses: [Box<dyn Loss>; 3] = [
        Box::new(CrossEntropy),
        Box::new(MaxTopkSvm::new(2, 1.0).unwrap()),
        Box::new(svm()),
    ];
    let mut values = [0.0; 3];
    for loss in losses {
        loss.forward(&SCORES, &[2, 1, 0], &mut values).unwrap();
    }
    assert_eq!(values, plain().0);
}

#[test]
fn bad_options_and_batches_are_named() {
    let weighted = |weight: &[f64]| Criterion::new(svm()).with_weight(weight.to_vec());
    assert_eq!(
        weighted(&[1.0, -0.5]).unwrap_err().to_string(),
        "the weight of class 1 must be a finite number of at least 0, got -0.5"
    );
    let error = weighted(&[1.0; 3])
        .unwrap()
        .forward(&SCORES, &[0; 3], &mut [0.0])
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "3 class weights for 4 classes: expected one per class"
    );
    let error = criterion(Reduction::Mean)
        .forward(&SCORES, &[0, 1, 4], &mut [0.0])
        .unwrap_err();
    assert_eq!(error.to_string(), "label 4 of sample 2 is not in 0..4");
    let error = criterion(Reduction::Mean)
        .forward(&SCORES, &LABELS, &mut [0.0; 3])
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "the values slice holds 3 entries, expected 1"
    );
    let (mut mean, mut losses) = ([0.0], [0.0; 2]);
    let outputs = BatchOutputs {
        losses: Some(&mut losses),
        ..BatchOutputs::new(&mut mean)
    };
    let error = criterion(Reduction::Mean)
        .compute(&Rayon, &SCORES, &LABELS, outputs)
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "the losses slice holds 2 entries, expected 3"
    );
}
