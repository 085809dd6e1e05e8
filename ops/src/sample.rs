//! One sample, and what a loss computes for it.

use std::fmt::Debug;

use crate::LossError;
use crate::parameters::check_min_classes;
use crate::ranking::{Ranked, by_rank, fill};
use crate::simd;
use crate::workspace::{SampleBuffers, Workspace};

/// The most samples that a loss computes side by side.
pub(crate) const MAX_SIDE_BY_SIDE: usize = 16;

/// The loss of a single sample: the part of [`Loss`](crate::Loss) that each loss implements.
///
/// The trait is sealed: its implementations are the losses of this crate, and references and boxes of
/// them.
pub trait SampleLoss: Debug + Send + Sync {
    /// The least number of classes that the loss can be computed with: k + 1 for the top-k losses.
    fn min_classes(&self) -> usize;

    /// Checks that the loss can be computed with this number of classes.
    ///
    /// # Errors
    /// [`LossError::TooFewClasses`] if there are too few.
    fn check_classes(&self, classes: usize) -> Result<(), LossError> {
        check_min_classes(self.min_classes(), classes)
    }

    /// Returns the loss of `sample` and writes its gradient, if that is requested.
    #[doc(hidden)]
    fn compute_f64(&self, workspace: &mut Workspace, sample: Sample<'_, f64>) -> f64;

    /// As [`compute_f64`](Self::compute_f64); losses without a kernel for `f32` convert the scores.
    #[doc(hidden)]
    fn compute_f32(&self, workspace: &mut Workspace, sample: Sample<'_, f32>) -> f64 {
        sample.in_f64(workspace, |workspace, sample| {
            self.compute_f64(workspace, sample)
        })
    }

    /// Roughly the time per score, in those of cross-entropy: batches are divided among threads by it.
    #[doc(hidden)]
    fn work_per_score(&self) -> usize {
        1
    }

    /// Number of samples of this many classes, at most [`MAX_SIDE_BY_SIDE`], that take less time together than one
    /// by one.
    #[doc(hidden)]
    fn side_by_side(&self, _classes: usize) -> usize {
        1
    }

    /// [`compute_f32`](Self::compute_f32) for up to [`side_by_side`](Self::side_by_side) samples. The result of a sample
    /// does not depend on the others.
    ///
    /// Returns whether all scores are finite, which it checks, so that a loss can do that where it reads them anyway; if not,
    /// losses and gradients are unspecified.
    #[doc(hidden)]
    fn compute_side_by_side_f32(
        &self,
        workspace: &mut Workspace,
        samples: &mut [Sample<'_, f32>],
        values: &mut [f64],
    ) -> bool {
        one_by_one(samples, values, simd::all_finite, |sample| {
            self.compute_f32(workspace, sample)
        })
    }

    /// Returns the sum over all classes of the loss with that class as label times its entry in `targets`, and writes
    /// its gradient, if that is requested. The label of `sample` is not used.
    ///
    /// Losses of which all of them share the most part of the work compute them together.
    #[doc(hidden)]
    fn compute_soft(
        &self,
        workspace: &mut Workspace,
        sample: Sample<'_, f64>,
        targets: &[f64],
    ) -> f64 {
        sum_over_labels(self, workspace, sample, targets)
    }
}

/// Sets the values by a function for one sample, up to the first sample with a score that is not finite. Returns whether all
/// are finite.
pub(crate) fn one_by_one<T>(
    samples: &mut [Sample<'_, T>],
    values: &mut [f64],
    all_finite: impl Fn(&[T]) -> bool,
    mut compute: impl FnMut(Sample<'_, T>) -> f64,
) -> bool {
    samples.iter_mut().zip(values).all(|(sample, value)| {
        let finite = all_finite(sample.scores);
        if finite {
            *value = compute(sample.reborrow());
        }
        finite
    })
}

/// [`SampleLoss::compute_soft`], one label after the other: takes the time of as many losses as there are targets above
/// 0.
pub(crate) fn sum_over_labels<L: SampleLoss + ?Sized>(
    loss: &L,
    workspace: &mut Workspace,
    mut sample: Sample<'_, f64>,
    targets: &[f64],
) -> f64 {
    let mut buffer = std::mem::take(&mut workspace.of_loss::<LabelGradient>().0);
    buffer.resize(sample.scores.len(), 0.0);
    if let Some(grad) = &mut sample.grad {
        grad.fill(0.0);
    }
    let mut sum = 0.0;
    for (label, &target) in targets.iter().enumerate() {
        if target == 0.0 {
            continue;
        }
        let of_label = Sample {
            index: sample.index,
            scores: sample.scores,
            label,
            factor: sample.factor * target,
            grad: sample.grad.is_some().then_some(&mut *buffer),
        };
        sum += target * loss.compute_f64(workspace, of_label);
        if let Some(grad) = &mut sample.grad {
            for (all, own) in grad.iter_mut().zip(&buffer) {
                *all += own;
            }
        }
    }
    workspace.of_loss::<LabelGradient>().0 = buffer;
    sum
}

/// The gradient of one of several labels.
#[derive(Debug, Default)]
struct LabelGradient(Vec<f64>);

macro_rules! delegate {
    ($($pointer:ty),*) => {$(
        impl<L: SampleLoss + ?Sized> SampleLoss for $pointer {
            fn min_classes(&self) -> usize {
                (**self).min_classes()
            }

            fn check_classes(&self, classes: usize) -> Result<(), LossError> {
                (**self).check_classes(classes)
            }

            fn compute_f64(&self, workspace: &mut Workspace, sample: Sample<'_, f64>) -> f64 {
                (**self).compute_f64(workspace, sample)
            }

            fn compute_f32(&self, workspace: &mut Workspace, sample: Sample<'_, f32>) -> f64 {
                (**self).compute_f32(workspace, sample)
            }

            fn work_per_score(&self) -> usize {
                (**self).work_per_score()
            }

            fn side_by_side(&self, classes: usize) -> usize {
                (**self).side_by_side(classes)
            }

            fn compute_side_by_side_f32(
                &self,
                workspace: &mut Workspace,
                samples: &mut [Sample<'_, f32>],
                values: &mut [f64],
            ) -> bool {
                (**self).compute_side_by_side_f32(workspace, samples, values)
            }

            fn compute_soft(
                &self,
                workspace: &mut Workspace,
                sample: Sample<'_, f64>,
                targets: &[f64],
            ) -> f64 {
                (**self).compute_soft(workspace, sample, targets)
            }
        }
    )*};
}

delegate!(&L, Box<L>);

/// One sample of a batch.
#[derive(Debug)]
pub struct Sample<'a, T> {
    /// Index in the batch.
    pub(crate) index: usize,
    /// Scores: all finite, but for [`SampleLoss::compute_side_by_side_f32`].
    pub(crate) scores: &'a [T],
    /// Index of the label's class.
    pub(crate) label: usize,
    /// Factor for the gradient: the label's weight over the divisor of the reduction.
    pub(crate) factor: f64,
    /// Where the gradient goes, if it is requested; its contents on entry are unspecified.
    pub(crate) grad: Option<&'a mut [T]>,
}

impl<'a, T> Sample<'a, T> {
    /// A sample without classes, which fills the place of one.
    pub(crate) const EMPTY: Self = Self {
        index: 0,
        scores: &[],
        label: 0,
        factor: 0.0,
        grad: None,
    };

    /// The same sample for a shorter time.
    pub(crate) fn reborrow(&mut self) -> Sample<'_, T> {
        Sample {
            index: self.index,
            scores: self.scores,
            label: self.label,
            factor: self.factor,
            grad: self.grad.as_deref_mut(),
        }
    }

    /// The scores of all classes but the label's.
    pub(crate) fn wrong_scores(&self) -> impl Iterator<Item = &'a T> + Clone + use<'a, T> {
        let (before, after) = (&self.scores[..self.label], &self.scores[self.label + 1..]);
        before.iter().chain(after)
    }

    /// Converts the sample to another type, computes with it, and converts the gradient back.
    pub(crate) fn in_type<U: Copy + Default>(
        self,
        workspace: &mut Workspace,
        buffers: impl Fn(&mut Workspace) -> &mut SampleBuffers<U>,
        widen: impl Fn(&[T], &mut [U]),
        narrow: impl Fn(&[U], &mut [T]),
        compute: impl FnOnce(&mut Workspace, Sample<'_, U>) -> f64,
    ) -> f64 {
        let mut taken = std::mem::take(buffers(workspace));
        let SampleBuffers { scores, grad } = &mut taken;
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
    /// The `k` highest scores of the wrong classes, in descending order; of equal ones the lower class comes first.
    pub(crate) fn highest_wrong<'w>(&self, k: usize, workspace: &'w mut Workspace) -> &'w [Ranked] {
        let Workspace {
            ranked, highest, ..
        } = workspace;
        simd::highest(self.scores, self.label, k, highest);
        ranked.clear();
        ranked.extend(
            highest
                .iter()
                .map(|&class| (self.scores[class].into(), class)),
        );
        ranked
    }

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

impl Sample<'_, f64> {
    /// The `k` highest scores of the wrong classes: the `k`-th last, and those before it in any order.
    pub(crate) fn highest_wrong<'w>(&self, k: usize, workspace: &'w mut Workspace) -> &'w [Ranked] {
        self.select_wrong(k, &mut workspace.ranked);
        &workspace.ranked[..k]
    }

    /// Finds the `k`-th highest score of the wrong classes: returns the higher ones, in any order,
    /// the `k`-th itself, and the lower ones, in any order.
    pub(crate) fn select_wrong<'r>(
        &self,
        k: usize,
        ranked: &'r mut Vec<Ranked>,
    ) -> (&'r [Ranked], Ranked, &'r [Ranked]) {
        fill(ranked, self.scores.iter().copied());
        ranked.swap_remove(self.label);
        let (higher, kth, lower) = ranked.select_nth_unstable_by(k - 1, by_rank);
        (higher, *kth, lower)
    }
}
