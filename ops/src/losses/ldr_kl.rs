use crate::LossError;
use crate::parameters::{check_alpha, check_tau};
use crate::sample::{Sample, SampleLoss};
use crate::workspace::Workspace;

/// The LDR-KL loss of Zhu, Ying and Yang, "Label Distributionally Robust Losses for Multi-class
/// Classification", ICML 2023 ([arXiv 2112.14869](https://arxiv.org/abs/2112.14869)).
///
/// It is the loss at the worst distribution of labels, less a penalty τ times its divergence from the
/// uniform one. For scores s ∈ Rⁿ, label y, temperature τ and margin α ≥ 0 (λ and c in the paper),
///
/// ```text
/// loss = τ ln( (1/n) Σ_j exp((s_j − s_y + α [j ≠ y])/τ) )
/// ```
///
/// This is [`SmoothTopkSvm`](crate::SmoothTopkSvm) with k = 1, less the constant τ ln n, and cross-entropy
/// less ln n with τ = 1 and α = 0. Unlike the other losses it is negative where the label has the highest
/// score by far: its least value is −τ ln n. It has no k: with α = 0 the paper proves it consistent for top-k
/// accuracy for every k. Large τ gives the mean over all classes, small τ the multi-class hinge.
///
/// The derivatives are those of cross-entropy, with the softmax of the exponents. At least one class is needed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LdrKl {
    tau: f64,
    alpha: f64,
}

impl LdrKl {
    /// A loss with temperature `tau` and margin `alpha`, in units of the scores.
    ///
    /// # Errors
    /// If `tau` is not above 0, `alpha` is negative, or one is not finite.
    pub fn new(tau: f64, alpha: f64) -> Result<Self, LossError> {
        Ok(Self {
            tau: check_tau(tau)?,
            alpha: check_alpha(alpha)?,
        })
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

impl SampleLoss for LdrKl {
    fn min_classes(&self) -> usize {
        1
    }

    fn compute_f64(&self, _: &mut Workspace, sample: Sample<'_, f64>) -> f64 {
        let Sample { scores, label, .. } = sample;
        let of_label = scores[label];
        let exponent = |score: f64| (score - of_label + self.alpha) / self.tau;
        let wrong = sample.wrong_scores().map(|&score| exponent(score));
        let max = wrong.clone().fold(0.0, f64::max);
        let others: f64 = wrong.clone().map(|x| (x - max).exp()).sum();
        let own = (-max).exp();
        if let Some(grad) = sample.grad {
            let scale = sample.factor / (own + others);
            for (g, &score) in grad.iter_mut().zip(scores) {
                *g = scale * (exponent(score) - max).exp();
            }
            grad[label] = -scale * others;
        }
        let n = scores.len() as f64;
        // The mean is near 1 where all exponents are near 0, as with a large temperature.
        let near = wrong.clone().all(|x| x.abs() < 0.5);
        self.tau
            * match near {
                true => (wrong.map(f64::exp_m1).sum::<f64>() / n).ln_1p(),
                false => max + ((own + others) / n).ln(),
            }
    }

    /// With u_j = exp((s_j − max)/τ) and a = exp(−α/τ), the loss of label c is
    /// α + max − s_c + τ ln((Σ_{j ≠ c} u_j + a u_c)/n).
    fn compute_soft(&self, _: &mut Workspace, sample: Sample<'_, f64>, targets: &[f64]) -> f64 {
        let scores = sample.scores;
        let highest = (1..scores.len()).fold(0, |best, class| match scores[class] > scores[best] {
            true => class,
            false => best,
        });
        let max = scores[highest];
        let own = (-self.alpha / self.tau).exp();
        let power = |score: f64| ((score - max) / self.tau).exp();
        let (before, after) = (&scores[..highest], &scores[highest + 1..]);
        // Nothing cancels in the sums of the others: their terms are at most 1, which that of the highest is.
        let others: f64 = before.iter().chain(after).map(|&s| power(s)).sum();
        let sum_of = |class: usize| match class == highest {
            true => others + own,
            false => 1.0 + others - (1.0 - own) * power(scores[class]),
        };
        if let Some(grad) = sample.grad {
            let shares = (0..scores.len()).map(|class| targets[class] / sum_of(class));
            let all: f64 = shares.clone().sum();
            for (class, share) in shares.enumerate() {
                let slope = power(scores[class]) * (all - (1.0 - own) * share);
                grad[class] = sample.factor * (slope - targets[class]);
            }
        }
        let n = scores.len() as f64;
        let losses = (0..scores.len()).map(|class| {
            targets[class]
                * (self.alpha + (max - scores[class]) + self.tau * (sum_of(class) / n).ln())
        });
        losses.sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SmoothTopkSvm;
    use crate::losses::evaluate::{
        assert_gradient_is_slope, assert_soft_targets_are_a_sum, distinct_scores, evaluate,
    };

    fn loss(tau: f64, alpha: f64) -> LdrKl {
        LdrKl::new(tau, alpha).unwrap()
    }

    #[test]
    fn equals_the_definition() {
        for (seed, (tau, alpha)) in [(1.0, 1.0), (0.3, 0.0), (5.0, 2.0), (80.0, 0.5)]
            .into_iter()
            .enumerate()
        {
            for label in [0, 5, 9] {
                let scores = distinct_scores(10, 3.0, seed as u64);
                let terms = scores.iter().enumerate().map(|(j, s)| {
                    let margin = if j == label { 0.0 } else { alpha };
                    ((s - scores[label] + margin) / tau).exp()
                });
                let expected = tau * (terms.sum::<f64>() / 10.0).ln();
                let (value, _) = evaluate(&loss(tau, alpha), &scores, label);
                assert!((value - expected).abs() < 2e-14 * tau.max(1.0), "{tau}");
                assert_gradient_is_slope(&loss(tau, alpha), &scores, label);
            }
            assert_soft_targets_are_a_sum(&loss(tau, alpha));
        }
    }

    #[test]
    fn is_the_smooth_top_1_svm_but_for_a_constant() {
        for (tau, alpha) in [(1.0, 1.0), (0.1, 0.0), (4.0, 0.7)] {
            for label in 0..12 {
                let scores = distinct_scores(12, 4.0, 5);
                let svm = SmoothTopkSvm::new(1, tau, alpha).unwrap();
                let (expected, expected_grad) = evaluate(&svm, &scores, label);
                let (value, grad) = evaluate(&loss(tau, alpha), &scores, label);
                assert!((value - (expected - tau * 12f64.ln())).abs() < 1e-14 * tau.max(1.0));
                for (found, expected) in grad.iter().zip(expected_grad) {
                    assert!((found - expected).abs() < 1e-14);
                }
            }
        }
    }

    #[test]
    fn exact_at_large_temperatures() {
        // τ ln(1 + x) with x = (e^{1/τ} − 1)/2 is ½ + 1/(8 τ) to the order of 1/τ².
        let (value, _) = evaluate(&loss(1e6, 0.0), &[0.0, 1.0], 0);
        assert!((value - (0.5 + 0.125e-6)).abs() < 1e-15, "{value}");
    }

    #[test]
    fn finite_at_any_scale() {
        for scale in [1e-30, 1e4, 1e30] {
            for label in [0, 4, 8] {
                let (value, grad) = evaluate(&loss(1.0, 1.0), &distinct_scores(9, scale, 1), label);
                assert!(value.is_finite() && value >= -9f64.ln());
                assert!(grad.iter().all(|g| g.abs() <= 1.0));
                assert!(grad.iter().sum::<f64>().abs() < 1e-15);
            }
        }
        assert_eq!(evaluate(&loss(1.0, 1.0), &[7.0], 0), (0.0, vec![0.0]));
    }

    #[test]
    fn bad_parameters_are_named() {
        assert_eq!(LdrKl::new(0.0, 1.0), Err(LossError::Tau(0.0)));
        assert_eq!(LdrKl::new(1.0, -1.0), Err(LossError::Alpha(-1.0)));
    }
}
