//! Top-k accuracy and ranks on arrays.

use ndarray::{Array1, ArrayView1, ArrayView2};

use crate::accuracy::{check_topk, correct, rank_in_row};
use crate::{AccuracyError, Score};

/// The rank of each label, `[N]`, from scores `[N, C]` and labels `[N]`: 0 if no class comes before it. Of equal
/// scores the lower class comes first; see [`accuracy`](crate::accuracy).
///
/// # Errors
/// [`AccuracyError`] if there is not one label per row, a label is not a class, or a score is NaN.
pub fn label_ranks<'a, T: Score>(
    scores: impl Into<ArrayView2<'a, T>>,
    labels: impl Into<ArrayView1<'a, i64>>,
) -> Result<Array1<usize>, AccuracyError> {
    let (scores, labels) = (scores.into(), labels.into());
    if scores.nrows() != labels.len() {
        return Err(AccuracyError::ArrayShape {
            scores: [scores.nrows(), scores.ncols()],
            labels: labels.len(),
        });
    }
    let mut copy: Vec<T> = Vec::new();
    let rows = scores.rows().into_iter().zip(labels).enumerate();
    rows.map(|(sample, (row, &label))| {
        if let Some(row) = row.as_slice() {
            return rank_in_row(sample, row, label);
        }
        copy.clear();
        copy.extend(row);
        rank_in_row(sample, &copy, label)
    })
    .collect()
}

/// For each k, the number of samples whose label is among the k highest of its scores: to add up over batches.
/// Scores are `[N, C]`, labels `[N]`.
///
/// For values of k that are known only at run time, count the [`label_ranks`] below k.
///
/// # Errors
/// As [`label_ranks`], or if a k is 0 or exceeds the number of classes.
pub fn topk_correct<'a, T: Score, const K: usize>(
    scores: impl Into<ArrayView2<'a, T>>,
    labels: impl Into<ArrayView1<'a, i64>>,
    topk: [usize; K],
) -> Result<[usize; K], AccuracyError> {
    let scores = scores.into();
    check_topk(&topk, scores.ncols())?;
    Ok(correct(label_ranks(scores, labels)?, topk))
}

/// For each k, the top-k accuracy of a batch: the part of the samples, from 0 to 1, whose label is among the k
/// highest of its scores. NaN for an empty batch. Scores are `[N, C]`, labels `[N]`.
///
/// ```
/// use ndarray::array;
/// use topk_ops::array::topk_accuracy;
///
/// let scores = array![[0.1, 0.7, 0.2], [0.5, 0.3, 0.2]];
/// assert_eq!(topk_accuracy(&scores, &array![1, 1], [1, 2])?, [0.5, 1.0]);
/// // Models that score a background class first.
/// let classes = scores.slice(ndarray::s![.., 1..]);
/// assert_eq!(topk_accuracy(classes, &array![0, 1], [1])?, [0.5]);
/// # Ok::<(), topk_ops::AccuracyError>(())
/// ```
///
/// # Errors
/// As [`topk_correct`].
pub fn topk_accuracy<'a, T: Score, const K: usize>(
    scores: impl Into<ArrayView2<'a, T>>,
    labels: impl Into<ArrayView1<'a, i64>>,
    topk: [usize; K],
) -> Result<[f64; K], AccuracyError> {
    let labels = labels.into();
    let correct = topk_correct(scores, labels, topk)?;
    Ok(correct.map(|correct| correct as f64 / labels.len() as f64))
}
