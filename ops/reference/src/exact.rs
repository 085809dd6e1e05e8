//! The smooth top-k SVM to more digits than `f64` has.

use thiserror::Error;
use topk_ops::SmoothTopkSvm;

use crate::double_double::{DoubleDouble, Wide};

/// A loss and its gradient, exact except for rounding to `f64` (and 1e-30 in a derivative).
#[derive(Clone, Debug, PartialEq)]
pub struct Exact {
    /// The loss.
    pub loss: f64,
    /// Its derivatives with respect to the scores.
    pub grad: Vec<f64>,
}

/// The scores are too far apart for the temperature: |s_i − s_y| / (kτ) reaches 2⁴⁰.
#[derive(Clone, Copy, Debug, Error, PartialEq)]
#[error(
    "scores that differ by {difference:?} are too far apart for exact values at k = {k} and tau = {tau:?}"
)]
pub struct BeyondRange {
    difference: f64,
    k: usize,
    tau: f64,
}

/// Computes the loss of one sample from its definition, with 106 bits and an unlimited exponent.
///
/// It uses the polynomials of the classes before each class and after it, by the recursion that adds one
/// class at a time: sums of products of positive numbers, so that nothing cancels until the two
/// logarithms and the two marginal probabilities are subtracted. It shares no scaling, tilting or
/// sorting, and so no mistake in them, with the kernel of [`SmoothTopkSvm`]. Time and memory are O(n·k),
/// much more than for the kernel.
///
/// # Errors
/// If the scores are too far apart.
///
/// # Panics
/// If there are at most k classes, or the label is not one of them.
pub fn exact(svm: &SmoothTopkSvm, scores: &[f64], label: usize) -> Result<Exact, BeyondRange> {
    let (k, tau) = (svm.k(), svm.tau());
    assert!(scores.len() > k && label < scores.len());
    let scale = DoubleDouble::product(k as f64, tau);
    // exp(z_i − z_y) of the wrong classes.
    let mut weights = Vec::with_capacity(scores.len() - 1);
    for (class, &score) in scores.iter().enumerate() {
        let z = DoubleDouble::sum(score, -scores[label]) / scale;
        let size = z.abs().round();
        if size.is_nan() || size >= f64::exp2(40.0) {
            let difference = score - scores[label];
            return Err(BeyondRange { difference, k, tau });
        }
        if class != label {
            weights.push(z.exp());
        }
    }

    let mut before = vec![Wide::ZERO; (weights.len() + 1) * (k + 1)];
    before[0] = Wide::ONE;
    for (i, &weight) in weights.iter().enumerate() {
        let (row, next) = before[i * (k + 1)..(i + 2) * (k + 1)].split_at_mut(k + 1);
        next.copy_from_slice(row);
        add_class(next, weight);
    }
    let all = &before[weights.len() * (k + 1)..];
    let (sigma_km1, sigma_k) = (all[k - 1], all[k]);

    let margin = DoubleDouble::new(svm.alpha()) / DoubleDouble::new(tau);
    let u = margin + (sigma_k.ln() - sigma_km1.ln());
    // exp(−|u|); beyond the range of exponents it is zero.
    let power = if u.abs().round() < 1e6 {
        (-u.abs()).exp()
    } else {
        Wide::ZERO
    };
    let sum = Wide::ONE + power;
    let positive = if u.is_negative() {
        DoubleDouble::ZERO
    } else {
        u
    };
    let loss = DoubleDouble::new(tau) * (positive + sum.ln());
    let probability = if u.is_negative() {
        power / sum
    } else {
        Wide::ONE / sum
    };
    let scale = probability.narrow() / DoubleDouble::new(k as f64);

    let mut grad = vec![0.0; scores.len()];
    grad[label] = -scale.round();
    let mut after = vec![Wide::ZERO; k + 1];
    after[0] = Wide::ONE;
    for (i, &weight) in weights.iter().enumerate().rev() {
        let before = &before[i * (k + 1)..][..k + 1];
        // The polynomial of degree j without class i.
        let without = |j: usize| (0..=j).fold(Wide::ZERO, |sum, m| sum + before[m] * after[j - m]);
        let chosen_k = weight * without(k - 1) / sigma_k;
        let chosen_km1 = match k {
            1 => Wide::ZERO,
            _ => weight * without(k - 2) / sigma_km1,
        };
        let class = if i < label { i } else { i + 1 };
        grad[class] = (scale * (chosen_k.narrow() - chosen_km1.narrow())).round();
        add_class(&mut after, weight);
    }
    Ok(Exact {
        loss: loss.round(),
        grad,
    })
}

/// e_j ← e_j + x e_{j−1}.
fn add_class(polynomials: &mut [Wide], weight: Wide) {
    for j in (1..polynomials.len()).rev() {
        polynomials[j] = polynomials[j] + weight * polynomials[j - 1];
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::read_cases;

    #[test]
    fn agrees_with_60_digits() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/data/loss.jsonl");
        for case in read_cases(&path).unwrap() {
            let svm = SmoothTopkSvm::new(case.k, case.tau, case.alpha).unwrap();
            let found = exact(&svm, &case.scores, case.y as usize).unwrap();
            assert_eq!(found.loss, case.loss, "{}", case.name);
            for (found, expected) in found.grad.iter().zip(&case.grad) {
                let error = (found - expected).abs();
                assert!(error <= 1e-30, "{}: {error:e}", case.name);
            }
        }
    }

    #[test]
    fn scores_too_far_apart_are_an_error() {
        let svm = SmoothTopkSvm::new(1, 1e-20, 1.0).unwrap();
        assert_eq!(
            exact(&svm, &[0.0, 1.0], 0).unwrap_err().to_string(),
            "scores that differ by 1.0 are too far apart for exact values at k = 1 and tau = 1e-20"
        );
    }
}
