//! Evaluation of one sample, for the tests of the losses.

use crate::Loss;

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
    let context = format!("{loss:?} label={label} {scores:?}");
    assert!(grad.iter().sum::<f64>().abs() < 1e-14 * scale, "{context}");
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
