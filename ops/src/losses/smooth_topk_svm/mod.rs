mod single;

use crate::LossError;
use crate::elementary_symmetric::subset_sizes::SubsetSizes;
use crate::elementary_symmetric::tail::MAX_K;
use crate::parameters::{check_alpha, check_k, check_tau, more_than};
use crate::sample::{Sample, SampleLoss};
use crate::workspace::Workspace;

/// The smooth top-k SVM: the loss of Berrada, Zisserman and Kumar, "Smooth Loss Functions for Deep
/// Top-k Classification", ICLR 2018 ([arXiv 1802.07595](https://arxiv.org/abs/1802.07595)).
///
/// For scores s ∈ Rⁿ, label y, temperature τ > 0 and margin α ≥ 0, with z_i = s_i / (kτ) and e_j the
/// j-th elementary symmetric polynomial of {exp z_i : i ≠ y},
///
/// ```text
/// u = α/τ + ln e_k − ln e_{k−1} − z_y
/// loss = τ ln(1 + exp u)
/// ```
///
/// which is the paper's top-k hinge with each maximum over sets of k classes replaced by a log-sum-exp at
/// temperature τ. With p = 1/(1 + exp −u), and π⁽ʲ⁾_i = ∂ ln e_j / ∂z_i,
///
/// ```text
/// ∂loss/∂s_y = −p/k
/// ∂loss/∂s_i = (p/k) (π⁽ᵏ⁾_i − π⁽ᵏ⁻¹⁾_i),   i ≠ y
/// ```
///
/// The gradient sums to zero and its entries are between −1/k and 1/k. As τ → 0 the loss tends to
/// max(0, α + (t − s_y)/k), where t is the k-th largest score of the wrong classes; k = 1 is the
/// smooth multi-class SVM. At least k + 1 classes are needed.
///
/// There is no approximation at any temperature or spread of the scores: on all test cases, computed
/// with 60 digits, errors of the loss, relative to max(1, loss), and of gradient entries are below 2e-7
/// and 1e-7 for `f32` scores, and below 1e-12 for `f64`. Time is O(n·k) per sample. For `f32` scores and
/// k up to 32 the computation is vectorized over the classes, with a time of O(n + k²) unless the weights of a few classes
/// are a large part of the sum of all; otherwise it uses `f64`.
#[doc(alias = "SmoothTop1SVM")]
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SmoothTopkSvm {
    k: usize,
    tau: f64,
    alpha: f64,
}

impl SmoothTopkSvm {
    /// A loss for top-`k` accuracy with temperature `tau` and margin `alpha`, both in units of the
    /// scores. The paper uses `alpha` = 1 and `tau` = 1 (CIFAR-100) or 0.1 (ImageNet).
    ///
    /// # Errors
    /// If `k` is 0, `tau` is not a positive finite number, or `alpha` is negative or not finite.
    pub fn new(k: usize, tau: f64, alpha: f64) -> Result<Self, LossError> {
        Ok(Self {
            k: check_k(k)?,
            tau: check_tau(tau)?,
            alpha: check_alpha(alpha)?,
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

    /// Margin.
    pub fn alpha(&self) -> f64 {
        self.alpha
    }
}

/// Buffers for one sample in `f64`.
#[derive(Debug, Default)]
struct Buffers {
    wrong: Vec<f64>,
    sizes: SubsetSizes,
}

impl SampleLoss for SmoothTopkSvm {
    fn min_classes(&self) -> usize {
        more_than(self.k)
    }

    fn compute_f64(&self, workspace: &mut Workspace, sample: Sample<'_, f64>) -> f64 {
        let Buffers { wrong, sizes } = workspace.of_loss();
        let Sample { scores, label, .. } = sample;
        let k = self.k as f64;
        wrong.clear();
        wrong.extend(sample.wrong_scores());
        let (_, &mut kth, _) = wrong.select_nth_unstable_by(self.k - 1, |a, b| b.total_cmp(a));

        // Differences are taken before the division: near the hinge u is a small difference of
        // large numbers. The division by kτ may overflow to infinity, which `SubsetSizes` expects.
        sizes.set(
            self.k,
            sample.wrong_scores().map(|s| (s - kth) / k / self.tau),
        );
        let (value, p) = self.value_and_probability(kth, scores[label], sizes.log_ratio());
        if let Some(grad) = sample.grad {
            let scale = sample.factor * p / k;
            let wrong = (0..label).chain(label + 1..scores.len());
            for (class, difference) in wrong.zip(sizes.marginal_differences()) {
                grad[class] = scale * difference;
            }
            grad[label] = -scale;
        }
        value
    }

    fn compute_f32(&self, workspace: &mut Workspace, sample: Sample<'_, f32>) -> f64 {
        match self.k {
            ..=MAX_K => {
                let mut value = [0.0];
                self.side_by_side_f32(workspace, &mut [sample], &mut value);
                value[0]
            }
            _ => sample.in_f64(workspace, |workspace, sample| {
                self.compute_f64(workspace, sample)
            }),
        }
    }

    fn work_per_score(&self) -> usize {
        match self.k {
            0..=MAX_K => 1 + self.k / 8,
            _ => self.k.saturating_mul(2),
        }
    }

    fn side_by_side(&self, classes: usize) -> usize {
        match self.k {
            ..=MAX_K => single::samples_side_by_side(classes),
            _ => 1,
        }
    }

    fn compute_side_by_side_f32(
        &self,
        workspace: &mut Workspace,
        samples: &mut [Sample<'_, f32>],
        values: &mut [f64],
    ) -> bool {
        debug_assert!(self.k <= MAX_K, "others are computed one by one");
        self.side_by_side_f32(workspace, samples, values)
    }
}

impl SmoothTopkSvm {
    /// 1/(kτ).
    fn per_score(&self) -> f64 {
        (1.0 / self.k as f64 / self.tau).min(f64::MAX)
    }

    /// The loss and p; `log_ratio` is ln e_k − ln e_{k−1} relative to the k-th highest wrong score.
    fn value_and_probability(&self, kth: f64, label_score: f64, log_ratio: f64) -> (f64, f64) {
        let hinge = self.hinge(kth, label_score, log_ratio);
        let small = (-(hinge / self.tau).abs()).exp();
        self.smoothed(hinge, small, small.ln_1p())
    }

    /// τu.
    #[inline(always)]
    fn hinge(&self, kth: f64, label_score: f64, log_ratio: f64) -> f64 {
        self.alpha + (kth - label_score) / self.k as f64 + self.tau * log_ratio
    }

    /// τ ln(1 + exp u) and 1/(1 + exp −u), for u of any size: `small` is exp −|u|.
    #[inline(always)]
    fn smoothed(&self, hinge: f64, small: f64, ln_1_plus_small: f64) -> (f64, f64) {
        let value = hinge.max(0.0) + self.tau * ln_1_plus_small;
        let p = if hinge > 0.0 { 1.0 } else { small } / (1.0 + small);
        (value, p)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::losses::evaluate::evaluate;
    use crate::{CrossEntropy, Loss};

    #[test]
    fn equals_the_definition_over_all_sets() {
        // The paper's definition written out: log-sum-exp over all k-sets of the classes.
        let scores = [0.3, -1.2, 0.8, 2.0, 0.1, -0.4];
        let (label, k, tau, alpha) = (4, 3, 0.7, 0.9);
        let (mut all, mut with_label) = (0.0, 0.0);
        for set in 0u32..1 << scores.len() {
            if set.count_ones() as usize == k {
                let sum: f64 = (0..scores.len())
                    .filter(|i| set >> i & 1 == 1)
                    .map(|i| scores[i])
                    .sum();
                let contains = set >> label & 1 == 1;
                let margin = if contains { 0.0 } else { alpha };
                all += ((margin + sum / k as f64) / tau).exp();
                if contains {
                    with_label += (sum / k as f64 / tau).exp();
                }
            }
        }
        let expected = tau * (f64::ln(all) - f64::ln(with_label));
        let svm = SmoothTopkSvm::new(k, tau, alpha).unwrap();
        let (found, _) = evaluate(&svm, &scores, label);
        assert!((found - expected).abs() < 1e-14, "{found} {expected}");
    }

    #[test]
    fn gradient_is_the_derivative() {
        let scores = [0.3, -1.2, 0.8, 2.0, 0.1, -0.4, 1.9];
        for k in 1..=6 {
            for tau in [0.05, 0.5, 5.0] {
                let svm = SmoothTopkSvm::new(k, tau, 1.0).unwrap();
                let (_, grad) = evaluate(&svm, &scores, 2);
                assert!(grad.iter().sum::<f64>().abs() < 1e-15);
                for i in 0..scores.len() {
                    let h = 1e-6;
                    let (mut above, mut below) = (scores, scores);
                    above[i] += h;
                    below[i] -= h;
                    let slope =
                        (evaluate(&svm, &above, 2).0 - evaluate(&svm, &below, 2).0) / (2.0 * h);
                    assert!((grad[i] - slope).abs() < 1e-8, "k={k} tau={tau} i={i}");
                }
            }
        }
    }

    #[test]
    fn tends_to_the_hard_loss() {
        let scores = [0.3, -1.2, 0.8, 2.0, 0.1, -0.4];
        let svm = SmoothTopkSvm::new(2, 1e-12, 1.0).unwrap();
        let (value, grad) = evaluate(&svm, &scores, 4);
        assert!((value - (1.0 + (0.8 - 0.1) / 2.0)).abs() < 1e-11);
        assert_eq!(grad, [0.0, 0.0, 0.5, 0.0, -0.5, 0.0]);
    }

    #[test]
    fn top1_without_margin_is_cross_entropy() {
        let scores = [0.3, -1.2, 0.8, 20.0, 0.1, -0.4];
        let svm = SmoothTopkSvm::new(1, 1.0, 0.0).unwrap();
        for label in 0..6 {
            let (value, grad) = evaluate(&svm, &scores, label);
            let (expected, expected_grad) = evaluate(&CrossEntropy, &scores, label);
            assert!((value - expected).abs() < 1e-14 * expected.max(1.0));
            for (found, expected) in grad.iter().zip(expected_grad) {
                assert!((found - expected).abs() < 1e-15);
            }
        }
    }

    #[test]
    fn finite_at_any_scale_and_temperature() {
        for exponent in -30..=30 {
            let scale = 10f64.powi(exponent);
            let scores: Vec<f64> = (0..40).map(|i| scale * f64::cos(i as f64)).collect();
            for tau in [1e-30, 1e-3, 1.0, 1e30] {
                for k in [1, 5, 39] {
                    let (value, grad) =
                        evaluate(&SmoothTopkSvm::new(k, tau, 1.0).unwrap(), &scores, 3);
                    assert!(value.is_finite() && value >= 0.0);
                    assert!(grad.iter().all(|g| g.abs() <= 1.0 / k as f64 + 1e-15));
                    assert!(grad.iter().sum::<f64>().abs() < 1e-12);
                }
            }
        }
    }

    #[test]
    fn f32_agrees_with_f64() {
        let mut state = 1u64;
        let mut uniform = || {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            (state >> 40) as f32 / (1u64 << 24) as f32
        };
        for case in 0..3000 {
            let k = [1, 2, 3, 5, 8, 9, 20, 32][case % 8];
            let classes = k + 1 + (uniform() * [3.0, 40.0, 400.0][case % 3]) as usize;
            let spread = 10f32.powf(6.0 * uniform() - 3.0);
            let tau = 10f64.powf(6.0 * f64::from(uniform()) - 3.0);
            // Few distinct scores in every fifth case, for ties.
            let steps = if case % 5 == 0 { 4.0 } else { 1e6 };
            let scores: Vec<f32> = (0..classes)
                .map(|_| spread * (steps * uniform()).floor() / steps)
                .collect();
            let label = (uniform() * classes as f32) as i64;
            let svm = SmoothTopkSvm::new(k, tau, 1.0).unwrap();

            let wide: Vec<f64> = scores.iter().map(|&score| score.into()).collect();
            let (expected, expected_grad) = evaluate(&svm, &wide, label as usize);
            let (mut value, mut grad) = ([0.0], vec![f32::NAN; classes]);
            svm.forward_backward(&scores, &[label], &mut value, &mut grad)
                .unwrap();
            let context = format!("case {case}: {classes} classes, k={k} tau={tau} {spread}");
            let error = (f64::from(value[0]) - expected).abs() / expected.max(1.0);
            assert!(
                error <= 2e-7,
                "{context}: loss {} is not {expected}",
                value[0]
            );
            for (found, expected) in grad.iter().zip(expected_grad) {
                let error = (f64::from(*found) - expected).abs();
                assert!(
                    error <= 1e-7,
                    "{context}: gradient {found} is not {expected}"
                );
            }
        }
    }

    #[test]
    fn f32_agrees_with_f64_at_the_ends_of_the_range() {
        let scores: Vec<f32> = (0..60)
            .map(|i| f32::MAX * f32::cos(2.0 * i as f32))
            .collect();
        let wide: Vec<f64> = scores.iter().map(|&score| score.into()).collect();
        for tau in [1e-30, 1.0, 1e34, 1e36, 1e38, 1e60] {
            for k in [1, 5, 20] {
                let svm = SmoothTopkSvm::new(k, tau, 1.0).unwrap();
                let (expected, expected_grad) = evaluate(&svm, &wide, 3);
                let (mut value, mut grad) = ([0.0], [f32::NAN; 60]);
                let expected = expected as f32;
                svm.forward_backward(&scores, &[3], &mut value, &mut grad)
                    .unwrap();
                let is_close = value[0] == expected || (value[0] / expected - 1.0).abs() < 2e-7;
                assert!(is_close, "k={k} tau={tau}: {} {expected}", value[0]);
                for (found, expected) in grad.iter().zip(expected_grad) {
                    let error = (f64::from(*found) - expected).abs();
                    assert!(error <= 1e-7, "k={k} tau={tau}: {found} {expected}");
                }
            }
        }
    }

    #[test]
    fn bad_parameters_are_named() {
        assert_eq!(SmoothTopkSvm::new(0, 1.0, 1.0), Err(LossError::ZeroK));
        for tau in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            assert!(matches!(
                SmoothTopkSvm::new(1, tau, 1.0),
                Err(LossError::Tau(_))
            ));
        }
        assert_eq!(
            SmoothTopkSvm::new(1, 1.0, -0.5),
            Err(LossError::Alpha(-0.5))
        );
    }

    #[test]
    fn bad_batches_are_named() {
        let svm = SmoothTopkSvm::new(2, 1.0, 1.0).unwrap();
        let forward = |scores: &[f32], labels: &[i64]| {
            svm.forward(scores, labels, &mut vec![0.0; labels.len()])
        };
        assert_eq!(
            forward(&[0.0, 1.0], &[0]).unwrap_err().to_string(),
            "this loss needs at least 3 classes, got 2"
        );
        assert_eq!(
            forward(&[0.0, 1.0, f32::NAN], &[0])
                .unwrap_err()
                .to_string(),
            "score NaN of sample 0, class 2 is not finite"
        );
        for label in [-1, 3] {
            assert_eq!(
                forward(&[0.0, 1.0, 2.0], &[label]),
                Err(LossError::Label {
                    sample: 0,
                    label,
                    classes: 3
                })
            );
        }
        assert_eq!(
            forward(&[0.0; 7], &[0, 1]),
            Err(LossError::Shape {
                scores: 7,
                labels: 2
            })
        );
        assert_eq!(forward(&[], &[]), Ok(()));
    }
}
