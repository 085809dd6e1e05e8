use crate::Score;
use crate::parameters::more_than;
use crate::ranking::Ranked;
use crate::sample::{Sample, SampleLoss};
use crate::workspace::Workspace;

/// The hard top-k SVM, the limit of [`SmoothTopkSvm`](crate::SmoothTopkSvm) as τ → 0: the loss that
/// Berrada, Zisserman and Kumar start from (ICLR 2018,
/// [arXiv 1802.07595](https://arxiv.org/abs/1802.07595)).
///
/// For scores s ∈ Rⁿ, label y and margin α ≥ 0, with t the k-th largest score of the wrong classes,
///
/// ```text
/// loss = max(0, α + (t − s_y) / k)
/// ```
///
/// k = 1 is the multi-class hinge loss of Crammer and Singer (JMLR 2001). At least k + 1 classes are
/// needed. Where the loss is positive, its derivatives are −1/k for the label and 1/k for the k-th wrong
/// class, where of equal scores the lower class comes first; otherwise they are 0. Because only two
/// scores have a gradient, it trains deep networks poorly, which is why the smooth loss exists.
#[doc(alias = "MaxTop1SVM")]
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MaxTopkSvm {
    k: usize,
    alpha: f64,
}

hinge_parameters!(MaxTopkSvm);

impl SampleLoss for MaxTopkSvm {
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

impl MaxTopkSvm {
    /// The loss from the k highest wrong classes, with the k-th last.
    fn compute<T: Score>(&self, sample: Sample<'_, T>, highest: &[Ranked]) -> f64 {
        let (kth, class) = highest[self.k - 1];
        let k = self.k as f64;
        let label_score: f64 = sample.scores[sample.label].into();
        let hinge = self.alpha + (kth - label_score) / k;
        if let Some(grad) = sample.grad {
            grad.fill(T::default());
            if hinge > 0.0 {
                grad[class] = T::from_f64(sample.factor / k);
                grad[sample.label] = T::from_f64(-sample.factor / k);
            }
        }
        hinge.max(0.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::LossError;
    use crate::{Loss, SmoothTopkSvm};

    fn loss(k: usize, alpha: f64, scores: &[f32], label: i64) -> (f32, Vec<f32>) {
        let mut value = [f32::NAN];
        let mut grad = vec![f32::NAN; scores.len()];
        MaxTopkSvm::new(k, alpha)
            .unwrap()
            .forward_backward(scores, &[label], &mut value, &mut grad)
            .unwrap();
        (value[0], grad)
    }

    #[test]
    fn value_and_gradient_compare_the_label_with_the_kth_wrong_class() {
        let scores = [0.5, 3.0, 2.0, 1.0];
        assert_eq!(loss(1, 1.0, &scores, 2), (2.0, vec![0.0, 1.0, -1.0, 0.0]));
        assert_eq!(loss(2, 1.0, &scores, 2), (0.5, vec![0.0, 0.0, -0.5, 0.5]));
        assert_eq!(loss(3, 0.25, &scores, 2), (0.0, vec![0.0; 4]));
        assert_eq!(loss(2, 0.0, &[1.0; 4], 0), (0.0, vec![0.0; 4]));
        assert_eq!(loss(2, 1.0, &[1.0; 4], 0), (1.0, vec![-0.5, 0.0, 0.5, 0.0]));
        let zeros = [1.0, -0.0, 0.0];
        assert_eq!(loss(1, 1.0, &zeros, 0), (0.0, vec![0.0; 3]));
        assert_eq!(loss(1, 2.0, &zeros, 0), (1.0, vec![-1.0, 1.0, 0.0]));
    }

    #[test]
    fn is_the_limit_of_the_smooth_loss() {
        let scores: Vec<f32> = (0..30).map(|i| 5.0 * f32::sin(3.7 * i as f32)).collect();
        for k in [1, 2, 5, 29] {
            for label in 0..30 {
                let (value, grad) = loss(k, 1.0, &scores, label);
                let (mut smooth, mut smooth_grad) = ([0.0], vec![0.0; 30]);
                SmoothTopkSvm::new(k, 1e-6, 1.0)
                    .unwrap()
                    .forward_backward(&scores, &[label], &mut smooth, &mut smooth_grad)
                    .unwrap();
                assert!((value - smooth[0]).abs() < 1e-4, "k={k} label={label}");
                for (hard, smooth) in grad.iter().zip(smooth_grad) {
                    assert!((hard - smooth).abs() < 1e-4, "k={k} label={label}");
                }
            }
        }
    }

    #[test]
    fn bad_parameters_are_named() {
        assert_eq!(MaxTopkSvm::new(0, 1.0), Err(LossError::ZeroK));
        assert_eq!(MaxTopkSvm::new(1, -1.0), Err(LossError::Alpha(-1.0)));
        let svm = MaxTopkSvm::new(2, 1.0).unwrap();
        assert_eq!(
            svm.forward(&[0.0f32; 2], &[0], &mut [0.0]),
            Err(LossError::TooFewClasses {
                needed: 3,
                classes: 2
            })
        );
    }
}
