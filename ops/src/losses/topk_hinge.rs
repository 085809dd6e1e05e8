use crate::Score;
use crate::parameters::more_than;
use crate::ranking::Ranked;
use crate::sample::{Sample, SampleLoss};
use crate::workspace::Workspace;

/// The top-k hinge loss α: the loss of the top-k multiclass SVM of Lapin, Hein and Schiele (NIPS 2015,
/// [arXiv 1511.06683](https://arxiv.org/abs/1511.06683)), called top-k SVM^α in their comparison of
/// losses (CVPR 2016, [arXiv 1512.00486](https://arxiv.org/abs/1512.00486)).
///
/// For scores s ∈ Rⁿ, label y and margin α ≥ 0, with h_j = α + s_j − s_y for the wrong classes, h_y = 0,
/// and h_\[j\] the j-th largest of all n,
///
/// ```text
/// loss = max(0, (h_[1] + … + h_[k]) / k)
/// ```
///
/// The label takes part in the ranking: its h of 0 replaces that of a k-th wrong class whose h is negative.
/// (The authors' library, libsdca, ranks the wrong classes alone. Its loss is smaller in that case and
/// identical otherwise.) The papers use α = 1.
///
/// k = 1 is the multi-class hinge loss of Crammer and Singer (JMLR 2001). At least k + 1 classes are
/// needed. Where the loss is positive, the derivatives are 1/k for each wrong class among the k and minus
/// their sum for the label, where of equal h the lower class comes first; otherwise they are 0.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TopkHingeAlpha {
    k: usize,
    alpha: f64,
}

/// The top-k hinge loss β: the loss of Usunier, Buffoni and Gallinari (ICML 2009), in the form of Lapin,
/// Hein and Schiele (NIPS 2015, [arXiv 1511.06683](https://arxiv.org/abs/1511.06683); CVPR 2016,
/// [arXiv 1512.00486](https://arxiv.org/abs/1512.00486), top-k SVM^β).
///
/// With the h of [`TopkHingeAlpha`],
///
/// ```text
/// loss = (max(0, h_[1]) + … + max(0, h_[k])) / k
/// ```
///
/// It is never below the loss α. k = 1 is the multi-class hinge loss of Crammer and Singer (JMLR 2001).
/// At least k + 1 classes are needed. The derivatives are 1/k for each wrong class among the k with
/// h > 0 and minus their sum for the label, where of equal scores the lower class comes first.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TopkHingeBeta {
    k: usize,
    alpha: f64,
}

hinge_parameters!(TopkHingeAlpha);
hinge_parameters!(TopkHingeBeta);

impl SampleLoss for TopkHingeAlpha {
    fn min_classes(&self) -> usize {
        more_than(self.k)
    }

    fn compute_f64(&self, workspace: &mut Workspace, sample: Sample<'_, f64>) -> f64 {
        let highest = sample.highest_wrong(self.k, workspace);
        self.compute(sample, highest)
    }

    fn compute_f32(&self, workspace: &mut Workspace, sample: Sample<'_, f32>) -> f64 {
        let highest = sample.highest_wrong(self.k, workspace);
        self.compute(sample, highest)
    }
}

impl TopkHingeAlpha {
    /// The loss from the k highest wrong classes, with the k-th last.
    fn compute<T: Score>(&self, sample: Sample<'_, T>, highest: &[Ranked]) -> f64 {
        let (k, label) = (self.k as f64, sample.label);
        let label_score: f64 = sample.scores[label].into();
        let violation = |score: f64| self.alpha + (score - label_score);
        // The k-th wrong class counts only if it ranks before the label, whose h is 0.
        let kth = highest[self.k - 1];
        let kth_violation = violation(kth.0);
        let kth_counts = kth_violation > 0.0 || (kth_violation == 0.0 && kth.1 < label);
        let classes = &highest[..self.k - usize::from(!kth_counts)];
        let sum: f64 = classes.iter().map(|&(score, _)| violation(score)).sum();
        if let Some(grad) = sample.grad {
            grad.fill(T::default());
            if sum > 0.0 {
                for &(_, class) in classes {
                    grad[class] = T::from_f64(sample.factor / k);
                }
                grad[label] = T::from_f64(-sample.factor * classes.len() as f64 / k);
            }
        }
        (sum / k).max(0.0)
    }
}

impl SampleLoss for TopkHingeBeta {
    fn min_classes(&self) -> usize {
        more_than(self.k)
    }

    fn compute_f64(&self, workspace: &mut Workspace, sample: Sample<'_, f64>) -> f64 {
        let highest = sample.highest_wrong(self.k, workspace);
        self.compute(sample, highest)
    }

    fn compute_f32(&self, workspace: &mut Workspace, sample: Sample<'_, f32>) -> f64 {
        let highest = sample.highest_wrong(self.k, workspace);
        self.compute(sample, highest)
    }
}

impl TopkHingeBeta {
    /// The loss from the k highest wrong classes.
    fn compute<T: Score>(&self, sample: Sample<'_, T>, highest: &[Ranked]) -> f64 {
        let (k, label) = (self.k as f64, sample.label);
        let label_score: f64 = sample.scores[label].into();
        let violation = |score: f64| self.alpha + (score - label_score);
        let classes = || highest.iter().filter(|&&(score, _)| violation(score) > 0.0);
        if let Some(grad) = sample.grad {
            grad.fill(T::default());
            for &(_, class) in classes() {
                grad[class] = T::from_f64(sample.factor / k);
            }
            grad[label] = T::from_f64(-sample.factor * classes().count() as f64 / k);
        }
        let sum: f64 = classes().map(|&(score, _)| violation(score)).sum();
        sum / k
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::LossError;
    use crate::MaxTopkSvm;
    use crate::losses::evaluate::{assert_gradient_is_slope, distinct_scores, evaluate, sorted};

    fn losses(k: usize, alpha: f64) -> (TopkHingeAlpha, TopkHingeBeta) {
        let losses =
            TopkHingeAlpha::new(k, alpha).and_then(|a| Ok((a, TopkHingeBeta::new(k, alpha)?)));
        losses.unwrap()
    }

    #[test]
    fn equal_the_definition_over_all_classes_sorted() {
        for (seed, k) in [1, 2, 3, 5, 11].into_iter().enumerate() {
            for (label, spread) in [(0, 1.0), (5, 1.0), (11, 3.0), (7, 0.2), (2, 20.0)] {
                let scores = distinct_scores(12, spread, seed as u64);
                for alpha in [0.0, 0.3, 1.0] {
                    let h = sorted((0..12).map(|j| {
                        let margin = if j == label { 0.0 } else { alpha };
                        scores[j] - scores[label] + margin
                    }));
                    let expected_alpha = f64::max(0.0, h[..k].iter().sum::<f64>() / k as f64);
                    let expected_beta = h[..k].iter().map(|h| h.max(0.0)).sum::<f64>() / k as f64;
                    let (a, b) = losses(k, alpha);
                    assert!((evaluate(&a, &scores, label).0 - expected_alpha).abs() < 1e-14);
                    assert!((evaluate(&b, &scores, label).0 - expected_beta).abs() < 1e-14);
                    assert_gradient_is_slope(&a, &scores, label);
                    assert_gradient_is_slope(&b, &scores, label);
                }
            }
        }
    }

    #[test]
    fn alpha_counts_negative_h_and_beta_does_not() {
        // h of the wrong classes 0, 2 and 1, with label 3: 2, −0.5 and −6.
        let scores = [1.0, -7.0, -1.5, 0.0, -8.0];
        let (a, b) = losses(2, 1.0);
        assert_eq!(
            evaluate(&a, &scores, 3),
            (1.0, vec![0.5, 0.0, 0.0, -0.5, 0.0])
        );
        assert_eq!(
            evaluate(&b, &scores, 3),
            (1.0, vec![0.5, 0.0, 0.0, -0.5, 0.0])
        );
        let (a, b) = losses(3, 1.0);
        assert_eq!(evaluate(&a, &scores, 3).0, 0.5);
        assert_eq!(evaluate(&b, &scores, 3).0, 2.0 / 3.0);
        assert_eq!(
            evaluate(&a, &scores, 3).1,
            [1.0 / 3.0, 0.0, 1.0 / 3.0, -2.0 / 3.0, 0.0]
        );
        let (a, _) = losses(4, 1.0);
        assert_eq!(evaluate(&a, &scores, 3), (0.0, vec![0.0; 5]));
    }

    #[test]
    fn of_equal_scores_the_lower_class_comes_first() {
        let scores = [2.0, -0.0, 1.0, 0.0, 0.0];
        let (a, b) = losses(3, 1.0);
        let third = 1.0 / 3.0;
        let expected = (5.0 / 3.0, vec![third, third, third, -1.0, 0.0]);
        assert_eq!(evaluate(&a, &scores, 3).1, expected.1);
        assert_eq!(evaluate(&b, &scores, 3).1, expected.1);
        assert!((evaluate(&a, &scores, 3).0 - 2.0).abs() < 1e-15);

        // A wrong class with the h of the label, 0: before the label or after it.
        let (a, b) = losses(2, 1.0);
        assert_eq!(evaluate(&a, &[1.0, -1.0, 0.0], 2).1, [0.5, 0.5, -1.0]);
        assert_eq!(evaluate(&a, &[1.0, 0.0, -1.0], 1).1, [0.5, -0.5, 0.0]);
        assert_eq!(evaluate(&b, &[1.0, -1.0, 0.0], 2).1, [0.5, 0.0, -0.5]);
    }

    #[test]
    fn k_of_one_is_the_multiclass_hinge() {
        let hinge = MaxTopkSvm::new(1, 0.7).unwrap();
        let (a, b) = losses(1, 0.7);
        for label in 0..9 {
            let scores = distinct_scores(9, 1.0, 3);
            let expected = evaluate(&hinge, &scores, label);
            assert_eq!(evaluate(&a, &scores, label), expected);
            assert_eq!(evaluate(&b, &scores, label), expected);
        }
    }

    #[test]
    fn finite_at_any_scale() {
        for scale in [1e-30, 1.0, 1e30] {
            let scores = distinct_scores(9, scale, 1);
            for (k, label) in [(1, 0), (3, 4), (8, 8)] {
                let (a, b) = losses(k, 1.0);
                for (value, grad) in [evaluate(&a, &scores, label), evaluate(&b, &scores, label)] {
                    assert!(value.is_finite() && value >= 0.0);
                    assert!(grad.iter().all(|g| g.abs() <= 1.0));
                }
            }
        }
    }

    #[test]
    fn bad_parameters_are_named() {
        assert_eq!(TopkHingeAlpha::new(0, 1.0), Err(LossError::ZeroK));
        assert_eq!(TopkHingeBeta::new(0, 1.0), Err(LossError::ZeroK));
        assert_eq!(TopkHingeAlpha::new(1, -1.0), Err(LossError::Alpha(-1.0)));
        assert!(matches!(
            TopkHingeBeta::new(1, f64::NAN),
            Err(LossError::Alpha(_))
        ));
        let few = LossError::TooFewClasses {
            needed: 3,
            classes: 2,
        };
        let (a, b) = losses(2, 1.0);
        assert_eq!(a.check_classes(2), Err(few.clone()));
        assert_eq!(b.check_classes(2), Err(few));
    }
}
