use crate::LossError;
use crate::parameters::{check_k, check_tau, first_negative_or_not_finite};
use crate::ranking::{Ranked, by_rank, fill};
use crate::sample::{Sample, SampleLoss};
use crate::workspace::Workspace;

/// The differentiable top-k cross-entropy of Petersen, Kuehne, Borgelt and Deussen, "Differentiable Top-k
/// Classification Learning", ICML 2022 ([arXiv 2206.07290](https://arxiv.org/abs/2206.07290)), with the
/// relaxation NeuralSort of Grover, Wang, Zweig and Ermon (ICLR 2019,
/// [arXiv 1903.08850](https://arxiv.org/abs/1903.08850)).
///
/// It trains for several k at once, each weighted by a probability w_k. For scores s ∈ Rⁿ, label y,
/// temperature τ > 0, and the relaxed permutation matrix P, whose entry P_ji is near 1 where class i has
/// the j-th highest score and near 0 elsewhere,
///
/// ```text
/// P_j = softmax(((n + 1 − 2j) s − A) / τ),   A_i = Σ_l |s_i − s_l|
/// loss = −ln Σ_k w_k (P_1y + … + P_ky)
/// ```
///
/// The rows of P sum to 1, its columns only approximately: the loss can be slightly negative, and can
/// grow with the label's score where that is high. As τ → 0 the loss of a label of rank r ≤ K tends to
/// −ln(w_r + … + w_K). For w = (1) it is the cross-entropy of the first row of P, which is not the
/// softmax of the scores. At least K classes are needed.
///
/// The derivative of |s_i − s_l| is 0 where the two are equal, as in PyTorch. Entries of the gradient are
/// of the order of n/τ at most, and their rounding errors of that order times 2⁻⁵³. There is no
/// approximation at any spread of the scores, even where the label's entries of P underflow. Time is
/// O(n log n + nK) per sample.
///
/// The paper reports slightly better results with P from differentiable sorting networks; NeuralSort,
/// which it also evaluates, can be computed exactly in O(nK). By default, the authors' code replaces the
/// first row of P by softmax(s) and adds 1e-7 to the probability, which bounds its loss at 16.1; it can
/// also drop all but the highest scores.
#[derive(Clone, Debug, PartialEq)]
pub struct DifferentiableTopkCrossEntropy {
    weights: Vec<f64>,
    /// ln(w_j + … + w_K) for each j.
    log_tails: Vec<f64>,
    tau: f64,
}

impl DifferentiableTopkCrossEntropy {
    /// A loss for top-k accuracy for each k = 1, …, K, where `weights` holds the probability of each, with
    /// temperature `tau` in units of the scores.
    ///
    /// # Errors
    /// If the weights are empty, one is negative or not finite, they do not sum to 1 (to 1e-6), or `tau`
    /// is not a positive finite number.
    pub fn new(weights: Vec<f64>, tau: f64) -> Result<Self, LossError> {
        check_k(weights.len())?;
        if let Some((index, probability)) = first_negative_or_not_finite(&weights) {
            let k = index + 1;
            return Err(LossError::Probability { k, probability });
        }
        let mut tail = 0.0;
        let mut log_tails: Vec<f64> = Vec::with_capacity(weights.len());
        for weight in weights.iter().rev() {
            tail += weight;
            log_tails.push(tail.ln());
        }
        log_tails.reverse();
        if (tail - 1.0).abs() > 1e-6 {
            return Err(LossError::ProbabilitySum(tail));
        }
        Ok(Self {
            weights,
            log_tails,
            tau: check_tau(tau)?,
        })
    }

    /// The largest k.
    pub fn k(&self) -> usize {
        self.weights.len()
    }

    /// Probability of each k = 1, …, K.
    pub fn weights(&self) -> &[f64] {
        &self.weights
    }

    /// ln(w_k + … + w_K) for each k = 1, …, K: the logarithm of the weight of row k of P in the loss.
    pub fn log_tails(&self) -> &[f64] {
        &self.log_tails
    }

    /// Temperature.
    pub fn tau(&self) -> f64 {
        self.tau
    }
}

/// Buffers for one sample.
#[derive(Debug, Default)]
struct Buffers {
    /// All scores, sorted.
    ranked: Vec<Ranked>,
    /// Differences between consecutive scores in the ranking, over τ.
    gaps: Vec<f64>,
    /// The rows of P, by rank.
    rows: Vec<f64>,
    /// ln(W_j P_jy) for each row.
    logs: Vec<f64>,
    /// By rank, two sums over all rows j of the derivative with respect to the logit in row j: the plain
    /// sum, and the sum weighted by 2 (rank − j).
    derivatives: Vec<(f64, f64)>,
}

impl SampleLoss for DifferentiableTopkCrossEntropy {
    fn min_classes(&self) -> usize {
        self.k()
    }

    fn work_per_score(&self) -> usize {
        self.k().saturating_mul(16)
    }

    fn compute_f64(&self, workspace: &mut Workspace, sample: Sample<'_, f64>) -> f64 {
        let Buffers {
            ranked,
            gaps,
            rows,
            logs,
            derivatives,
        } = workspace.of_loss();
        let classes = sample.scores.len();
        fill(ranked, sample.scores.iter().copied());
        ranked.sort_unstable_by(by_rank);
        let label_rank = ranked
            .iter()
            .position(|&(_, class)| class == sample.label)
            .expect("the label is a class");
        gaps.clear();
        gaps.extend(
            ranked
                .windows(2)
                .map(|pair| (pair[0].0 - pair[1].0) / self.tau),
        );

        rows.resize(self.k() * classes, 0.0);
        logs.clear();
        for (j, row) in rows.chunks_exact_mut(classes).enumerate() {
            let log_entry = relaxed_row(j, gaps, label_rank, row);
            logs.push(self.log_tails[j] + log_entry);
        }
        let max = logs.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let sum: f64 = logs.iter().map(|log| (log - max).exp()).sum();
        if let Some(grad) = sample.grad {
            // ∂loss/∂logit_ji = r_j (P_ji − δ_iy), where r_j is row j's fraction of the sum.
            derivatives.clear();
            derivatives.resize(classes, (0.0, 0.0));
            for (j, row) in rows.chunks_exact_mut(classes).enumerate() {
                let r = (logs[j] - max).exp() / sum;
                row[label_rank] = 0.0;
                row[label_rank] = -row.iter().sum::<f64>();
                for (rank, (derivative, &p)) in derivatives.iter_mut().zip(&*row).enumerate() {
                    derivative.0 += r * p;
                    derivative.1 += 2.0 * (rank as f64 - j as f64) * r * p;
                }
            }
            self.gradient(ranked, derivatives, sample.factor, grad);
        }
        -(max + sum.ln())
    }
}

/// Writes row `j` of P, counted from 0, by rank; returns the logarithm of its entry at `label_rank`.
///
/// From one rank q to the next, the logits of the row fall by 1 + 2 (q − j) times the gap between the
/// two scores, over τ. They are highest at rank j, and the differences have the same sign on each side
/// of it, so that their sums give the other logits without cancellation.
fn relaxed_row(j: usize, gaps: &[f64], label_rank: usize, row: &mut [f64]) -> f64 {
    let mut fall = 0.0;
    row[j] = 0.0;
    for (q, gap) in gaps.iter().enumerate().skip(j) {
        fall += (1 + 2 * (q - j)) as f64 * gap;
        row[q + 1] = fall;
    }
    let mut fall = 0.0;
    for (q, gap) in gaps.iter().enumerate().take(j).rev() {
        fall += (2 * (j - q) - 1) as f64 * gap;
        row[q] = fall;
    }
    let label_fall = row[label_rank];
    let mut rest = 0.0;
    for (q, entry) in row.iter_mut().enumerate() {
        *entry = (-*entry).exp();
        if q != j {
            rest += *entry;
        }
    }
    for entry in row {
        *entry /= 1.0 + rest;
    }
    -label_fall - rest.ln_1p()
}

impl DifferentiableTopkCrossEntropy {
    /// Turns derivatives with respect to the logits into derivatives with respect to the scores.
    ///
    /// With g_ji = ∂loss/∂logit_ji and C_i = Σ_j g_ji,
    ///
    /// ```text
    /// τ ∂loss/∂s_m = Σ_j g_jm (n + 1 − 2j) − C_m Σ_i sign(s_m − s_i) − Σ_i C_i sign(s_m − s_i)
    /// ```
    ///
    /// where the first two terms together are Σ_j g_jm · 2 (rank of m − j), and equal scores all have their
    /// mean rank.
    fn gradient(
        &self,
        ranked: &[Ranked],
        derivatives: &[(f64, f64)],
        factor: f64,
        grad: &mut [f64],
    ) {
        let total: f64 = derivatives.iter().map(|&(c, _)| c).sum();
        let mut above = 0.0;
        let mut first = 0;
        for equal in ranked.chunk_by(|a, b| a.0 == b.0) {
            let ties = first..first + equal.len();
            let tied: f64 = derivatives[ties.clone()].iter().map(|&(c, _)| c).sum();
            let below = total - above - tied;
            // The weighted sums use each class's own rank; replacing it by the mean rank of its ties,
            // (first + last)/2, adds 2 (mean rank − rank) times the plain sum.
            let last = ties.end - 1;
            for (rank, &(_, class)) in ties.clone().zip(equal) {
                let (c, by_rank) = derivatives[rank];
                let to_mean = (first + last) as f64 - 2.0 * rank as f64;
                grad[class] = (by_rank + to_mean * c - (below - above)) / self.tau * factor;
            }
            above += tied;
            first = ties.end;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::losses::evaluate::{assert_gradient_is_slope, distinct_scores, evaluate};

    fn loss(weights: &[f64], tau: f64) -> DifferentiableTopkCrossEntropy {
        DifferentiableTopkCrossEntropy::new(weights.to_vec(), tau).unwrap()
    }

    /// The definition, with the whole matrix and no protection against overflow.
    fn by_definition(weights: &[f64], tau: f64, scores: &[f64], label: usize) -> f64 {
        let n = scores.len();
        let spread = |i: usize| -> f64 { scores.iter().map(|s| (scores[i] - s).abs()).sum() };
        let p = |j: usize| {
            let logit =
                |i: usize| ((n as f64 + 1.0 - 2.0 * j as f64) * scores[i] - spread(i)) / tau;
            let all: f64 = (0..n).map(|i| (logit(i) - logit(label)).exp()).sum();
            1.0 / all
        };
        let in_topk = |k: usize| (1..=k).map(p).sum::<f64>();
        let sum: f64 = (1..).zip(weights).map(|(k, w)| w * in_topk(k)).sum();
        -sum.ln()
    }

    const WEIGHTS: [&[f64]; 5] = [
        &[1.0],
        &[0.5, 0.5],
        &[0.0, 0.0, 1.0],
        &[0.2, 0.2, 0.2, 0.2, 0.2],
        &[0.5, 0.0, 0.0, 0.0, 0.3, 0.0, 0.2, 0.0],
    ];

    #[test]
    fn equals_the_definition() {
        for (seed, weights) in WEIGHTS.into_iter().enumerate() {
            for label in 0..8 {
                for (spread, tau) in [(0.1, 1.0), (1.0, 1.0), (1.0, 4.0), (20.0, 90.0)] {
                    let scores = distinct_scores(8, spread, seed as u64);
                    let (value, _) = evaluate(&loss(weights, tau), &scores, label);
                    let expected = by_definition(weights, tau, &scores, label);
                    let error = (value - expected).abs();
                    assert!(
                        error < 1e-13 * expected.abs().max(1.0),
                        "{value} {expected}"
                    );
                    assert_gradient_is_slope(&loss(weights, tau), &scores, label);
                }
            }
        }
    }

    #[test]
    fn gradients_at_ties_are_means_of_both_one_sided_slopes() {
        let scores = [1.0, 0.5, 0.5, 2.0, 0.5, 1.0, -0.0, 0.0];
        for weights in WEIGHTS {
            for label in 0..8 {
                let loss = loss(weights, 3.0);
                let (_, grad) = evaluate(&loss, &scores, label);
                for class in 0..8 {
                    let value_at = |step: f64| {
                        let mut scores = scores;
                        scores[class] += step;
                        by_definition(weights, 3.0, &scores, label)
                    };
                    // Curvatures of the two sides differ: the error is of the order of the step.
                    let slope = (value_at(1e-6) - value_at(-1e-6)) / 2e-6;
                    assert!((grad[class] - slope).abs() < 1e-5, "{weights:?} {class}");
                }
            }
        }
    }

    #[test]
    fn at_low_temperature_tends_to_the_log_probability_of_the_rank() {
        let scores = [0.3, 0.9, -0.4, 0.1];
        let weights = [0.5, 0.3, 0.2];
        let of = |label| evaluate(&loss(&weights, 1e-3), &scores, label);
        for (label, expected) in [(1, 1.0), (0, 0.5), (3, 0.2)] {
            assert!((of(label).0 + f64::ln(expected)).abs() < 1e-14);
        }
        // The label ranks fourth. Its entry in the third row is e^(−500): one gap of 0.5 over τ below the
        // highest logit, and the derivative is that of the gap over τ.
        let (value, grad) = of(2);
        assert!((value - (500.0 - f64::ln(0.2))).abs() < 1e-9);
        assert!((grad[2] + 1000.0).abs() < 1e-9 && (grad[3] - 1000.0).abs() < 1e-9);
    }

    #[test]
    fn columns_need_not_sum_to_one() {
        let of = |score| evaluate(&loss(&[0.0, 0.0, 1.0], 1.0), &[0.5, score, -0.5], 1).0;
        assert!(of(0.0) < -0.1 && of(1.0) > 0.0);
    }

    #[test]
    fn equal_scores_are_equally_likely_at_each_rank() {
        let (value, _) = evaluate(&loss(&[0.5, 0.0, 0.5], 1.0), &[7.0; 5], 3);
        assert!((value + f64::ln((0.5 + 0.5 * 3.0) / 5.0)).abs() < 1e-15);
    }

    #[test]
    fn finite_at_any_scale() {
        for exponent in -30..=30 {
            let scale = 10f64.powi(exponent);
            for weights in WEIGHTS {
                for label in [0, 3, 39] {
                    let scores = distinct_scores(40, scale, 1);
                    let (value, grad) = evaluate(&loss(weights, 1.0), &scores, label);
                    assert!(value.is_finite(), "{weights:?} {scale} {value}");
                    assert!(grad.iter().all(|g| g.abs() <= 160.0));
                    assert!(grad.iter().sum::<f64>().abs() < 1e-12);
                }
            }
        }
    }

    #[test]
    fn bad_parameters_are_named() {
        let new = |weights: &[f64], tau| {
            let error = DifferentiableTopkCrossEntropy::new(weights.to_vec(), tau).unwrap_err();
            error.to_string()
        };
        assert_eq!(new(&[], 1.0), "k must be at least 1, got 0");
        assert_eq!(
            new(&[1.5, -0.5], 1.0),
            "the probability of k = 2 must be a finite number of at least 0, got -0.5"
        );
        assert_eq!(
            new(&[0.5, 0.25], 1.0),
            "the probabilities of all k must sum to 1, got a sum of 0.75"
        );
        assert_eq!(
            new(&[1.0], 0.0),
            "tau (temperature) must be a finite number above 0, got 0"
        );
        assert_eq!(
            loss(&[0.2; 5], 1.0).check_classes(4),
            Err(LossError::TooFewClasses {
                needed: 5,
                classes: 4
            })
        );
        assert_eq!(loss(&[0.2; 5], 1.0).check_classes(5), Ok(()));
    }
}
