use std::cmp::Ordering;
use std::fmt::Debug;

use crate::losses::{differentiable_topk_cross_entropy, smooth_topk_svm};
use crate::{Criterion, LossError, Reduction, Score};

/// A classification loss: a value for each sample and its gradient with respect to the scores.
///
/// Scores are row-major, one row of `classes` entries for each label, so `classes` is
/// `scores.len() / labels.len()`. An empty batch gives empty outputs. Large batches are shared out
/// among the threads of rayon's pool; results do not depend on their number. [`Criterion`] adds
/// reduction, weights of classes and labels to ignore.
///
/// The trait is sealed: its implementations are the losses of this crate, and references and boxes of
/// them.
pub trait Loss: Debug + Send + Sync {
    /// The least number of classes that the loss can be computed with: k + 1 for the top-k losses.
    fn min_classes(&self) -> usize;

    /// Whether the loss can be computed with this number of classes.
    ///
    /// # Errors
    /// [`LossError::TooFewClasses`] if not.
    fn check_classes(&self, classes: usize) -> Result<(), LossError> {
        check_min_classes(self.min_classes(), classes)
    }

    /// Loss of every sample.
    ///
    /// # Errors
    /// [`LossError`] if a shape, label or score is not usable. What `values` holds then is
    /// unspecified.
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

    /// Loss of every sample, and its derivative with respect to each score of that sample.
    ///
    /// `grad` has the shape of `scores`.
    ///
    /// # Errors
    /// [`LossError`] if a shape, label or score is not usable. What `values` and `grad` hold then
    /// is unspecified.
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

    /// Loss of a sample; with `grad`, also its derivatives times `factor`.
    #[doc(hidden)]
    fn sample_f64(&self, workspace: &mut Workspace, sample: Sample<'_, f64>) -> f64;

    #[doc(hidden)]
    fn sample_f32(&self, workspace: &mut Workspace, sample: Sample<'_, f32>) -> f64 {
        sample.in_f64(workspace, |workspace, sample| {
            self.sample_f64(workspace, sample)
        })
    }
}

macro_rules! delegate {
    ($($pointer:ty),*) => {$(
        impl<L: Loss + ?Sized> Loss for $pointer {
            fn min_classes(&self) -> usize {
                (**self).min_classes()
            }

            fn check_classes(&self, classes: usize) -> Result<(), LossError> {
                (**self).check_classes(classes)
            }

            fn sample_f64(&self, workspace: &mut Workspace, sample: Sample<'_, f64>) -> f64 {
                (**self).sample_f64(workspace, sample)
            }

            fn sample_f32(&self, workspace: &mut Workspace, sample: Sample<'_, f32>) -> f64 {
                (**self).sample_f32(workspace, sample)
            }
        }
    )*};
}

delegate!(&L, Box<L>);

/// One sample of a batch.
#[derive(Debug)]
pub struct Sample<'a, T> {
    /// Its place in the batch.
    pub(crate) index: usize,
    /// Scores, all finite.
    pub(crate) scores: &'a [T],
    /// Index of the right class.
    pub(crate) label: usize,
    /// What the derivatives are multiplied by.
    pub(crate) factor: f64,
    /// The derivatives to write, if they are asked for; what it holds before is unspecified.
    pub(crate) grad: Option<&'a mut [T]>,
}

impl<'a, T> Sample<'a, T> {
    /// The scores without the label's.
    pub(crate) fn wrong(&self) -> impl Iterator<Item = &'a T> + Clone + use<'a, T> {
        let (before, after) = (&self.scores[..self.label], &self.scores[self.label + 1..]);
        before.iter().chain(after)
    }

    /// Converts the sample to another type, computes with it, and converts the gradient back.
    pub(crate) fn in_type<U: Copy + Default>(
        self,
        workspace: &mut Workspace,
        buffers: impl Fn(&mut Workspace) -> &mut Buffers<U>,
        widen: impl Fn(&[T], &mut [U]),
        narrow: impl Fn(&[U], &mut [T]),
        compute: impl FnOnce(&mut Workspace, Sample<'_, U>) -> f64,
    ) -> f64 {
        let mut taken = std::mem::take(buffers(workspace));
        let Buffers { scores, grad } = &mut taken;
        scores.resize(self.scores.len(), U::default());
        widen(self.scores, scores);
        let sample = Sample {
            index: self.index,
            scores,
            label: self.label,
            factor: self.factor,
            grad: self.grad.is_some().then(|| {
                grad.resize(self.scores.len(), U::default());
                &mut **grad
            }),
        };
        let value = compute(workspace, sample);
        if let Some(narrowed) = self.grad {
            narrow(grad, narrowed);
        }
        *buffers(workspace) = taken;
        value
    }
}

impl Sample<'_, f32> {
    /// Computes with the sample in `f64`.
    pub(crate) fn in_f64(
        self,
        workspace: &mut Workspace,
        compute: impl FnOnce(&mut Workspace, Sample<'_, f64>) -> f64,
    ) -> f64 {
        self.in_type(
            workspace,
            |workspace| &mut workspace.f64,
            |single, double| {
                for (double, &single) in double.iter_mut().zip(single) {
                    *double = single.into();
                }
            },
            |double, single| {
                for (single, &double) in single.iter_mut().zip(double) {
                    *single = double as f32;
                }
            },
            compute,
        )
    }
}

/// A score with its class.
pub(crate) type Ranked = (f64, usize);

impl Sample<'_, f64> {
    /// Ranks the wrong classes as far as the `k`-th: gives those before it, in no order, and itself,
    /// and those after it, in no order.
    pub(crate) fn select_wrong<'r>(
        &self,
        k: usize,
        ranked: &'r mut Vec<Ranked>,
    ) -> (&'r [Ranked], Ranked, &'r [Ranked]) {
        ranked.clear();
        ranked.extend(self.scores.iter().copied().zip(0..));
        ranked.swap_remove(self.label);
        let (higher, kth, lower) = ranked.select_nth_unstable_by(k - 1, by_rank);
        (higher, *kth, lower)
    }
}

/// The order of scores with their classes from the highest down; of equal scores the lower class comes
/// first.
pub(crate) fn by_rank(a: &Ranked, b: &Ranked) -> Ordering {
    // Not `total_cmp`, in which −0 is below 0.
    let scores = b.0.partial_cmp(&a.0).unwrap_or(Ordering::Equal);
    scores.then(a.1.cmp(&b.1))
}

/// Buffers that are used for one sample after another, whatever the loss.
#[derive(Debug, Default)]
pub struct Workspace {
    pub(crate) f64: Buffers<f64>,
    pub(crate) f32: Buffers<f32>,
    pub(crate) ranked: Vec<Ranked>,
    pub(crate) smooth: smooth_topk_svm::Buffers,
    pub(crate) ranking: differentiable_topk_cross_entropy::Buffers,
}

/// A sample in another type.
#[derive(Debug, Default)]
pub(crate) struct Buffers<T> {
    scores: Vec<T>,
    grad: Vec<T>,
}

impl<T: Copy + Default> Buffers<T> {
    /// Space for the entries of a sample whose gradient is not asked for.
    pub(crate) fn scratch(&mut self, classes: usize) -> &mut [T] {
        self.grad.resize(classes, T::default());
        &mut self.grad
    }
}

pub(crate) fn check_k(k: usize) -> Result<usize, LossError> {
    if k == 0 { Err(LossError::ZeroK) } else { Ok(k) }
}

pub(crate) fn check_min_classes(needed: usize, classes: usize) -> Result<(), LossError> {
    if classes < needed {
        Err(LossError::TooFewClasses { needed, classes })
    } else {
        Ok(())
    }
}

/// Whether it is a finite number of at least 0.
pub(crate) fn is_magnitude(number: f64) -> bool {
    number >= 0.0 && number.is_finite()
}

/// The first that is not a finite number of at least 0, with its index.
pub(crate) fn first_no_magnitude(numbers: &[f64]) -> Option<(usize, f64)> {
    let mut numbers = numbers.iter().copied().enumerate();
    numbers.find(|&(_, number)| !is_magnitude(number))
}

pub(crate) fn check_alpha(alpha: f64) -> Result<f64, LossError> {
    if is_magnitude(alpha) {
        Ok(alpha)
    } else {
        Err(LossError::Alpha(alpha))
    }
}

pub(crate) fn check_tau(tau: f64) -> Result<f64, LossError> {
    if tau > 0.0 && tau.is_finite() {
        Ok(tau)
    } else {
        Err(LossError::Tau(tau))
    }
}
