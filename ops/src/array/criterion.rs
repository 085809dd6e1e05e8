//! [`Criterion`] on arrays.

use ndarray::{Array1, Array2, ArrayView1, ArrayView2, ArrayViewMut1, ArrayViewMut2};

use super::{check_shape, dense};
use crate::{BatchOutputs, Criterion, LossError, Rayon, Reduction, SampleLoss, Score};

/// On arrays: see [`array`](crate::array).
impl<L: SampleLoss> Criterion<L> {
    /// The mean or sum of the losses over the batch: scores `[N, C]`, labels `[N]`.
    ///
    /// ```
    /// use ndarray::array;
    /// use topk_ops::{Criterion, CrossEntropy};
    ///
    /// let scores = array![[0.0, 0.0], [0.0, 0.0]];
    /// let loss = Criterion::new(CrossEntropy).value(&scores, &array![0, 1])?;
    /// assert_eq!(loss, 2f64.ln());
    /// # Ok::<(), topk_ops::LossError>(())
    /// ```
    ///
    /// # Errors
    /// [`LossError`] if a shape, label or score is invalid, and [`LossError::NotReduced`] if the reduction is
    /// [`Reduction::None`]: then use [`values`](Self::values).
    pub fn value<'a, T: Score>(
        &self,
        scores: impl Into<ArrayView2<'a, T>>,
        labels: impl Into<ArrayView1<'a, i64>>,
    ) -> Result<T, LossError> {
        self.check_reduced()?;
        let mut value = [T::default()];
        self.on_arrays(scores.into(), labels.into(), &mut value, None)?;
        Ok(value[0])
    }

    /// [`value`](Self::value), and its derivatives with respect to the scores, `[N, C]`.
    ///
    /// # Errors
    /// As [`value`](Self::value).
    pub fn value_and_gradient<'a, T: Score>(
        &self,
        scores: impl Into<ArrayView2<'a, T>>,
        labels: impl Into<ArrayView1<'a, i64>>,
    ) -> Result<(T, Array2<T>), LossError> {
        let scores = scores.into();
        let mut gradient = Array2::default(scores.dim());
        let value = self.value_and_gradient_into(scores, labels, &mut gradient)?;
        Ok((value, gradient))
    }

    /// [`value_and_gradient`](Self::value_and_gradient), with the gradient written to an array `[N, C]`.
    ///
    /// # Errors
    /// As [`value`](Self::value), or if `gradient` has another shape. The contents of `gradient` are unspecified
    /// then.
    pub fn value_and_gradient_into<'a, 'o, T: Score>(
        &self,
        scores: impl Into<ArrayView2<'a, T>>,
        labels: impl Into<ArrayView1<'a, i64>>,
        gradient: impl Into<ArrayViewMut2<'o, T>>,
    ) -> Result<T, LossError> {
        self.check_reduced()?;
        let mut value = [T::default()];
        let gradient = Some(gradient.into());
        self.on_arrays(scores.into(), labels.into(), &mut value, gradient)?;
        Ok(value[0])
    }

    /// The loss: one value per sample, `[N]`, without reduction, otherwise one value, `[1]`.
    ///
    /// # Errors
    /// [`LossError`] if a shape, label or score is invalid.
    pub fn values<'a, T: Score>(
        &self,
        scores: impl Into<ArrayView2<'a, T>>,
        labels: impl Into<ArrayView1<'a, i64>>,
    ) -> Result<Array1<T>, LossError> {
        let labels = labels.into();
        let mut values = Array1::default(self.output_len(labels.len()));
        self.values_into(scores, labels, &mut values)?;
        Ok(values)
    }

    /// [`values`](Self::values), written to an array `[N]` without reduction, otherwise `[1]`.
    ///
    /// # Errors
    /// As [`values`](Self::values), or if `values` has another shape. Its contents are unspecified then.
    pub fn values_into<'a, 'o, T: Score>(
        &self,
        scores: impl Into<ArrayView2<'a, T>>,
        labels: impl Into<ArrayView1<'a, i64>>,
        values: impl Into<ArrayViewMut1<'o, T>>,
    ) -> Result<(), LossError> {
        self.values_on_arrays(scores.into(), labels.into(), values.into(), None)
    }

    /// [`values`](Self::values), and the derivatives of their sum with respect to the scores, `[N, C]`.
    ///
    /// # Errors
    /// As [`values`](Self::values).
    pub fn values_and_gradient<'a, T: Score>(
        &self,
        scores: impl Into<ArrayView2<'a, T>>,
        labels: impl Into<ArrayView1<'a, i64>>,
    ) -> Result<(Array1<T>, Array2<T>), LossError> {
        let (scores, labels) = (scores.into(), labels.into());
        let mut values = Array1::default(self.output_len(labels.len()));
        let mut gradient = Array2::default(scores.dim());
        self.values_and_gradient_into(scores, labels, &mut values, &mut gradient)?;
        Ok((values, gradient))
    }

    /// [`values_and_gradient`](Self::values_and_gradient), written to arrays.
    ///
    /// # Errors
    /// As [`values`](Self::values), or if an output has another shape. The contents of the outputs are unspecified
    /// then.
    pub fn values_and_gradient_into<'a, 'o, T: Score>(
        &self,
        scores: impl Into<ArrayView2<'a, T>>,
        labels: impl Into<ArrayView1<'a, i64>>,
        values: impl Into<ArrayViewMut1<'o, T>>,
        gradient: impl Into<ArrayViewMut2<'o, T>>,
    ) -> Result<(), LossError> {
        let gradient = Some(gradient.into());
        self.values_on_arrays(scores.into(), labels.into(), values.into(), gradient)
    }

    fn check_reduced(&self) -> Result<(), LossError> {
        match self.reduction() {
            Reduction::None => Err(LossError::NotReduced),
            Reduction::Sum | Reduction::Mean => Ok(()),
        }
    }

    fn values_on_arrays<T: Score>(
        &self,
        scores: ArrayView2<'_, T>,
        labels: ArrayView1<'_, i64>,
        values: ArrayViewMut1<'_, T>,
        gradient: Option<ArrayViewMut2<'_, T>>,
    ) -> Result<(), LossError> {
        check_shape("values", values.shape(), &[self.output_len(labels.len())])?;
        dense(values, |values| {
            self.on_arrays(scores, labels, values, gradient)
        })
    }

    /// Computes the loss of arrays that may have any strides.
    fn on_arrays<T: Score>(
        &self,
        scores: ArrayView2<'_, T>,
        labels: ArrayView1<'_, i64>,
        values: &mut [T],
        gradient: Option<ArrayViewMut2<'_, T>>,
    ) -> Result<(), LossError> {
        let (samples, classes) = scores.dim();
        if labels.len() != samples {
            return Err(LossError::ArrayShape {
                scores: [samples, classes],
                labels: labels.len(),
            });
        }
        // On slices, the number of classes of an empty batch is not known.
        self.check_classes(classes)?;
        // Copies only what is not dense and row-major.
        let (scores, labels) = (scores.as_standard_layout(), labels.as_standard_layout());
        let dense_memory = "the standard layout is dense";
        let scores = scores.as_slice().expect(dense_memory);
        let labels = labels.as_slice().expect(dense_memory);
        let outputs = BatchOutputs::new(values);
        let Some(gradient) = gradient else {
            return self.compute(&Rayon, scores, labels, outputs);
        };
        check_shape("gradient", gradient.shape(), &[samples, classes])?;
        dense(gradient, |gradient| {
            let outputs = BatchOutputs {
                grad: Some(gradient),
                ..outputs
            };
            self.compute(&Rayon, scores, labels, outputs)
        })
    }
}
