use std::fmt::Debug;

use thiserror::Error;

use crate::fused;

/// Why a loss cannot be made or computed. Every message names the offending value.
#[derive(Clone, Debug, Error, PartialEq)]
#[non_exhaustive]
pub enum LossError {
    /// `k` is zero.
    #[error("k must be at least 1, got 0")]
    ZeroK,
    /// The temperature is not a positive finite number.
    #[error("tau (temperature) must be a finite number above 0, got {0}")]
    Tau(f64),
    /// The margin is negative or not finite.
    #[error("alpha (margin) must be a finite number of at least 0, got {0}")]
    Alpha(f64),
    /// There are not enough classes for `k` of them to be wrong.
    #[error("a top-{k} loss needs at least {} classes, got {classes}", k + 1)]
    TooFewClasses {
        /// The `k` of the loss.
        k: usize,
        /// Scores per sample.
        classes: usize,
    },
    /// The scores do not divide into one row a label.
    #[error("{scores} scores for {labels} labels: expected labels × classes of them")]
    Shape {
        /// Length of the scores.
        scores: usize,
        /// Length of the labels.
        labels: usize,
    },
    /// An output slice has the wrong length.
    #[error("the {output} slice holds {found} entries, expected {expected}")]
    Output {
        /// `values` or `grad`.
        output: &'static str,
        /// Its length.
        found: usize,
        /// The length that the inputs call for.
        expected: usize,
    },
    /// A label is not the index of a class.
    #[error("label {label} of sample {sample} is not in 0..{classes}")]
    Label {
        /// Index in the batch.
        sample: usize,
        /// The label found.
        label: i64,
        /// Scores per sample.
        classes: usize,
    },
    /// A score is NaN or infinite.
    #[error("score {score} of sample {sample}, class {class} is not finite")]
    NotFinite {
        /// Index in the batch.
        sample: usize,
        /// Index of the class.
        class: usize,
        /// The score found.
        score: f64,
    },
}

mod sealed {
    pub trait Sealed {}
    impl Sealed for f32 {}
    impl Sealed for f64 {}
}

/// The floating-point types of scores: `f32` and `f64`. What decides the precision is computed in
/// `f64` for both.
pub trait Score: Copy + Debug + Into<f64> + PartialOrd + Send + Sync + sealed::Sealed {
    /// Rounds to this type.
    fn from_f64(value: f64) -> Self;

    #[doc(hidden)]
    fn all_finite(scores: &[Self]) -> bool;

    /// The scores, if they are of this type.
    #[doc(hidden)]
    fn as_f32(scores: &[Self]) -> Option<&[f32]>;

    #[doc(hidden)]
    fn as_f32_mut(scores: &mut [Self]) -> Option<&mut [f32]>;
}

impl Score for f32 {
    fn from_f64(value: f64) -> Self {
        value as f32
    }

    fn all_finite(scores: &[Self]) -> bool {
        fused::all_finite(scores)
    }

    fn as_f32(scores: &[Self]) -> Option<&[f32]> {
        Some(scores)
    }

    fn as_f32_mut(scores: &mut [Self]) -> Option<&mut [f32]> {
        Some(scores)
    }
}

impl Score for f64 {
    fn from_f64(value: f64) -> Self {
        value
    }

    fn all_finite(scores: &[Self]) -> bool {
        scores.iter().all(|score| score.is_finite())
    }

    fn as_f32(_: &[Self]) -> Option<&[f32]> {
        None
    }

    fn as_f32_mut(_: &mut [Self]) -> Option<&mut [f32]> {
        None
    }
}

/// A classification loss: a value for each sample and its gradient with respect to the scores.
///
/// Scores are row-major, one row of `classes` entries for each label, so `classes` is
/// `scores.len() / labels.len()`. An empty batch gives empty outputs. Large batches are shared out among
/// the threads of rayon's pool; results do not depend on their number.
pub trait Loss {
    /// Whether the loss can be computed with this number of classes.
    ///
    /// # Errors
    /// [`LossError::TooFewClasses`] if not.
    fn check_classes(&self, classes: usize) -> Result<(), LossError>;

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
    ) -> Result<(), LossError>;

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
    ) -> Result<(), LossError>;
}

/// A loss of one sample; the batch around it is the same for all losses.
pub(crate) trait SampleLoss: Sync {
    /// Buffers that are used for many samples.
    type Workspace: Default;

    /// Number of wrong classes that there must be.
    fn wrong_classes(&self) -> usize;

    /// Loss at finite `scores`; with `grad`, also its derivatives.
    fn sample<T: Score>(
        &self,
        workspace: &mut Self::Workspace,
        scores: &[T],
        label: usize,
        grad: Option<&mut [T]>,
    ) -> f64;
}

impl<L: SampleLoss> Loss for L {
    fn check_classes(&self, classes: usize) -> Result<(), LossError> {
        let k = self.wrong_classes();
        if classes <= k {
            Err(LossError::TooFewClasses { k, classes })
        } else {
            Ok(())
        }
    }

    fn forward<T: Score>(
        &self,
        scores: &[T],
        labels: &[i64],
        values: &mut [T],
    ) -> Result<(), LossError> {
        batch(self, scores, labels, values, None)
    }

    fn forward_backward<T: Score>(
        &self,
        scores: &[T],
        labels: &[i64],
        values: &mut [T],
        grad: &mut [T],
    ) -> Result<(), LossError> {
        if grad.len() != scores.len() {
            return Err(LossError::Output {
                output: "grad",
                found: grad.len(),
                expected: scores.len(),
            });
        }
        batch(self, scores, labels, values, Some(grad))
    }
}

pub(crate) fn check_k(k: usize) -> Result<usize, LossError> {
    if k == 0 { Err(LossError::ZeroK) } else { Ok(k) }
}

pub(crate) fn check_alpha(alpha: f64) -> Result<f64, LossError> {
    if alpha >= 0.0 && alpha.is_finite() {
        Ok(alpha)
    } else {
        Err(LossError::Alpha(alpha))
    }
}

fn batch<L: SampleLoss, T: Score>(
    loss: &L,
    scores: &[T],
    labels: &[i64],
    values: &mut [T],
    grad: Option<&mut [T]>,
) -> Result<(), LossError> {
    match check_batch(loss, scores, labels, values)? {
        None => Ok(()),
        Some(classes) => samples(loss, classes, scores, labels, values, grad)
            .ok_or_else(|| first_fault(scores, labels, classes)),
    }
}

/// Scores that are worth handing to another thread.
const SCORES_A_TASK: usize = 1 << 14;

/// All samples, shared out among threads by halves; `None` if one is not usable.
fn samples<L: SampleLoss, T: Score>(
    loss: &L,
    classes: usize,
    scores: &[T],
    labels: &[i64],
    values: &mut [T],
    grad: Option<&mut [T]>,
) -> Option<()> {
    if labels.len() > 1 && scores.len() > SCORES_A_TASK {
        let middle = labels.len() / 2;
        let scores = scores.split_at(middle * classes);
        let labels = labels.split_at(middle);
        let values = values.split_at_mut(middle);
        let grad = grad.map(|grad| grad.split_at_mut(middle * classes)).unzip();
        let (first, second) = rayon::join(
            || samples(loss, classes, scores.0, labels.0, values.0, grad.0),
            || samples(loss, classes, scores.1, labels.1, values.1, grad.1),
        );
        return first.and(second);
    }
    let mut workspace = L::Workspace::default();
    let mut grad = grad.map(|grad| grad.chunks_exact_mut(classes));
    for ((row, &label), value) in scores.chunks_exact(classes).zip(labels).zip(values) {
        let label = usable(row, label)?;
        let grad = grad.as_mut().and_then(Iterator::next);
        *value = T::from_f64(loss.sample(&mut workspace, row, label, grad));
    }
    Some(())
}

/// Number of classes, or `None` for an empty batch.
fn check_batch<L: SampleLoss, T: Score>(
    loss: &L,
    scores: &[T],
    labels: &[i64],
    values: &[T],
) -> Result<Option<usize>, LossError> {
    if values.len() != labels.len() {
        return Err(LossError::Output {
            output: "values",
            found: values.len(),
            expected: labels.len(),
        });
    }
    let shape = LossError::Shape {
        scores: scores.len(),
        labels: labels.len(),
    };
    if labels.is_empty() {
        return if scores.is_empty() {
            Ok(None)
        } else {
            Err(shape)
        };
    }
    if !scores.len().is_multiple_of(labels.len()) {
        return Err(shape);
    }
    let classes = scores.len() / labels.len();
    loss.check_classes(classes)?;
    Ok(Some(classes))
}

/// The label as an index, if it is one and all scores are finite.
fn usable<T: Score>(row: &[T], label: i64) -> Option<usize> {
    let label = usize::try_from(label)
        .ok()
        .filter(|&label| label < row.len())?;
    T::all_finite(row).then_some(label)
}

/// What is wrong with the first sample that is not usable.
fn first_fault<T: Score>(scores: &[T], labels: &[i64], classes: usize) -> LossError {
    let rows = scores.chunks_exact(classes).zip(labels);
    let (sample, (row, &label)) = rows
        .enumerate()
        .find(|(_, (row, label))| usable(row, **label).is_none())
        .expect("a sample was found not usable");
    match row.iter().position(|&score| !score.into().is_finite()) {
        Some(class) => LossError::NotFinite {
            sample,
            class,
            score: row[class].into(),
        },
        None => LossError::Label {
            sample,
            label,
            classes,
        },
    }
}
