use crate::loss::{SampleLoss, Score};

/// Softmax cross-entropy: `ln Σ exp(s_i) − s_y`, as PyTorch's `cross_entropy` without reduction.
///
/// Works for one class or more.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct CrossEntropy;

impl SampleLoss for CrossEntropy {
    type Workspace = ();

    fn wrong_classes(&self) -> usize {
        0
    }

    fn sample<T: Score>(
        &self,
        (): &mut (),
        scores: &[T],
        label: usize,
        grad: Option<&mut [T]>,
    ) -> f64 {
        let max = scores
            .iter()
            .fold(f64::NEG_INFINITY, |max, &s| max.max(s.into()));
        let sum: f64 = scores.iter().map(|&s| (s.into() - max).exp()).sum();
        let label_score: f64 = scores[label].into();
        if let Some(grad) = grad {
            for (g, &s) in grad.iter_mut().zip(scores) {
                *g = T::from_f64((s.into() - max).exp() / sum);
            }
            // 1 − p of the label as the sum of the others: no cancellation when p is near 1.
            let others: f64 = scores
                .iter()
                .enumerate()
                .filter(|&(i, _)| i != label)
                .map(|(_, &s)| (s.into() - max).exp())
                .sum();
            grad[label] = T::from_f64(-others / sum);
        }
        sum.ln() + (max - label_score)
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
