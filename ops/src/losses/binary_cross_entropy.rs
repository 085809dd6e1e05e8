use crate::losses::softplus::softplus;
use crate::sample::{Sample, SampleLoss};
use crate::workspace::Workspace;

/// Binary cross-entropy of each class against the others, as in Wightman, Touvron and Jégou, "ResNet strikes
/// back", 2021 ([arXiv 2110.00476](https://arxiv.org/abs/2110.00476)), and timm's `--bce-loss`.
///
/// Each class is a problem of two classes, in which the label alone is positive. For scores s ∈ Rⁿ and label y,
/// with σ(x) = 1/(1 + exp −x),
///
/// ```text
/// loss = −ln σ(s_y) − Σ_{j ≠ y} ln(1 − σ(s_j))
/// ```
///
/// divided by n for the [mean](Self::mean), which is the default of PyTorch's
/// `binary_cross_entropy_with_logits` and of timm, and not for the [sum](Self::sum). The derivatives are
/// σ(s_i) − \[i = y\], divided alike. The loss is not invariant to a constant added to all scores, so its
/// derivatives do not sum to 0. At least one class is needed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BinaryCrossEntropy {
    is_sum: bool,
}

impl BinaryCrossEntropy {
    /// The mean over the classes.
    pub fn mean() -> Self {
        Self { is_sum: false }
    }

    /// The sum over the classes: the loss times the number of classes.
    pub fn sum() -> Self {
        Self { is_sum: true }
    }

    /// Whether it is the sum over the classes.
    pub fn is_sum(&self) -> bool {
        self.is_sum
    }

    fn scale(&self, classes: usize) -> f64 {
        match self.is_sum {
            true => 1.0,
            false => 1.0 / classes as f64,
        }
    }
}

impl SampleLoss for BinaryCrossEntropy {
    fn min_classes(&self) -> usize {
        1
    }

    fn compute_f64(&self, _: &mut Workspace, sample: Sample<'_, f64>) -> f64 {
        let Sample { scores, label, .. } = sample;
        let scale = self.scale(scores.len());
        let wrong: f64 = sample.wrong_scores().map(|&s| softplus(s)).sum();
        if let Some(grad) = sample.grad {
            let factor = sample.factor * scale;
            for (g, s) in grad.iter_mut().zip(scores) {
                *g = factor / (1.0 + (-s).exp());
            }
            grad[label] = -factor / (1.0 + scores[label].exp());
        }
        scale * (softplus(-scores[label]) + wrong)
    }

    fn compute_soft(&self, _: &mut Workspace, sample: Sample<'_, f64>, targets: &[f64]) -> f64 {
        let scale = self.scale(sample.scores.len());
        let all: f64 = targets.iter().sum();
        if let Some(grad) = sample.grad {
            let factor = sample.factor * scale;
            for ((g, s), target) in grad.iter_mut().zip(sample.scores).zip(targets) {
                *g = factor * (all / (1.0 + (-s).exp()) - target);
            }
        }
        let pairs = sample.scores.iter().zip(targets);
        let terms = pairs.map(|(&s, target)| target * softplus(-s) + (all - target) * softplus(s));
        scale * terms.sum::<f64>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::losses::evaluate::{
        assert_soft_targets_are_a_sum, assert_values_change_by_the_gradient, distinct_scores,
        evaluate,
    };

    #[test]
    fn equals_the_definition() {
        for label in [0, 3, 7] {
            let scores = distinct_scores(8, 3.0, label as u64);
            let p = |s: f64| 1.0 / (1.0 + (-s).exp());
            let terms = scores.iter().enumerate().map(|(j, &s)| match j == label {
                true => -p(s).ln(),
                false => -(1.0 - p(s)).ln(),
            });
            let expected: f64 = terms.sum();
            let (sum, sum_grad) = evaluate(&BinaryCrossEntropy::sum(), &scores, label);
            let (mean, mean_grad) = evaluate(&BinaryCrossEntropy::mean(), &scores, label);
            assert!((sum - expected).abs() < 1e-14 * expected);
            assert!((mean - expected / 8.0).abs() < 1e-15 * expected);
            for (sum, mean) in sum_grad.iter().zip(mean_grad) {
                assert!((sum - 8.0 * mean).abs() < 1e-15);
            }
            assert_values_change_by_the_gradient(&BinaryCrossEntropy::sum(), &scores, label);
        }
        assert_soft_targets_are_a_sum(&BinaryCrossEntropy::mean());
        assert_soft_targets_are_a_sum(&BinaryCrossEntropy::sum());
    }

    #[test]
    fn large_scores_do_not_overflow() {
        let (value, grad) = evaluate(&BinaryCrossEntropy::sum(), &[1e30, -1e30, -2e30], 1);
        assert_eq!((value, grad), (2e30, vec![1.0, -1.0, 0.0]));
    }
}
