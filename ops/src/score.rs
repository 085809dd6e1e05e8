use std::fmt::Debug;

use half::slice::HalfFloatSliceExt;
use half::{bf16, f16};

use crate::sample::{Sample, SampleLoss, one_by_one};
use crate::simd;
use crate::workspace::Workspace;

/// The floating-point types of scores: `f64`, `f32`, [`f16`](struct@f16) and [`bf16`]. Half-precision
/// scores are converted to `f32` first; the precision-critical steps use `f64` for every type.
pub trait Score: Copy + Debug + Default + Into<f64> + PartialOrd + Send + Sync + 'static {
    /// Rounds to this type.
    fn from_f64(value: f64) -> Self;

    #[doc(hidden)]
    fn all_finite(scores: &[Self]) -> bool;

    /// Computes the loss of a sample with the loss's kernel for this type.
    #[doc(hidden)]
    fn compute<L: SampleLoss + ?Sized>(
        loss: &L,
        workspace: &mut Workspace,
        sample: Sample<'_, Self>,
    ) -> f64;

    /// Computes the losses of up to [`SampleLoss::side_by_side`] samples. Returns whether all scores are finite, which it
    /// checks; if not, losses and gradients are unspecified.
    #[doc(hidden)]
    fn compute_side_by_side<L: SampleLoss + ?Sized>(
        loss: &L,
        workspace: &mut Workspace,
        samples: &mut [Sample<'_, Self>],
        values: &mut [f64],
    ) -> bool {
        one_by_one(samples, values, Self::all_finite, |sample| {
            Self::compute(loss, workspace, sample)
        })
    }
}

impl Score for f32 {
    fn from_f64(value: f64) -> Self {
        value as f32
    }

    fn all_finite(scores: &[Self]) -> bool {
        simd::all_finite(scores)
    }

    fn compute<L: SampleLoss + ?Sized>(
        loss: &L,
        workspace: &mut Workspace,
        sample: Sample<'_, Self>,
    ) -> f64 {
        loss.compute_f32(workspace, sample)
    }

    fn compute_side_by_side<L: SampleLoss + ?Sized>(
        loss: &L,
        workspace: &mut Workspace,
        samples: &mut [Sample<'_, Self>],
        values: &mut [f64],
    ) -> bool {
        loss.compute_side_by_side_f32(workspace, samples, values)
    }
}

impl Score for f64 {
    fn from_f64(value: f64) -> Self {
        value
    }

    fn all_finite(scores: &[Self]) -> bool {
        scores.iter().all(|score| score.is_finite())
    }

    fn compute<L: SampleLoss + ?Sized>(
        loss: &L,
        workspace: &mut Workspace,
        sample: Sample<'_, Self>,
    ) -> f64 {
        loss.compute_f64(workspace, sample)
    }
}

macro_rules! half_precision {
    ($($half:ty),*) => {$(
        impl Score for $half {
            fn from_f64(value: f64) -> Self {
                <$half>::from_f64(value)
            }

            fn all_finite(scores: &[Self]) -> bool {
                scores.iter().all(|score| score.is_finite())
            }

            fn compute<L: SampleLoss + ?Sized>(
                loss: &L,
                workspace: &mut Workspace,
                sample: Sample<'_, Self>,
            ) -> f64 {
                sample.in_type(
                    workspace,
                    |workspace| &mut workspace.f32,
                    |half, single| half.convert_to_f32_slice(single),
                    |single, half| half.convert_from_f32_slice(single),
                    |workspace, sample| loss.compute_f32(workspace, sample),
                )
            }
        }
    )*};
}

half_precision!(f16, bf16);
