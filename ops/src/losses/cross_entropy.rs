use crate::loss::{Loss, Sample, Workspace};
use crate::simd;

/// Softmax cross-entropy: `ln Σ exp(s_i) − s_y`, as PyTorch's `cross_entropy`.
///
/// Works for one class or more.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct CrossEntropy;

impl Loss for CrossEntropy {
    fn min_classes(&self) -> usize {
        1
    }

    fn sample_f64(&self, _: &mut Workspace, sample: Sample<'_, f64>) -> f64 {
        let Sample { scores, label, .. } = sample;
        let max = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let others: f64 = sample.wrong().map(|s| (s - max).exp()).sum();
        let own = (scores[label] - max).exp();
        if let Some(grad) = sample.grad {
            let scale = sample.factor / (own + others);
            for (g, s) in grad.iter_mut().zip(scores) {
                *g = scale * (s - max).exp();
            }
            grad[label] = -scale * others;
        }
        value(own, others, max - scores[label])
    }

    fn sample_f32(&self, workspace: &mut Workspace, sample: Sample<'_, f32>) -> f64 {
        let Sample { scores, label, .. } = sample;
        let max = simd::max(scores);
        let below = f64::from(max) - f64::from(scores[label]);
        let own = (-below).exp();
        let others_of = |powers: &mut [f32]| {
            simd::weights(scores, max, 1.0, powers);
            powers[label] = 0.0;
            simd::sum(powers)
        };
        let others = match sample.grad {
            None => others_of(workspace.f32.scratch(scores.len())),
            Some(grad) => {
                let others = others_of(grad);
                let scale = sample.factor / (own + others);
                simd::scale(grad, scale as f32);
                grad[label] = (-scale * others) as f32;
                others
            }
        };
        value(own, others, below)
    }
}

/// The loss, from exp(s_i − max) of the label and summed over the others, and max − s_y.
///
/// The others' sum is kept apart so that nothing cancels where the label's share is near 1.
fn value(own: f64, others: f64, below: f64) -> f64 {
    if below == 0.0 {
        others.ln_1p()
    } else {
        (own + others).ln() + below
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
    fn large_scores_do_not_overflow() {
        let mut value = [0.0f32];
        CrossEntropy
            .forward(&[3e30, -3e30, 0.0], &[2], &mut value)
            .unwrap();
        assert_eq!(value, [3e30]);
    }
}
