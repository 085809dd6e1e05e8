//! Elementary symmetric polynomials and marginals on arrays, of each row.

use ndarray::{Array2, ArrayView2, ArrayViewMut2};

use super::check_shape;
use crate::{LossError, Score, elementary_symmetric as slices};

/// [`elementary_symmetric::log_esf`](slices::log_esf) of each row of log-weights `[N, n]`: ln e_0, …, ln e_k,
/// `[N, k + 1]`, computed in `f64` and then rounded to the type of the log-weights.
///
/// ```
/// use ndarray::array;
///
/// // Three elements of weight 1, 2 and 4: e_1 = 7, e_2 = 14.
/// let log_weights = array![[1.0f64, 2.0, 4.0]].ln();
/// let log_e = topk_ops::array::log_esf(&log_weights, 2)?;
/// assert!((log_e.exp() - array![[1.0, 7.0, 14.0]]).abs().sum() < 1e-13);
/// # Ok::<(), topk_ops::LossError>(())
/// ```
///
/// # Errors
/// [`LossError::Row`] with the row and [`LossError::LogWeight`] if a log-weight is NaN or ∞.
pub fn log_esf<'a, T: Score>(
    log_weights: impl Into<ArrayView2<'a, T>>,
    k: usize,
) -> Result<Array2<T>, LossError> {
    let log_weights = log_weights.into();
    let mut log_esf = Array2::default((log_weights.nrows(), k + 1));
    log_esf_into(log_weights, k, &mut log_esf)?;
    Ok(log_esf)
}

/// [`log_esf`], written to an array `[N, k + 1]`.
///
/// # Errors
/// As [`log_esf`], or if `log_esf` has another shape. Its contents are unspecified then.
pub fn log_esf_into<'a, 'o, T: Score>(
    log_weights: impl Into<ArrayView2<'a, T>>,
    k: usize,
    log_esf: impl Into<ArrayViewMut2<'o, T>>,
) -> Result<(), LossError> {
    let (log_weights, log_esf) = (log_weights.into(), log_esf.into());
    let expected = [log_weights.nrows(), k + 1];
    check_shape("log_esf", log_esf.shape(), &expected)?;
    each_row(log_weights, log_esf, |row| slices::log_esf(row, k))
}

/// [`elementary_symmetric::log_marginals`](slices::log_marginals) of each row of log-weights `[N, n]`: the
/// logarithm of the probability that a set of `k` elements contains each element, `[N, n]`, computed in `f64` and
/// then rounded to the type of the log-weights.
///
/// # Errors
/// [`LossError::Row`] with the row and [`LossError::ZeroK`], [`LossError::TooFewElements`] or
/// [`LossError::LogWeight`].
pub fn log_marginals<'a, T: Score>(
    log_weights: impl Into<ArrayView2<'a, T>>,
    k: usize,
) -> Result<Array2<T>, LossError> {
    let log_weights = log_weights.into();
    let mut log_marginals = Array2::default(log_weights.dim());
    log_marginals_into(log_weights, k, &mut log_marginals)?;
    Ok(log_marginals)
}

/// [`log_marginals`], written to an array `[N, n]`.
///
/// # Errors
/// As [`log_marginals`], or if `log_marginals` has another shape. Its contents are unspecified then.
pub fn log_marginals_into<'a, 'o, T: Score>(
    log_weights: impl Into<ArrayView2<'a, T>>,
    k: usize,
    log_marginals: impl Into<ArrayViewMut2<'o, T>>,
) -> Result<(), LossError> {
    let (log_weights, log_marginals) = (log_weights.into(), log_marginals.into());
    let expected = log_weights.shape();
    check_shape("log_marginals", log_marginals.shape(), expected)?;
    let of_row = |row: &[f64]| slices::log_marginals(row, k);
    each_row(log_weights, log_marginals, of_row)
}

/// Computes each row of an output from that of an input, in `f64`.
fn each_row<T: Score>(
    input: ArrayView2<'_, T>,
    mut output: ArrayViewMut2<'_, T>,
    compute: impl Fn(&[f64]) -> Result<Vec<f64>, LossError>,
) -> Result<(), LossError> {
    let mut wide: Vec<f64> = Vec::with_capacity(input.ncols());
    let rows = input.rows().into_iter().zip(output.rows_mut()).enumerate();
    for (row, (input, mut output)) in rows {
        wide.clear();
        wide.extend(input.iter().map(|&value| value.into()));
        let computed = compute(&wide).map_err(|error| LossError::Row {
            row,
            error: Box::new(error),
        })?;
        for (output, value) in output.iter_mut().zip(computed) {
            *output = T::from_f64(value);
        }
    }
    Ok(())
}
