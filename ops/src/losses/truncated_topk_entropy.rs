use crate::LossError;
use crate::parameters::{check_k, more_than};
use crate::sample::{Sample, SampleLoss};
use crate::simd;
use crate::workspace::Workspace;

/// The truncated top-k entropy loss of Lapin, Hein and Schiele, "Loss Functions for Top-k Error:
/// Analysis and Insights", CVPR 2016 ([arXiv 1512.00486](https://arxiv.org/abs/1512.00486)).
///
/// It is cross-entropy without the k − 1 highest wrong classes. For scores s ∈ Rⁿ, label y, and J the
/// other wrong classes,
///
/// ```text
/// loss = ln(1 + Σ_{j ∈ J} exp(s_j − s_y))
/// ```
///
/// k = 1 is [`CrossEntropy`](crate::CrossEntropy). At least k + 1 classes are needed. The loss is not
/// convex for k > 1. The derivatives are those of cross-entropy over y and J, and 0 for the other
/// classes; of equal scores the lower class comes first, so the higher class stays in J.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TruncatedTopkEntropy {
    k: usize,
}

impl TruncatedTopkEntropy {
    /// A loss for top-`k` accuracy.
    ///
    /// # Errors
    /// If `k` is 0.
    pub fn new(k: usize) -> Result<Self, LossError> {
        Ok(Self { k: check_k(k)? })
    }

    /// Number of highest scores among which the label should be.
    pub fn k(&self) -> usize {
        self.k
    }
}

impl SampleLoss for TruncatedTopkEntropy {
    fn min_classes(&self) -> usize {
        more_than(self.k)
    }

    fn compute_f64(&self, workspace: &mut Workspace, sample: Sample<'_, f64>) -> f64 {
        let (_, (kth, class), lower) = sample.select_wrong(self.k, &mut workspace.ranked);
        // Everything is relative to the k-th wrong class, the highest of J. Its own weight of 1 is not in
        // the sum, so that the sum keeps its precision.
        let rest: f64 = lower.iter().map(|&(score, _)| (score - kth).exp()).sum();
        let label_offset = sample.scores[sample.label] - kth;
        if let Some(grad) = sample.grad {
            let scale = sample.factor / (label_offset.exp() + 1.0 + rest);
            grad.fill(0.0);
            for &(score, class) in lower {
                grad[class] = scale * (score - kth).exp();
            }
            grad[class] = scale;
            grad[sample.label] = -scale * (1.0 + rest);
        }
        value(label_offset, rest)
    }

    fn compute_f32(&self, workspace: &mut Workspace, sample: Sample<'_, f32>) -> f64 {
        let Sample { scores, label, .. } = sample;
        let Workspace { f32, highest, .. } = workspace;
        simd::highest(scores, label, self.k, highest);
        let class = highest[self.k - 1];
        let kth = scores[class];
        let forward_only = sample.grad.is_none();
        // The gradient's memory holds the weights first.
        let weights = sample.grad.unwrap_or_else(|| f32.scratch(scores.len()));
        simd::weights(scores, kth, 1.0, weights);
        weights[label] = 0.0;
        for &class in &*highest {
            weights[class] = 0.0;
        }
        let rest = simd::sum(weights);
        let label_offset = f64::from(scores[label]) - f64::from(kth);
        if !forward_only {
            let scale = sample.factor / (label_offset.exp() + 1.0 + rest);
            simd::scale(weights, scale as f32);
            weights[class] = scale as f32;
            weights[label] = (-scale * (1.0 + rest)) as f32;
        }
        value(label_offset, rest)
    }
}

/// The loss, from the label's score relative to the k-th wrong class, and the sum of exp of all lower wrong scores,
/// relative to the same.
fn value(label_offset: f64, rest: f64) -> f64 {
    if label_offset > 0.0 {
        ((-label_offset).exp() * (1.0 + rest)).ln_1p()
    } else {
        (label_offset.exp() + rest).ln_1p() - label_offset
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::CrossEntropy;
    use crate::losses::evaluate::{assert_gradient_is_slope, distinct_scores, evaluate, sorted};

    fn loss(k: usize) -> TruncatedTopkEntropy {
        TruncatedTopkEntropy::new(k).unwrap()
    }

    #[test]
    fn equals_the_definition_with_all_classes_sorted() {
        for (seed, k) in [1, 2, 3, 6, 9].into_iter().enumerate() {
            for (label, spread) in [(0, 1.0), (5, 5.0), (9, 0.2), (3, 15.0)] {
                let scores = distinct_scores(10, spread, seed as u64);
                let wrong = sorted((0..10).filter(|&j| j != label).map(|j| scores[j]));
                let sum: f64 = wrong[k - 1..]
                    .iter()
                    .map(|s| (s - scores[label]).exp())
                    .sum();
                let (value, _) = evaluate(&loss(k), &scores, label);
                assert!((value - (1.0 + sum).ln()).abs() < 1e-14 * value.max(1.0));
                assert_gradient_is_slope(&loss(k), &scores, label);
            }
        }
    }

    #[test]
    fn of_equal_scores_the_lower_class_is_left_out() {
        let (value, grad) = evaluate(&loss(2), &[1.0, 0.0, -0.0, 0.0], 3);
        assert!((value - f64::ln(3.0)).abs() < 1e-15);
        let (value, grad_of_ties) = evaluate(&loss(3), &[1.0, -0.0, 0.0, 0.0], 3);
        assert!((value - f64::ln(2.0)).abs() < 1e-15);
        let third = 1.0 / 3.0;
        assert_eq!(grad, [0.0, third, third, -2.0 * third]);
        assert_eq!(grad_of_ties, [0.0, 0.0, 0.5, -0.5]);
    }

    #[test]
    fn k_of_one_is_cross_entropy() {
        for label in 0..9 {
            let scores = distinct_scores(9, 4.0, 3);
            let (value, grad) = evaluate(&loss(1), &scores, label);
            let (expected, expected_grad) = evaluate(&CrossEntropy, &scores, label);
            assert!((value - expected).abs() < 1e-14);
            for (found, expected) in grad.iter().zip(expected_grad) {
                assert!((found - expected).abs() < 1e-15);
            }
        }
    }

    #[test]
    fn exact_far_from_the_boundary() {
        // ln(1 + e⁻⁶⁰) to the last digit, and its derivative.
        let (value, grad) = evaluate(&loss(2), &[60.0, 70.0, 0.0], 0);
        let tiny = f64::exp(-60.0);
        assert!((value / tiny - 1.0).abs() < 1e-15);
        assert!((grad[2] / tiny - 1.0).abs() < 1e-15 && grad[0] == -grad[2]);
        assert_eq!(evaluate(&loss(2), &[-1e30, 2e30, 0.0], 0).0, 1e30);
        for scale in [1e-30, 1e4, 1e30] {
            for (k, label) in [(1, 0), (3, 4), (8, 8)] {
                let (value, grad) = evaluate(&loss(k), &distinct_scores(9, scale, 1), label);
                assert!(value.is_finite() && value >= 0.0);
                assert!(grad.iter().all(|g| g.abs() <= 1.0));
                assert!(grad.iter().sum::<f64>().abs() < 1e-15);
            }
        }
    }

    #[test]
    fn bad_parameters_are_named() {
        assert_eq!(TruncatedTopkEntropy::new(0), Err(LossError::ZeroK));
        assert_eq!(
            loss(4).check_classes(4),
            Err(LossError::TooFewClasses {
                needed: 5,
                classes: 4
            })
        );
    }
}
