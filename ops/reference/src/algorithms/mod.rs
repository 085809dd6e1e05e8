//! The algorithms that [`SmoothTopkSvm`] is compared with, entirely in `f32` or `f64`.
//!
//! They are those of the authors' code,
//! [oval-group/smooth-topk](https://github.com/oval-group/smooth-topk), written for one sample at a time
//! where that code operates on the tensors of a whole batch. They round the same quantities in the same
//! order, and deliberately make the same errors. Samples are split across the current rayon pool, in
//! tasks of the same size as those of `topk_ops`.

mod divide_and_conquer;
mod number;
mod summation;

pub use divide_and_conquer::divide_and_conquer;
pub use number::Real;
pub use summation::{log_summation, summation};

use rayon::iter::{IndexedParallelIterator, ParallelIterator};
use rayon::slice::ParallelSlice;
use topk_ops::{LossError, SCORES_PER_TASK, SmoothTopkSvm};

use number::{Log, Number};

/// One sample of a batch.
struct Sample<'a, T> {
    scores: &'a [T],
    label: usize,
    grad: Option<&'a mut [T]>,
}

impl<T: Real> Sample<'_, T> {
    /// z_i = s_i / (kτ) of the wrong classes.
    fn wrong_scores(&self, svm: &SmoothTopkSvm) -> impl Iterator<Item = T> {
        let scale = scale(svm);
        let (before, after) = (&self.scores[..self.label], &self.scores[self.label + 1..]);
        before.iter().chain(after).map(move |&score| score / scale)
    }
}

/// kτ.
fn scale<T: Real>(svm: &SmoothTopkSvm) -> T {
    real(svm.k() as f64 * svm.tau())
}

fn real<T: Real>(value: f64) -> T {
    T::from_f64(value)
}

/// Computes the loss of every sample with `sample`, which gets a workspace for its thread.
fn batch<T: Real, W: Default>(
    min_classes: usize,
    scores: &[T],
    labels: &[i64],
    values: &mut [T],
    grad: Option<&mut [T]>,
    sample: impl Fn(&mut W, Sample<'_, T>) -> T + Sync,
) -> Result<(), LossError> {
    let classes = check(
        min_classes,
        scores,
        labels,
        values.len(),
        grad.as_deref().map(<[T]>::len),
    )?;
    let mut grads = grad.map(|grad| grad.chunks_exact_mut(classes));
    let outputs: Vec<_> = values
        .iter_mut()
        .map(|value| (value, grads.as_mut().and_then(Iterator::next)))
        .collect();
    scores
        .par_chunks_exact(classes)
        .zip(labels)
        .zip(outputs)
        .with_min_len((SCORES_PER_TASK / classes).max(1))
        .for_each_init(
            W::default,
            |workspace, ((scores, &label), (value, grad))| {
                let label = label as usize;
                *value = sample(
                    workspace,
                    Sample {
                        scores,
                        label,
                        grad,
                    },
                );
            },
        );
    Ok(())
}

/// The number of classes.
fn check<T: Real>(
    min_classes: usize,
    scores: &[T],
    labels: &[i64],
    values: usize,
    grad: Option<usize>,
) -> Result<usize, LossError> {
    if labels.is_empty() || !scores.len().is_multiple_of(labels.len()) {
        return Err(LossError::Shape {
            scores: scores.len(),
            labels: labels.len(),
        });
    }
    let classes = scores.len() / labels.len();
    if classes < min_classes {
        return Err(LossError::TooFewClasses {
            needed: min_classes,
            classes,
        });
    }
    let outputs = [
        ("values", values, labels.len()),
        ("grad", grad.unwrap_or(scores.len()), scores.len()),
    ];
    for (output, found, expected) in outputs {
        if found != expected {
            return Err(LossError::Output {
                output,
                found,
                expected,
            });
        }
    }
    let good = |&label: &i64| usize::try_from(label).is_ok_and(|label| label < classes);
    match labels.iter().position(|label| !good(label)) {
        Some(sample) => Err(LossError::Label {
            sample,
            label: labels[sample],
            classes,
        }),
        None => Ok(classes),
    }
}

/// The loss, and its derivatives with respect to ln e_{k−1} (and z_y, which is the same) and to ln e_k.
///
/// As in the authors' code: the log-sum-exp of the terms with the label and those without, minus the former.
fn combine<T: Real>(svm: &SmoothTopkSvm, ln_km1: T, ln_k: T, own: T) -> (T, T, T) {
    let tau = real::<T>(svm.tau());
    let with = ln_km1 + own;
    let without = ln_k + real(svm.alpha() / svm.tau());
    let all = Log(without).add(Log(with)).0;
    let max = with.max(without);
    let (e_with, e_without) = ((with - max).exp(), (without - max).exp());
    let sum = e_with + e_without;
    (
        tau * (all - with),
        tau * (e_with / sum) - tau,
        tau * (e_without / sum),
    )
}
