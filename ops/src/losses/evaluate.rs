//! Evaluation of one sample, for the tests of the losses.

use crate::Loss;
use crate::sample::{Sample, sum_over_labels};
use crate::workspace::Workspace;

/// Value and gradient of one sample; the value is the same with and without the gradient.
pub(crate) fn evaluate(loss: &impl Loss, scores: &[f64], label: usize) -> (f64, Vec<f64>) {
    let (mut value, mut forward) = ([f64::NAN], [f64::NAN]);
    let mut grad = vec![f64::NAN; scores.len()];
    loss.forward_backward(scores, &[label as i64], &mut value, &mut grad)
        .unwrap();
    loss.forward(scores, &[label as i64], &mut forward).unwrap();
    assert_eq!(forward, value, "{loss:?}");
    (value[0], grad)
}

/// Asserts that the gradient sums to zero and is the slope of the value. The loss must be smooth within
/// 1e-5 of the scores.
pub(crate) fn assert_gradient_is_slope(loss: &impl Loss, scores: &[f64], label: usize) {
    let (_, grad) = evaluate(loss, scores, label);
    let scale = grad.iter().fold(1.0, |max: f64, g| max.max(g.abs()));
    let sum: f64 = grad.iter().sum();
    assert!(
        sum.abs() < 1e-14 * scale,
        "{loss:?} label={label} {scores:?}"
    );
    assert_values_change_by_the_gradient(loss, scores, label);
}

/// As [`assert_gradient_is_slope`], for a loss that a constant added to all scores changes.
pub(crate) fn assert_values_change_by_the_gradient(loss: &impl Loss, scores: &[f64], label: usize) {
    let (_, grad) = evaluate(loss, scores, label);
    let scale = grad.iter().fold(1.0, |max: f64, g| max.max(g.abs()));
    let context = format!("{loss:?} label={label} {scores:?}");
    for (class, grad) in grad.iter().enumerate() {
        let value_at = |step: f64| {
            let mut scores = scores.to_vec();
            scores[class] += step;
            evaluate(loss, &scores, label).0
        };
        let slope = (value_at(1e-5) - value_at(-1e-5)) / 2e-5;
        let error = (grad - slope).abs();
        assert!(error < 1e-7 * scale, "{context}: {class}: {grad} {slope}");
    }
}

/// Scores between −`spread` and `spread`, no two of them equal.
pub(crate) fn distinct_scores(classes: usize, spread: f64, seed: u64) -> Vec<f64> {
    let mut state = 2 * seed + 1;
    let mut uniform = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (state >> 11) as f64 / (1u64 << 53) as f64
    };
    uniform();
    let scores = (0..classes).map(|_| spread * (2.0 * uniform() - 1.0));
    scores.collect()
}

/// All scores in descending order.
pub(crate) fn sorted(scores: impl IntoIterator<Item = f64>) -> Vec<f64> {
    let mut sorted: Vec<f64> = scores.into_iter().collect();
    sorted.sort_by(|a, b| b.total_cmp(a));
    sorted
}

/// Asserts that the loss of soft targets is the sum of the losses of all labels, and so is its gradient.
pub(crate) fn assert_soft_targets_are_a_sum(loss: &impl Loss) {
    for (seed, spread) in [(0, 1.0), (1, 30.0), (2, 1e4), (3, 0.0)] {
        let scores = distinct_scores(13, spread, seed);
        let mut targets = distinct_scores(13, 0.05, 7);
        targets.iter_mut().for_each(|target| *target = target.abs());
        targets[5] = 0.0;
        targets[seed as usize + 2] += 0.7;
        let mut workspace = Workspace::default();
        let mut soft = |compute: &dyn Fn(&mut Workspace, Sample<'_, f64>) -> f64| {
            let mut grad = vec![f64::NAN; 13];
            let sample = |grad| Sample {
                index: 4,
                scores: &scores,
                label: 0,
                factor: 1.5,
                grad,
            };
            let value = compute(&mut workspace, sample(Some(&mut grad)));
            assert_eq!(compute(&mut workspace, sample(None)), value);
            (value, grad)
        };
        let found = soft(&|workspace, sample| loss.compute_soft(workspace, sample, &targets));
        let expected =
            soft(&|workspace, sample| sum_over_labels(loss, workspace, sample, &targets));
        let close = |a: f64, b: f64| (a - b).abs() <= 1e-13 * b.abs().max(1.0);
        assert!(
            close(found.0, expected.0),
            "{loss:?}: {found:?} {expected:?}"
        );
        for (&a, &b) in found.1.iter().zip(&expected.1) {
            assert!(close(a, b), "{loss:?}: {found:?} {expected:?}");
        }
    }
}
