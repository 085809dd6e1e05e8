//! Single losses on arrays.

use ndarray::{Array1, Array2, ArrayView1, ArrayView2, ArrayViewMut1, ArrayViewMut2};

use crate::{Criterion, Loss, LossError, Reduction, Score};

/// A [`Loss`] on arrays: one value per sample. For their mean, a [`Criterion`] has the methods
/// [`value`](Criterion::value) and [`value_and_gradient`](Criterion::value_and_gradient).
///
/// Scores are `[N, C]`, labels `[N]`. Every [`Loss`] is an `ArrayLoss`.
///
/// ```
/// use ndarray::array;
/// use topk_ops::{ArrayLoss, SmoothTopkSvm};
///
/// let scores = array![[2.0f32, 0.5, -1.0], [0.1, 0.2, 0.0]];
/// let (values, gradient) = SmoothTopkSvm::new(1, 1.0, 1.0)?.values_and_gradient(&scores, &array![0, 2])?;
/// assert!(values[0] < values[1]);
/// assert!(gradient[[0, 0]] < 0.0); // raising the label's score lowers the loss
/// # Ok::<(), topk_ops::LossError>(())
/// ```
pub trait ArrayLoss: Loss + Sized {
    /// The loss of every sample, `[N]`.
    ///
    /// # Errors
    /// [`LossError`] if a shape, label or score is invalid.
    fn values<'a, T: Score>(
        &self,
        scores: impl Into<ArrayView2<'a, T>>,
        labels: impl Into<ArrayView1<'a, i64>>,
    ) -> Result<Array1<T>, LossError> {
        of_samples(self).values(scores, labels)
    }

    /// [`values`](Self::values), written to an array `[N]`.
    ///
    /// # Errors
    /// As [`values`](Self::values), or if `values` has another shape. Its contents are unspecified then.
    fn values_into<'a, 'o, T: Score>(
        &self,
        scores: impl Into<ArrayView2<'a, T>>,
        labels: impl Into<ArrayView1<'a, i64>>,
        values: impl Into<ArrayViewMut1<'o, T>>,
    ) -> Result<(), LossError> {
        of_samples(self).values_into(scores, labels, values)
    }

    /// The loss of every sample, `[N]`, and its derivative with respect to each score of that sample, `[N, C]`.
    ///
    /// # Errors
    /// As [`values`](Self::values).
    fn values_and_gradient<'a, T: Score>(
        &self,
        scores: impl Into<ArrayView2<'a, T>>,
        labels: impl Into<ArrayView1<'a, i64>>,
    ) -> Result<(Array1<T>, Array2<T>), LossError> {
        of_samples(self).values_and_gradient(scores, labels)
    }

    /// [`values_and_gradient`](Self::values_and_gradient), written to arrays.
    ///
    /// # Errors
    /// As [`values`](Self::values), or if an output has another shape. The contents of the outputs are unspecified
    /// then.
    fn values_and_gradient_into<'a, 'o, T: Score>(
        &self,
        scores: impl Into<ArrayView2<'a, T>>,
        labels: impl Into<ArrayView1<'a, i64>>,
        values: impl Into<ArrayViewMut1<'o, T>>,
        gradient: impl Into<ArrayViewMut2<'o, T>>,
    ) -> Result<(), LossError> {
        of_samples(self).values_and_gradient_into(scores, labels, values, gradient)
    }
}

impl<L: Loss> ArrayLoss for L {}

fn of_samples<L: Loss>(loss: &L) -> Criterion<&L> {
    Criterion::new(loss).with_reduction(Reduction::None)
}
