use crate::LossError;
use crate::losses::softplus::softplus;
use crate::parameters::{check_k, check_tau, more_than};
use crate::ranking::{by_rank, select_rank};
use crate::sample::{Sample, SampleLoss};
use crate::workspace::Workspace;

/// The log-likelihood of the label under the differentiable top-k operator DFTopK
/// ([arXiv 2510.11472](https://arxiv.org/abs/2510.11472), 2025).
///
/// The operator is a sigmoid of each score around a threshold between the k-th and the (k + 1)-th largest.
/// For scores s ∈ Rⁿ, label y and temperature τ, with σ(x) = 1/(1 + exp −x),
///
/// ```text
/// t = (s_[k] + s_[k+1]) / 2
/// p_i = σ((s_i − t)/τ)
/// loss = −ln p_y
/// ```
///
/// The p_i sum to k only approximately, which is what makes O(n) time enough. With g = (1 − p_y)/τ, the
/// derivatives are −g for the label and g/2 for each of the two classes of the threshold; they add up where
/// the label is one of them. Of equal scores the lower class comes first. At least k + 1 classes are needed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DfTopk {
    k: usize,
    tau: f64,
}

impl DfTopk {
    /// A loss for top-`k` accuracy with temperature `tau`, in units of the scores.
    ///
    /// # Errors
    /// If `k` is 0, or `tau` is not above 0 or not finite.
    pub fn new(k: usize, tau: f64) -> Result<Self, LossError> {
        Ok(Self {
            k: check_k(k)?,
            tau: check_tau(tau)?,
        })
    }

    /// Number of highest scores among which the label should be.
    pub fn k(&self) -> usize {
        self.k
    }

    /// Temperature.
    pub fn tau(&self) -> f64 {
        self.tau
    }

    /// The k-th and the (k + 1)-th largest score and their classes.
    fn threshold(&self, workspace: &mut Workspace, scores: &[f64]) -> [(f64, usize); 2] {
        let (higher, below, _) = select_rank(&mut workspace.ranked, scores.iter().copied(), self.k);
        let above = higher.iter().copied().max_by(by_rank);
        [above.expect("k is at least 1"), below]
    }

    /// (s − t)/τ. Each difference is halved before they are added, so that the sum does not overflow.
    fn logit(&self, [(above, _), (below, _)]: [(f64, usize); 2], score: f64) -> f64 {
        (0.5 * (score - above) + 0.5 * (score - below)) / self.tau
    }
}

impl SampleLoss for DfTopk {
    fn min_classes(&self) -> usize {
        more_than(self.k)
    }

    fn compute_f64(&self, workspace: &mut Workspace, sample: Sample<'_, f64>) -> f64 {
        let threshold = self.threshold(workspace, sample.scores);
        let logit = self.logit(threshold, sample.scores[sample.label]);
        if let Some(grad) = sample.grad {
            let share = sample.factor / (self.tau * (1.0 + logit.exp()));
            grad.fill(0.0);
            grad[sample.label] = -share;
            for (_, class) in threshold {
                grad[class] += 0.5 * share;
            }
        }
        softplus(-logit)
    }

    fn compute_soft(
        &self,
        workspace: &mut Workspace,
        sample: Sample<'_, f64>,
        targets: &[f64],
    ) -> f64 {
        let threshold = self.threshold(workspace, sample.scores);
        let logits = sample.scores.iter().map(|&s| self.logit(threshold, s));
        let pairs = logits.zip(targets);
        if let Some(grad) = sample.grad {
            let mut all = 0.0;
            for (g, (logit, target)) in grad.iter_mut().zip(pairs.clone()) {
                let share = sample.factor * target / (self.tau * (1.0 + logit.exp()));
                *g = -share;
                all += share;
            }
            for (_, class) in threshold {
                grad[class] += 0.5 * all;
            }
        }
        pairs.map(|(logit, target)| target * softplus(-logit)).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::losses::evaluate::{
        assert_gradient_is_slope, assert_soft_targets_are_a_sum, distinct_scores, evaluate, sorted,
    };

    fn loss(k: usize, tau: f64) -> DfTopk {
        DfTopk::new(k, tau).unwrap()
    }

    #[test]
    fn equals_the_definition_with_all_classes_sorted() {
        for (seed, k) in [1, 2, 3, 6, 9].into_iter().enumerate() {
            for (label, tau) in [(0, 1.0), (5, 0.3), (9, 4.0), (3, 0.7)] {
                let scores = distinct_scores(10, 2.0, seed as u64);
                let ranked = sorted(scores.iter().copied());
                let t = 0.5 * (ranked[k - 1] + ranked[k]);
                let p = 1.0 / (1.0 + (-(scores[label] - t) / tau).exp());
                let (value, _) = evaluate(&loss(k, tau), &scores, label);
                assert!((value + p.ln()).abs() < 1e-14 * value.max(1.0), "k={k}");
                assert_gradient_is_slope(&loss(k, tau), &scores, label);
            }
            assert_soft_targets_are_a_sum(&loss(k, 0.7));
        }
    }

    #[test]
    fn the_label_may_be_a_class_of_the_threshold() {
        // The second and third highest scores are 2 and 1; p = σ(±½).
        let scores = [3.0, 1.0, 2.0, 0.0];
        let missing = |x: f64| 1.0 / (1.0 + x.exp());
        let (value, grad) = evaluate(&loss(2, 1.0), &scores, 2);
        assert!((value + (1.0 - missing(0.5)).ln()).abs() < 1e-15);
        let half = 0.5 * missing(0.5);
        assert_eq!(grad, [0.0, half, -half, 0.0]);
        let (_, grad) = evaluate(&loss(2, 1.0), &scores, 3);
        let all = missing(-1.5);
        assert_eq!(grad, [0.0, 0.5 * all, 0.5 * all, -all]);
    }

    #[test]
    fn of_equal_scores_the_lower_class_comes_first() {
        let (value, grad) = evaluate(&loss(2, 1.0), &[0.0, -0.0, 0.0, 0.0], 3);
        assert_eq!((value, grad), (2f64.ln(), vec![0.0, 0.25, 0.25, -0.5]));
    }

    #[test]
    fn finite_at_any_scale() {
        for scale in [1e-30, 1e4, 1e30] {
            for (k, label) in [(1, 0), (3, 4), (8, 8)] {
                let (value, grad) = evaluate(&loss(k, 1.0), &distinct_scores(9, scale, 1), label);
                assert!(value.is_finite() && value >= 0.0);
                assert!(grad.iter().all(|g| g.abs() <= 1.0));
                assert!(grad.iter().sum::<f64>().abs() < 1e-15);
            }
        }
    }

    #[test]
    fn bad_parameters_are_named() {
        assert_eq!(DfTopk::new(0, 1.0), Err(LossError::ZeroK));
        assert_eq!(DfTopk::new(1, 0.0), Err(LossError::Tau(0.0)));
        assert_eq!(
            loss(3, 1.0).check_classes(3),
            Err(LossError::TooFewClasses {
                needed: 4,
                classes: 3
            })
        );
    }
}
