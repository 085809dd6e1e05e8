use crate::sample::{Sample, SampleLoss};
use crate::simd;
use crate::workspace::Workspace;

/// Softmax cross-entropy: `ln Σ exp(s_i) − s_y`, as in PyTorch's `cross_entropy`.
///
/// At least one class is needed.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct CrossEntropy;

impl SampleLoss for CrossEntropy {
    fn min_classes(&self) -> usize {
        1
    }

    fn compute_f64(&self, _: &mut Workspace, sample: Sample<'_, f64>) -> f64 {
        let Sample { scores, label, .. } = sample;
        let max = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let others: f64 = sample.wrong_scores().map(|s| (s - max).exp()).sum();
        let label_weight = (scores[label] - max).exp();
        if let Some(grad) = sample.grad {
            let scale = sample.factor / (label_weight + others);
            for (g, s) in grad.iter_mut().zip(scores) {
                *g = scale * (s - max).exp();
            }
            grad[label] = -scale * others;
        }
        value(label_weight, others, max - scores[label])
    }

    fn compute_f32(&self, workspace: &mut Workspace, sample: Sample<'_, f32>) -> f64 {
        let Sample { scores, label, .. } = sample;
        let max = simd::max(scores);
        let gap = f64::from(max) - f64::from(scores[label]);
        let label_weight = (-gap).exp();
        let others_of = |powers: &mut [f32]| {
            simd::weights(scores, max, 1.0, powers);
            powers[label] = 0.0;
            simd::sum(powers)
        };
        let others = match sample.grad {
            None => others_of(workspace.f32.scratch(scores.len())),
            Some(grad) => {
                let others = others_of(grad);
                let scale = sample.factor / (label_weight + others);
                simd::scale(grad, scale as f32);
                grad[label] = (-scale * others) as f32;
                others
            }
        };
        value(label_weight, others, gap)
    }

    fn compute_soft(&self, _: &mut Workspace, sample: Sample<'_, f64>, targets: &[f64]) -> f64 {
        let scores = sample.scores;
        let highest = (1..scores.len()).fold(0, |best, class| match scores[class] > scores[best] {
            true => class,
            false => best,
        });
        let max = scores[highest];
        let (before, after) = (&scores[..highest], &scores[highest + 1..]);
        let others: f64 = before.iter().chain(after).map(|s| (s - max).exp()).sum();
        let all: f64 = targets.iter().sum();
        if let Some(grad) = sample.grad {
            for ((g, s), target) in grad.iter_mut().zip(scores).zip(targets) {
                *g = sample.factor * (all * ((s - max).exp() / (1.0 + others)) - target);
            }
        }
        let gaps = scores
            .iter()
            .zip(targets)
            .map(|(s, target)| target * (max - s));
        all * others.ln_1p() + gaps.sum::<f64>()
    }
}

/// The loss, from exp(s_i − max) of the label, the sum of the same over the other classes, and
/// `gap` = max − s_y.
///
/// The sum is kept separate so that nothing cancels where the label's probability is near 1.
fn value(label_weight: f64, others: f64, gap: f64) -> f64 {
    if gap == 0.0 {
        others.ln_1p()
    } else {
        (label_weight + others).ln() + gap
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Loss;

    #[test]
    fn value_and_gradient_of_two_classes() {
        let mut value = [0.0];
        let mut grad = [0.0; 2];
        CrossEntropy
            .forward_backward(&[1.0, 3.0], &[0], &mut value, &mut grad)
            .unwrap();
        let p = 1.0 / (1.0 + 2f64.exp());
        assert!((value[0] + p.ln()).abs() < 1e-15);
        assert!((grad[0] - (p - 1.0)).abs() < 1e-15);
        assert!((grad[1] - (1.0 - p)).abs() < 1e-15);
    }

    #[test]
    fn soft_targets() {
        crate::losses::evaluate::assert_soft_targets_are_a_sum(&CrossEntropy);
    }

    #[test]
    fn large_scores_do_not_overflow() {
        let mut value = [0.0f32];
        CrossEntropy
            .forward(&[3e30, -3e30, 0.0], &[2], &mut value)
            .unwrap();
        assert_eq!(value, [3e30]);
    }
}
