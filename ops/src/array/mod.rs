//! The losses, the polynomials and top-k accuracy on arrays of [`ndarray`]; the feature `ndarray`, which is on by
//! default.
//!
//! Scores are `[N, C]`, one row per sample and one column per class, of any [`Score`] type; labels are `[N]`. Both
//! are passed as `&array` or as a view, owned or borrowed, sliced, transposed or reversed: results are the same to
//! the bit as on [slices](crate). Where the memory is dense and row-major, nothing is copied; otherwise the scores
//! and labels are copied once. The same holds for outputs that the caller allocates.
//!
//! | on arrays | result |
//! | --- | --- |
//! | [`criterion.value`](Criterion::value), [`value_and_gradient`](Criterion::value_and_gradient) | mean or sum over the batch, and its gradient `[N, C]` |
//! | [`criterion.values`](Criterion::values), [`values_and_gradient`](Criterion::values_and_gradient) | `[N]` without reduction, otherwise `[1]`: for a reduction that is known only at run time |
//! | [`loss.values`](ArrayLoss::values), [`values_and_gradient`](ArrayLoss::values_and_gradient) | one value per sample, `[N]`, of a loss without [`Criterion`] |
//! | [`topk_accuracy`], [`topk_correct`], [`label_ranks`] | accuracies, counts, ranks `[N]` |
//! | [`log_esf`], [`log_marginals`] | elementary symmetric polynomials and marginals of each row |
//!
//! Methods and functions that end with `_into` write to arrays of the caller.
//!
//! ```
//! use ndarray::array;
//! use topk_ops::{Criterion, SmoothTopkSvm, array::topk_accuracy};
//!
//! // Two samples, four classes.
//! let scores = array![[2.0f32, 0.5, -1.0, 0.3], [0.1, 0.2, 0.0, 1.5]];
//! let labels = array![0, 2];
//!
//! let criterion = Criterion::new(SmoothTopkSvm::new(2, 1.0, 1.0)?);
//! let (loss, gradient) = criterion.value_and_gradient(&scores, &labels)?;
//! assert!(loss > 0.0 && gradient[[1, 2]] < 0.0); // raising the score of the second label lowers the loss
//! assert_eq!(gradient.dim(), (2, 4));
//!
//! let [top1, top2] = topk_accuracy(&scores, &labels, [1, 2])?;
//! assert_eq!([top1, top2], [0.5, 0.5]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod accuracy;
mod criterion;
mod elementary_symmetric;
mod loss;

use ndarray::{ArrayViewMut, Dimension};

pub use self::accuracy::{label_ranks, topk_accuracy, topk_correct};
pub use self::elementary_symmetric::{log_esf, log_esf_into, log_marginals, log_marginals_into};
pub use self::loss::ArrayLoss;
use crate::{LossError, Score};

#[cfg(doc)]
use crate::Criterion;

/// Calls `write` with dense memory for an output array, row-major: that of the array itself, if it is, and
/// otherwise a copy.
fn dense<T: Score, D: Dimension, R>(
    mut output: ArrayViewMut<'_, T, D>,
    write: impl FnOnce(&mut [T]) -> Result<R, LossError>,
) -> Result<R, LossError> {
    if let Some(dense) = output.as_slice_mut() {
        return write(dense);
    }
    let mut copy = vec![T::default(); output.len()];
    let result = write(&mut copy)?;
    for (output, value) in output.iter_mut().zip(copy) {
        *output = value;
    }
    Ok(result)
}

/// Checks the shape of an output array.
fn check_shape(output: &'static str, found: &[usize], expected: &[usize]) -> Result<(), LossError> {
    if found == expected {
        return Ok(());
    }
    Err(LossError::OutputShape {
        output,
        found: found.to_vec(),
        expected: expected.to_vec(),
    })
}
