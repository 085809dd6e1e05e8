use crate::criterion::Criterion;
use crate::reduction::Reduction;
use crate::sample::SampleLoss;
use crate::{LossError, Score};

/// A classification loss: one value per sample, and its gradient with respect to the scores.
///
/// Scores are row-major, one row of `classes` scores per label, so `classes` is
/// `scores.len() / labels.len()`. An empty batch gives empty outputs. Large batches are split across
/// rayon's pool; results do not depend on the number of threads. [`Criterion`] adds reduction, class
/// weights and an ignored label.
///
/// Every [`SampleLoss`] is a `Loss`.
pub trait Loss: SampleLoss {
    /// Computes the loss of every sample.
    ///
    /// # Errors
    /// [`LossError`] if a shape, label or score is invalid. The contents of `values` are unspecified
    /// then.
    fn forward<T: Score>(
        &self,
        scores: &[T],
        labels: &[i64],
        values: &mut [T],
    ) -> Result<(), LossError>
    where
        Self: Sized,
    {
        let criterion = Criterion::new(self).with_reduction(Reduction::None);
        criterion.forward(scores, labels, values)
    }

    /// Computes the loss of every sample, and its derivative with respect to each score of that sample.
    ///
    /// `grad` has the shape of `scores`.
    ///
    /// # Errors
    /// [`LossError`] if a shape, label or score is invalid. The contents of `values` and `grad` are
    /// unspecified then.
    fn forward_backward<T: Score>(
        &self,
        scores: &[T],
        labels: &[i64],
        values: &mut [T],
        grad: &mut [T],
    ) -> Result<(), LossError>
    where
        Self: Sized,
    {
        let criterion = Criterion::new(self).with_reduction(Reduction::None);
        criterion.forward_backward(scores, labels, values, grad)
    }
}

impl<L: SampleLoss + ?Sized> Loss for L {}
