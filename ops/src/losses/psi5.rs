use std::cmp::Ordering;

use crate::Score;
use crate::parameters::more_than;
use crate::ranking::{Ranked, by_rank, select_rank};
use crate::sample::{Sample, SampleLoss};
use crate::workspace::Workspace;

/// The top-k calibrated hinge loss ψ₅ of Yang and Koyejo, "On the Consistency of Top-k Surrogate
/// Losses", ICML 2020 ([arXiv 1901.11141](https://arxiv.org/abs/1901.11141)).
///
/// For scores s ∈ Rⁿ, label y and margin α ≥ 0, with s_\[k+1\] the (k + 1)-th largest of all n scores,
///
/// ```text
/// loss = max(0, α + s_[k+1] − s_y)
/// ```
///
/// The paper uses α = 1. [`BalancedNoisedTopk`](crate::BalancedNoisedTopk) is a smooth version of this
/// loss. For k = 1 it is not the multi-class hinge: a label with the second highest score is not compared
/// with the highest. At least k + 1 classes are needed.
///
/// Where the loss is positive, its derivatives are −1 for the label and 1 for the class of s_\[k+1\], where
/// of equal scores the lower class comes first; otherwise they are 0. If the label is that class itself,
/// the loss is α and all derivatives are 0: the loss is not convex, and such a sample contributes no
/// gradient.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Psi5 {
    k: usize,
    alpha: f64,
}

hinge_parameters!(Psi5);

impl SampleLoss for Psi5 {
    fn min_classes(&self) -> usize {
        more_than(self.k)
    }

    fn compute_f64(&self, workspace: &mut Workspace, sample: Sample<'_, f64>) -> f64 {
        let scores = sample.scores.iter().copied();
        let (_, next, _) = select_rank(&mut workspace.ranked, scores, self.k);
        self.compute(sample, next)
    }

    fn compute_f32(&self, workspace: &mut Workspace, sample: Sample<'_, f32>) -> f64 {
        let wrong = (self.k + 1).min(sample.scores.len() - 1);
        let highest = sample.highest_wrong(wrong, workspace);
        // The label is among all scores, but not among these.
        let label = (sample.scores[sample.label].into(), sample.label);
        let before_label = highest
            .iter()
            .take_while(|wrong| by_rank(wrong, &label).is_lt())
            .count();
        let next = match before_label.cmp(&self.k) {
            Ordering::Less => highest[self.k - 1],
            Ordering::Equal => label,
            Ordering::Greater => highest[self.k],
        };
        self.compute(sample, next)
    }

    fn compute_soft(
        &self,
        workspace: &mut Workspace,
        sample: Sample<'_, f64>,
        targets: &[f64],
    ) -> f64 {
        let scores = sample.scores.iter().copied();
        let (_, (next, class), _) = select_rank(&mut workspace.ranked, scores.clone(), self.k);
        let hinges = scores.map(|score| self.alpha + (next - score)).zip(targets);
        if let Some(grad) = sample.grad {
            let mut all = 0.0;
            for (g, (hinge, target)) in grad.iter_mut().zip(hinges.clone()) {
                let share = if hinge > 0.0 {
                    sample.factor * target
                } else {
                    0.0
                };
                *g = -share;
                all += share;
            }
            grad[class] += all;
        }
        hinges.map(|(hinge, target)| target * hinge.max(0.0)).sum()
    }
}

impl Psi5 {
    /// The loss from the (k + 1)-th highest score of all classes.
    fn compute<T: Score>(&self, sample: Sample<'_, T>, (next, class): Ranked) -> f64 {
        let label_score: f64 = sample.scores[sample.label].into();
        let hinge = self.alpha + (next - label_score);
        if let Some(grad) = sample.grad {
            grad.fill(T::default());
            if hinge > 0.0 && class != sample.label {
                grad[class] = T::from_f64(sample.factor);
                grad[sample.label] = T::from_f64(-sample.factor);
            }
        }
        hinge.max(0.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::LossError;
    use crate::losses::evaluate::{
        assert_gradient_is_slope, assert_soft_targets_are_a_sum, distinct_scores, evaluate, sorted,
    };

    fn loss(k: usize, alpha: f64) -> Psi5 {
        Psi5::new(k, alpha).unwrap()
    }

    #[test]
    fn equals_the_definition_with_all_classes_sorted() {
        for (seed, k) in [1, 2, 3, 6, 9].into_iter().enumerate() {
            for label in 0..10 {
                let scores = distinct_scores(10, 1.0, seed as u64);
                let expected = 0.6 + sorted(scores.iter().copied())[k] - scores[label];
                let (value, _) = evaluate(&loss(k, 0.6), &scores, label);
                assert!((value - expected.max(0.0)).abs() < 1e-15);
                assert_gradient_is_slope(&loss(k, 0.6), &scores, label);
            }
        }
    }

    #[test]
    fn soft_targets() {
        for k in [1, 4, 12] {
            assert_soft_targets_are_a_sum(&loss(k, 0.6));
        }
    }

    #[test]
    fn compares_the_label_with_the_next_of_all_classes() {
        let scores = [0.5, 3.0, 2.0, 1.0];
        let of = |k, label| evaluate(&loss(k, 1.0), &scores, label);
        assert_eq!(of(1, 1), (0.0, vec![0.0; 4]));
        assert_eq!(of(1, 2), (1.0, vec![0.0; 4]));
        assert_eq!(of(1, 3), (2.0, vec![0.0, 0.0, 1.0, -1.0]));
        assert_eq!(of(3, 3), (0.5, vec![1.0, 0.0, 0.0, -1.0]));
    }

    #[test]
    fn of_equal_scores_the_lower_class_comes_first() {
        let scores = [0.0, -0.0, 0.0, 0.0];
        let of = |k, label| evaluate(&loss(k, 1.0), &scores, label);
        assert_eq!(of(2, 0), (1.0, vec![-1.0, 0.0, 1.0, 0.0]));
        assert_eq!(of(2, 2), (1.0, vec![0.0; 4]));
        assert_eq!(of(1, 3), (1.0, vec![0.0, 1.0, 0.0, -1.0]));
        assert_eq!(evaluate(&loss(2, 0.0), &scores, 0), (0.0, vec![0.0; 4]));
    }

    #[test]
    fn finite_at_any_scale() {
        for scale in [1e-30, 1.0, 1e30] {
            for (k, label) in [(1, 0), (3, 4), (8, 8)] {
                let (value, _) = evaluate(&loss(k, 1.0), &distinct_scores(9, scale, 1), label);
                assert!(value.is_finite() && value >= 0.0);
            }
        }
    }

    #[test]
    fn bad_parameters_are_named() {
        assert_eq!(Psi5::new(0, 1.0), Err(LossError::ZeroK));
        assert_eq!(Psi5::new(1, -1.0), Err(LossError::Alpha(-1.0)));
        assert_eq!(
            loss(3, 1.0).check_classes(3),
            Err(LossError::TooFewClasses {
                needed: 4,
                classes: 3
            })
        );
    }
}
