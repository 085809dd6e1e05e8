use crate::LossError;
use crate::parameters::{check_k, check_tau, more_than};
use crate::ranking::{Ranked, by_rank, fill};
use crate::sample::{Sample, SampleLoss};
use crate::workspace::Workspace;

/// The log-likelihood of the label under LapSum's soft top-k selection, Struski, Bednarczyk, Podolak and
/// Tabor, ICML 2025 ([arXiv 2503.06242](https://arxiv.org/abs/2503.06242)).
///
/// The selection maps scores to probabilities that sum to k, each the value of the Laplace distribution
/// function F at the distance of the score from a common threshold. For scores s ∈ Rⁿ, label y and
/// temperature τ,
///
/// ```text
/// p_i = F((s_i − b)/τ),   b such that Σ p_i = k
/// loss = −ln p_y
/// F(x) = exp(x)/2 for x < 0, 1 − exp(−x)/2 otherwise
/// ```
///
/// With x_i = (s_i − b)/τ, h = F′(x_y)/F(x_y), which is 1 below the threshold, and q the softmax of −|x|,
///
/// ```text
/// ∂loss/∂s_y = −(h/τ) (1 − q_y)
/// ∂loss/∂s_i =  (h/τ) q_i,   i ≠ y
/// ```
///
/// It has the form of [`Lml`](crate::Lml), with the Laplace distribution in place of the logistic one: the
/// threshold is the root of a quadratic equation between two neighbouring scores, so that it needs a sort
/// and no iteration. At least k + 1 classes are needed. The loss is smooth, so equal scores need no
/// convention. Time is O(n log n).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LapSum {
    k: usize,
    tau: f64,
}

impl LapSum {
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
}

/// For each number m of highest scores, from n − 1 down: the sum C over the other scores, and exp(−δ); see
/// [`Threshold::solve`].
#[derive(Debug, Default)]
struct Tails(Vec<(f64, f64)>);

impl Tails {
    fn fill(&mut self, ranked: &[Ranked], tau: f64) {
        let mut below = 0.0;
        self.0.clear();
        self.0.extend((1..ranked.len()).rev().map(|m| {
            let decay = ((ranked[m].0 - ranked[m - 1].0) / tau).exp();
            let sum = 1.0 + below;
            below = sum * decay;
            (sum, decay)
        }));
    }

    /// Those of the m highest scores, of all n, where 0 < m < n.
    fn after(&self, m: usize) -> (f64, f64) {
        self.0[self.0.len() - m]
    }
}

/// The threshold b, as a distance from one of the scores, in units of τ.
#[derive(Clone, Copy, Debug)]
struct Threshold {
    score: f64,
    offset: f64,
    tau: f64,
}

impl Threshold {
    /// Solves Σ F((s_i − b)/τ) = k.
    ///
    /// Let m scores be at least b. With A the sum of exp((s_m − s_i)/τ) over them, C that of
    /// exp((s_i − s_{m+1})/τ) over the others and δ = (s_m − s_{m+1})/τ, y = exp((b − s_m)/τ) solves
    ///
    /// ```text
    /// A y − C exp(−δ)/y = 2 (m − k)
    /// ```
    ///
    /// All exponents are at most 0, and one term of each sum is 1, so that nothing overflows and no sum
    /// underflows.
    fn solve(k: usize, tau: f64, scores: &[f64], workspace: &mut Workspace) -> Self {
        let mut tails = std::mem::take(workspace.of_loss::<Tails>());
        let ranked = &mut workspace.ranked;
        fill(ranked, scores.iter().copied());
        ranked.sort_unstable_by(by_rank);
        tails.fill(ranked, tau);
        let threshold = Self::between(k, tau, ranked, &tails);
        *workspace.of_loss() = tails;
        threshold
    }

    fn between(k: usize, tau: f64, ranked: &[Ranked], tails: &Tails) -> Self {
        let n = ranked.len();
        let at = |m: usize, offset| Self {
            score: ranked[m].0,
            offset,
            tau,
        };
        // The sum is at least k with b = s_m, of the highest such score: then b is between it and the next higher.
        let (k, mut above) = (k as f64, 0.0);
        for m in 1..=n {
            let (rest, decay) = if m < n { tails.after(m) } else { (0.0, 0.0) };
            let with_own = 1.0 + above;
            if m as f64 - 0.5 * with_own + 0.5 * rest * decay < k {
                above = with_own * decay;
                continue;
            }
            // m − 1 scores are above b.
            if m == 1 {
                return at(0, ((1.0 + rest * decay) / (2.0 * k)).ln());
            }
            let (rest, decay) = tails.after(m - 1);
            let head = Self::head(ranked, m - 1, tau);
            let excess = (m - 1) as f64 - k;
            let root = (excess * excess + head * rest * decay).sqrt();
            return if excess > 0.0 {
                at(m - 2, ((excess + root) / head).ln())
            } else if excess < 0.0 {
                at(m - 1, -((root - excess) / rest).ln())
            } else {
                let gap = (ranked[m - 2].0 - ranked[m - 1].0) / tau;
                at(m - 2, 0.5 * ((rest / head).ln() - gap))
            };
        }
        at(
            n - 1,
            (2.0 * (n as f64 - k) / Self::head(ranked, n, tau)).ln(),
        )
    }

    /// A for the m highest scores.
    fn head(ranked: &[Ranked], m: usize, tau: f64) -> f64 {
        let last = ranked[m - 1].0;
        let terms = ranked[..m].iter().map(|&(s, _)| ((last - s) / tau).exp());
        terms.sum()
    }

    /// x of a score.
    fn x(self, score: f64) -> f64 {
        (score - self.score) / self.tau - self.offset
    }
}

/// −ln F(x).
fn value(x: f64) -> f64 {
    if x < 0.0 {
        std::f64::consts::LN_2 - x
    } else {
        -(-0.5 * (-x).exp()).ln_1p()
    }
}

/// F′(x)/F(x).
fn slope(x: f64) -> f64 {
    if x < 0.0 {
        1.0
    } else {
        let power = 0.5 * (-x).exp();
        power / (1.0 - power)
    }
}

impl SampleLoss for LapSum {
    fn min_classes(&self) -> usize {
        more_than(self.k)
    }

    fn compute_f64(&self, workspace: &mut Workspace, sample: Sample<'_, f64>) -> f64 {
        let Sample { scores, label, .. } = sample;
        let threshold = Threshold::solve(self.k, self.tau, scores, workspace);
        let x = threshold.x(scores[label]);
        if let Some(grad) = sample.grad {
            weights(threshold, scores, grad);
            // Not the sum of all without that of the label, which may have nearly all of it.
            let others: f64 = grad[..label].iter().chain(&grad[label + 1..]).sum();
            let scale = sample.factor * slope(x) / (self.tau * (others + grad[label]));
            for g in &mut *grad {
                *g *= scale;
            }
            grad[label] = -scale * others;
        }
        value(x)
    }

    fn compute_soft(
        &self,
        workspace: &mut Workspace,
        sample: Sample<'_, f64>,
        targets: &[f64],
    ) -> f64 {
        let scores = sample.scores;
        let threshold = Threshold::solve(self.k, self.tau, scores, workspace);
        let pairs = scores.iter().map(|&s| threshold.x(s)).zip(targets);
        if let Some(grad) = sample.grad {
            let sum = weights(threshold, scores, grad);
            let all: f64 = pairs.clone().map(|(x, target)| target * slope(x)).sum();
            let scale = sample.factor / self.tau;
            for (g, (x, target)) in grad.iter_mut().zip(pairs.clone()) {
                *g = scale * (all * (*g / sum) - target * slope(x));
            }
        }
        pairs.map(|(x, target)| target * value(x)).sum()
    }
}

/// Writes exp(min |x| − |x_i|), of which q is a multiple, and returns their sum.
fn weights(threshold: Threshold, scores: &[f64], weights: &mut [f64]) -> f64 {
    let mut nearest = f64::INFINITY;
    for (weight, &score) in weights.iter_mut().zip(scores) {
        *weight = threshold.x(score).abs();
        nearest = nearest.min(*weight);
    }
    let mut sum = 0.0;
    for weight in weights {
        *weight = (nearest - *weight).exp();
        sum += *weight;
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::losses::evaluate::{
        assert_gradient_is_slope, assert_soft_targets_are_a_sum, distinct_scores, evaluate,
    };

    fn loss(k: usize, tau: f64) -> LapSum {
        LapSum::new(k, tau).unwrap()
    }

    fn laplace(x: f64) -> f64 {
        if x < 0.0 {
            0.5 * x.exp()
        } else {
            1.0 - 0.5 * (-x).exp()
        }
    }

    #[test]
    fn equals_the_definition_by_bisection() {
        for (seed, k) in [1, 2, 3, 6, 11].into_iter().enumerate() {
            for (label, spread, tau) in
                [(0, 1.0, 1.0), (5, 5.0, 0.3), (9, 0.2, 2.0), (3, 12.0, 1.0)]
            {
                let scores = distinct_scores(12, spread, seed as u64);
                let (mut low, mut high) = (-60.0, 60.0);
                for _ in 0..200 {
                    let b = 0.5 * (low + high);
                    let sum: f64 = scores.iter().map(|s| laplace((s - b) / tau)).sum();
                    if sum < k as f64 {
                        high = b;
                    } else {
                        low = b;
                    }
                }
                let expected = -laplace((scores[label] - low) / tau).ln();
                let (value, grad) = evaluate(&loss(k, tau), &scores, label);
                let error = (value - expected).abs();
                assert!(
                    error < 1e-13 * expected.max(1.0),
                    "k={k}: {value} {expected}"
                );
                assert!(grad[label] <= 0.0);
                assert_gradient_is_slope(&loss(k, tau), &scores, label);
            }
            assert_soft_targets_are_a_sum(&loss(k, 0.5));
        }
    }

    #[test]
    fn the_threshold_may_be_above_or_below_all_scores() {
        // With all scores equal, p = k/n: F(x) = ¼ is below the threshold, and ¾ above.
        for (k, p) in [(1, 0.25), (2, 0.5), (3, 0.75)] {
            let (value, grad) = evaluate(&loss(k, 1.0), &[3e5; 4], 2);
            assert!((value + f64::ln(p)).abs() < 1e-15, "{k}");
            let h = f64::min(1.0, 1.0 / p - 1.0);
            for (class, g) in grad.iter().enumerate() {
                let expected = h * if class == 2 { -0.75 } else { 0.25 };
                assert!((g - expected).abs() < 1e-15, "{k}: {grad:?}");
            }
        }
    }

    #[test]
    fn exact_far_from_the_boundary() {
        // Two classes are far above four others: the threshold is half-way but for ½ ln(4/2).
        let scores = [1000.0, -1000.0, 1000.0, -1000.0, -1000.0, -1000.0];
        let (value, grad) = evaluate(&loss(2, 1.0), &scores, 1);
        let expected = 2f64.ln() + 1000.0 + 0.5 * 2f64.ln();
        assert!((value - expected).abs() < 1e-12);
        // The sums of the weights of both sides are equal.
        assert!((grad[0] - 0.25).abs() < 1e-14 && (grad[1] + 0.875).abs() < 1e-14);
        // The label is right: −ln(1 − exp(−x)/2) to the last digits.
        let (value, _) = evaluate(&loss(2, 50.0), &scores, 0);
        let tiny = 0.5 * f64::exp(-20.0 + 0.5 * 2f64.ln());
        assert!((value / tiny - 1.0).abs() < 1e-8);
    }

    #[test]
    fn finite_at_any_scale() {
        for exponent in -30..=30 {
            let scale = 10f64.powi(exponent);
            for (k, label) in [(1, 0), (3, 4), (20, 7), (39, 39)] {
                let (value, grad) =
                    evaluate(&loss(k, 1.0), &distinct_scores(40, scale, k as u64), label);
                assert!(value.is_finite() && value >= 0.0);
                assert!(grad.iter().all(|g| g.abs() <= 1.0));
                assert!(grad.iter().sum::<f64>().abs() < 1e-14);
            }
        }
    }

    #[test]
    fn bad_parameters_are_named() {
        assert_eq!(LapSum::new(0, 1.0), Err(LossError::ZeroK));
        assert_eq!(LapSum::new(1, -1.0), Err(LossError::Tau(-1.0)));
        assert_eq!(
            loss(3, 1.0).check_classes(3),
            Err(LossError::TooFewClasses {
                needed: 4,
                classes: 3
            })
        );
    }
}
