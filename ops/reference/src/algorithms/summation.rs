//! The summation algorithm: classes are added to the polynomial one at a time.

use topk_ops::{LossError, SmoothTopkSvm};

use super::number::{Log, Number, Plain, Real};
use super::{Sample, batch, combine, scale};

/// The summation algorithm: with e_0 = 1 and the rest 0, e_j ← e_j + x_i e_{j−1} for each wrong class i
/// with weight x_i = exp(s_i/(kτ)), where j goes down from k.
///
/// This is `esf_py` of the authors' `perf.py`: exponentials and sums are plain numbers, which overflow
/// where scores are large for the temperature. The authors' code has no backward pass for it; here it is
/// the recursion in reverse, with the polynomials after each class kept, which is what automatic
/// differentiation gives.
///
/// # Errors
/// If a shape or label is not usable.
pub fn summation<T: Real>(
    svm: &SmoothTopkSvm,
    scores: &[T],
    labels: &[i64],
    values: &mut [T],
    grad: Option<&mut [T]>,
) -> Result<(), LossError> {
    by_summation::<Plain<T>>(svm, scores, labels, values, grad)
}

/// [`summation`] with logarithms in place of the numbers, forward and backward: the remedy for its
/// overflow, at the price of an exponential and a logarithm for each sum. The authors' code does not have it.
///
/// # Errors
/// If a shape or label is not usable.
pub fn log_summation<T: Real>(
    svm: &SmoothTopkSvm,
    scores: &[T],
    labels: &[i64],
    values: &mut [T],
    grad: Option<&mut [T]>,
) -> Result<(), LossError> {
    by_summation::<Log<T>>(svm, scores, labels, values, grad)
}

fn by_summation<N: Number>(
    svm: &SmoothTopkSvm,
    scores: &[N::Real],
    labels: &[i64],
    values: &mut [N::Real],
    grad: Option<&mut [N::Real]>,
) -> Result<(), LossError> {
    batch(
        svm.k() + 1,
        scores,
        labels,
        values,
        grad,
        |workspace, sample| of_sample::<N>(svm, workspace, sample),
    )
}

struct Workspace<N> {
    weights: Vec<N>,
    /// e_0, …, e_k of the first i classes: one row, or with a gradient one for each i.
    rows: Vec<N>,
    adjoint: Vec<N>,
}

impl<N> Default for Workspace<N> {
    fn default() -> Self {
        Self {
            weights: Vec::new(),
            rows: Vec::new(),
            adjoint: Vec::new(),
        }
    }
}

fn of_sample<N: Number>(
    svm: &SmoothTopkSvm,
    workspace: &mut Workspace<N>,
    sample: Sample<'_, N::Real>,
) -> N::Real {
    let Workspace {
        weights,
        rows,
        adjoint,
    } = workspace;
    let k = svm.k();
    weights.clear();
    weights.extend(sample.wrong_scores(svm).map(N::exp));
    rows.clear();
    rows.resize(k + 1, N::zero());
    rows[0] = N::one();
    for &weight in &*weights {
        if sample.grad.is_some() {
            rows.extend_from_within(rows.len() - (k + 1)..);
        }
        let row = rows.len() - (k + 1);
        add_class(&mut rows[row..], weight);
    }
    let last = &rows[rows.len() - (k + 1)..];
    let (sigma_km1, sigma_k) = (last[k - 1], last[k]);
    let own = sample.scores[sample.label] / scale(svm);
    let (value, d_km1, d_k) = combine(svm, sigma_km1.ln(), sigma_k.ln(), own);

    if let Some(grad) = sample.grad {
        grad[sample.label] = d_km1 / scale(svm);
        for (degree, sigma, derivative) in [(k, sigma_k, d_k), (k - 1, sigma_km1, d_km1)] {
            adjoint.clear();
            adjoint.resize(k + 1, N::zero());
            adjoint[degree] = N::one().div(sigma);
            for (i, &weight) in weights.iter().enumerate().rev() {
                let row = &rows[i * (k + 1)..][..k + 1];
                // Derivative of ln σ with respect to the weight.
                let mut slope = N::zero();
                for j in 1..=degree {
                    slope = slope.add(adjoint[j].mul(row[j - 1]));
                    adjoint[j - 1] = adjoint[j - 1].add(weight.mul(adjoint[j]));
                }
                let part = derivative * slope.mul(weight).value() / scale(svm);
                let class = if i < sample.label { i } else { i + 1 };
                grad[class] = if degree == k {
                    part
                } else {
                    grad[class] + part
                };
            }
        }
    }
    value
}

/// e_j ← e_j + x e_{j−1}.
fn add_class<N: Number>(row: &mut [N], weight: N) {
    for j in (1..row.len()).rev() {
        row[j] = row[j].add(weight.mul(row[j - 1]));
    }
}
