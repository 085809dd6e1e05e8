use crate::LossError;
use crate::losses::softplus::softplus;
use crate::parameters::{check_k, more_than};
use crate::ranking::{Ranked, select_rank};
use crate::sample::{Sample, SampleLoss};
use crate::workspace::Workspace;

/// The log-likelihood of the label under the limited multi-label projection of Amos, Koltun and Kolter
/// ([arXiv 1906.08707](https://arxiv.org/abs/1906.08707), 2019).
///
/// The projection maps scores s ∈ Rⁿ to the probabilities p that sum to k and maximize Σ s_i p_i plus
/// their entropy −Σ (p_i ln p_i + (1 − p_i) ln(1 − p_i)). With σ(x) = 1/(1 + exp −x) and label y,
///
/// ```text
/// p_i = σ(s_i + ν),   ν such that Σ p_i = k
/// loss = −ln p_y
/// ```
///
/// With v_i = p_i (1 − p_i) and V the sum of all v,
///
/// ```text
/// ∂loss/∂s_y = −(1 − p_y) (1 − v_y/V)
/// ∂loss/∂s_i =  (1 − p_y) v_i/V,   i ≠ y
/// ```
///
/// ν is solved for to the rounding of `f64`, for any scores. (The authors' code stops at a bracket of
/// 1e-4 and adds 1e-8 to p_y, which bounds its loss at 18.4; it divides the scores by a temperature of
/// 1, which is not in the paper.) k = 1 is not cross-entropy: the p_i are sigmoids that sum to 1. At
/// least k + 1 classes are needed. The loss is smooth, so equal scores need no convention. Time is O(n)
/// for each of a few steps of Newton's method.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Lml {
    k: usize,
}

impl Lml {
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

impl SampleLoss for Lml {
    fn min_classes(&self) -> usize {
        more_than(self.k)
    }

    fn compute_f64(&self, workspace: &mut Workspace, sample: Sample<'_, f64>) -> f64 {
        let Sample { scores, label, .. } = sample;
        let projection = Projection::new(self.k, scores, &mut workspace.ranked);
        let x = projection.solve();

        // The logit of p_y.
        let logit = projection.logit(scores[label], x);
        let value = softplus(-logit);
        if let Some(grad) = sample.grad {
            let mut others = 0.0;
            for (d, class, side) in projection.entries() {
                let v = projection.term(d, side, x).1;
                grad[class] = v;
                if class != label {
                    others += v;
                }
            }
            let one_minus_p = sample.factor / (1.0 + logit.exp());
            let scale = one_minus_p / (others + grad[label]);
            for g in &mut *grad {
                *g *= scale;
            }
            grad[label] = -scale * others;
        }
        value
    }

    fn compute_soft(
        &self,
        workspace: &mut Workspace,
        sample: Sample<'_, f64>,
        targets: &[f64],
    ) -> f64 {
        let scores = sample.scores;
        let projection = Projection::new(self.k, scores, &mut workspace.ranked);
        let x = projection.solve();
        let logits = scores.iter().map(|&s| projection.logit(s, x)).zip(targets);
        if let Some(grad) = sample.grad {
            let mut sum = 0.0;
            for (d, class, side) in projection.entries() {
                grad[class] = projection.term(d, side, x).1;
                sum += grad[class];
            }
            let missing = |logit: f64| 1.0 / (1.0 + logit.exp());
            let pairs = logits.clone();
            let all: f64 = pairs.map(|(logit, target)| target * missing(logit)).sum();
            for (g, (logit, target)) in grad.iter_mut().zip(logits.clone()) {
                *g = sample.factor * (all * (*g / sum) - target * missing(logit));
            }
        }
        logits
            .map(|(logit, target)| target * softplus(-logit))
            .sum()
    }
}

/// The scores in the form in which the equation for ν is solved.
///
/// With a and b the k-th and (k + 1)-th largest scores, h = (a − b)/2 and x = ν + (a + b)/2, the
/// probabilities sum to k if those of the tail equal what the head, the k largest, lacks to 1:
///
/// ```text
/// Σ_tail σ(x − h − d_i) = Σ_head σ(−x − h − d_i),   d_i = b − s_i in the tail, s_i − a in the head
/// ```
///
/// All d are at least 0, and one on each side is 0, so that times exp h neither sum is far from 1:
/// nothing overflows, and no sum underflows, for any scores.
struct Projection<'r> {
    head: &'r [Ranked],
    tail: &'r [Ranked],
    /// The k-th and (k + 1)-th largest scores.
    bounds: (f64, f64),
    half_gap: f64,
}

#[derive(Clone, Copy)]
enum Side {
    Head,
    Tail,
}

impl<'r> Projection<'r> {
    fn new(k: usize, scores: &[f64], ranked: &'r mut Vec<Ranked>) -> Self {
        let (head, (b, _), _) = select_rank(ranked, scores.iter().copied(), k);
        let a = head.iter().fold(f64::INFINITY, |min, &(s, _)| min.min(s));
        let (head, tail) = ranked.split_at_mut(k);
        for (s, _) in &mut *head {
            *s -= a;
        }
        for (s, _) in &mut *tail {
            *s = b - *s;
        }
        Self {
            head,
            tail,
            bounds: (a, b),
            half_gap: 0.5 * (a - b),
        }
    }

    /// d, class and side of every class.
    fn entries(&self) -> impl Iterator<Item = (f64, usize, Side)> {
        let head = self.head.iter().map(|&(d, class)| (d, class, Side::Head));
        let tail = self.tail.iter().map(|&(d, class)| (d, class, Side::Tail));
        head.chain(tail)
    }

    /// exp h times the term of the equation for this d, and exp h times p (1 − p), the magnitude of its
    /// slope.
    fn term(&self, d: f64, side: Side, x: f64) -> (f64, f64) {
        let x = match side {
            Side::Head => -x,
            Side::Tail => x,
        };
        let power = (x - d).exp();
        let rest = 1.0 / (1.0 + (x - d - self.half_gap).exp());
        (power * rest, power * rest * rest)
    }

    /// The logit of p for a score.
    fn logit(&self, score: f64, x: f64) -> f64 {
        let (a, b) = self.bounds;
        if score >= a {
            (score - a) + self.half_gap + x
        } else {
            x - self.half_gap - (b - score)
        }
    }

    /// Solves the equation for x.
    ///
    /// The tail's sum is between its largest term and n − k times that, the head's between its largest
    /// term and k times that, and x grows with the logarithm of their ratio at a rate of at most 1: hence
    /// the initial bracket.
    fn solve(&self) -> f64 {
        let mut low = -(self.tail.len() as f64).ln();
        let mut high = (self.head.len() as f64).ln();
        let mut x = 0.5 * (low + high);
        for _ in 0..100 {
            let sum = |side, entries: &[Ranked]| {
                let terms = entries.iter().map(|&(d, _)| self.term(d, side, x));
                terms.fold((0.0, 0.0), |sum, term| (sum.0 + term.0, sum.1 + term.1))
            };
            let (tail, tail_slope) = sum(Side::Tail, self.tail);
            let (head, head_slope) = sum(Side::Head, self.head);
            // Newton's step on the difference of the logarithms, which is nearly linear.
            let error: f64 = tail.ln() - head.ln();
            if error > 0.0 {
                high = x;
            } else {
                low = x;
            }
            let step = error / (tail_slope / tail + head_slope / head);
            let newton = x - step;
            // The slope is at least 1 and the curvature at most 1, so the next step would be below 1e-18.
            if step.abs() < 1e-9 {
                return newton;
            }
            x = if low < newton && newton < high {
                newton
            } else {
                0.5 * (low + high)
            };
        }
        x
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::losses::evaluate::{
        assert_gradient_is_slope, assert_soft_targets_are_a_sum, distinct_scores, evaluate,
    };

    fn loss(k: usize) -> Lml {
        Lml::new(k).unwrap()
    }

    fn sigmoid(x: f64) -> f64 {
        1.0 / (1.0 + (-x).exp())
    }

    #[test]
    fn equals_the_definition_by_bisection() {
        for (seed, k) in [1, 2, 3, 6, 11].into_iter().enumerate() {
            for (label, spread) in [(0, 1.0), (5, 5.0), (9, 0.2), (3, 12.0)] {
                let scores = distinct_scores(12, spread, seed as u64);
                let (mut low, mut high) = (-60.0, 60.0);
                for _ in 0..200 {
                    let nu = 0.5 * (low + high);
                    let sum: f64 = scores.iter().map(|s| sigmoid(s + nu)).sum();
                    if sum < k as f64 {
                        low = nu;
                    } else {
                        high = nu;
                    }
                }
                let expected = -sigmoid(scores[label] + low).ln();
                let (value, grad) = evaluate(&loss(k), &scores, label);
                assert!(
                    (value - expected).abs() < 1e-13 * expected.max(1.0),
                    "k={k}"
                );
                assert!(grad[label] <= 0.0);
                assert_gradient_is_slope(&loss(k), &scores, label);
            }
        }
    }

    #[test]
    fn soft_targets() {
        for k in [1, 4, 12] {
            assert_soft_targets_are_a_sum(&loss(k));
        }
    }

    #[test]
    fn two_classes_are_a_logistic_loss() {
        for difference in [0.0, 1e-30, 0.3, 5.0, 80.0, 1e4, 1e30] {
            for sign in [1.0, -1.0] {
                let scores = [0.5 * sign * difference, -0.5 * sign * difference];
                let (value, grad) = evaluate(&loss(1), &scores, 0);
                let half = 0.5 * sign * difference;
                let expected = f64::max(-half, 0.0) + f64::exp(-half.abs()).ln_1p();
                assert!((value - expected).abs() <= 1e-15 * expected);
                let expected = -0.5 * sigmoid(-half);
                assert!((grad[0] - expected).abs() <= 2e-15 * expected.abs());
                assert_eq!(grad[1], -grad[0]);
            }
        }
    }

    #[test]
    fn equal_scores_share_equally() {
        for k in 1..7 {
            let (value, grad) = evaluate(&loss(k), &[3e5; 7], 2);
            let p = k as f64 / 7.0;
            assert!((value + p.ln()).abs() < 1e-15);
            for (class, g) in grad.iter().enumerate() {
                let expected = (1.0 - p) * if class == 2 { -6.0 / 7.0 } else { 1.0 / 7.0 };
                assert!((g - expected).abs() < 1e-15);
            }
        }
    }

    #[test]
    fn exact_far_from_the_boundary() {
        // Two classes are far above three others, and one is far below all: x is ½ ln(2/3), and v is the
        // same for both of the two, and the same for all of the three.
        let scores = [1000.0, -1000.0, 1000.0, -1000.0, -1000.0, -1e30];
        let x = 0.5 * (2.0f64 / 3.0).ln();
        let (value, grad) = evaluate(&loss(2), &scores, 1);
        assert!((value - (1000.0 - x)).abs() < 1e-12);
        assert!((grad[0] - 0.25).abs() < 1e-15 && (grad[2] - 0.25).abs() < 1e-15);
        assert!((grad[3] - 1.0 / 6.0).abs() < 1e-15 && (grad[1] + 5.0 / 6.0).abs() < 1e-15);
        assert_eq!(grad[5], 0.0);
    }

    #[test]
    fn finite_at_any_scale() {
        for exponent in -30..=30 {
            let scale = 10f64.powi(exponent);
            for (k, label) in [(1, 0), (3, 4), (20, 7), (39, 39)] {
                let scores = distinct_scores(40, scale, k as u64);
                let (value, grad) = evaluate(&loss(k), &scores, label);
                assert!(value.is_finite() && value >= 0.0);
                assert!(grad.iter().all(|g| g.abs() <= 1.0));
                assert!(grad.iter().sum::<f64>().abs() < 1e-14);
            }
        }
    }

    #[test]
    fn bad_parameters_are_named() {
        assert_eq!(Lml::new(0), Err(LossError::ZeroK));
        assert_eq!(
            loss(3).check_classes(3),
            Err(LossError::TooFewClasses {
                needed: 4,
                classes: 3
            })
        );
    }
}
