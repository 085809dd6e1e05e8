//! Top-k accuracy, and the ranks of labels that it follows from: a sample counts as correct for a k if the
//! rank of its label is below k.
//!
//! ```
//! use topk_ops::accuracy::topk_accuracy;
//!
//! // Three samples, four classes.
//! let scores = [0.1f32, 0.7, 0.2, 0.0, 0.9, 0.3, 0.5, 0.1, 0.2, 0.2, 0.1, 0.8];
//! let [top1, top2] = topk_accuracy(&scores, &[1, 2, 2], [1, 2])?;
//! assert_eq!([top1, top2], [1.0 / 3.0, 2.0 / 3.0]);
//! # Ok::<(), topk_ops::AccuracyError>(())
//! ```
//!
//! Of equal scores the lower class index comes first, as in ONNX's `TopK`. Scores may be infinite; a NaN has no
//! rank and is an error. The functions of the same names in `topk_ops::array` take arrays.

use thiserror::Error;

use crate::Score;

/// Scores or labels whose ranks or accuracy cannot be computed. Every message contains the offending value.
#[derive(Clone, Debug, Error, PartialEq)]
#[non_exhaustive]
pub enum AccuracyError {
    /// `k` is zero.
    #[error("k must be at least 1, got 0")]
    ZeroK,
    /// `k` exceeds the number of classes.
    #[error("k must not exceed the number of classes, {classes}, got {k}")]
    TooFewClasses {
        /// The requested k.
        k: usize,
        /// Scores per sample.
        classes: usize,
    },
    /// The scores do not divide into one row per label.
    #[error(
        "got {scores} scores for {labels} labels; the number of scores must be a multiple of the number \
         of labels"
    )]
    Shape {
        /// Length of the scores.
        scores: usize,
        /// Length of the labels.
        labels: usize,
    },
    /// There is not one label per row of scores.
    #[cfg(feature = "ndarray")]
    #[error(
        "the scores have the shape {scores:?}, but there are {labels} labels: expected one label per row"
    )]
    ArrayShape {
        /// Samples and classes.
        scores: [usize; 2],
        /// Length of the labels.
        labels: usize,
    },
    /// A label is not the index of a class.
    #[error("label {label} of sample {sample} is not in 0..{classes}")]
    Label {
        /// Index in the batch.
        sample: usize,
        /// The label.
        label: i64,
        /// Scores per sample.
        classes: usize,
    },
    /// A score is NaN.
    #[error("the score of sample {sample}, class {class} is NaN")]
    Nan {
        /// Index in the batch.
        sample: usize,
        /// Index of the class.
        class: usize,
    },
}

/// Rank of the label's score among the scores of one sample: 0 if no class comes before it,
/// `scores.len() − 1` if all do.
///
/// The label is among the top k if its rank is below k.
///
/// # Errors
/// [`AccuracyError::Label`] if `label` is not an index of `scores`, and [`AccuracyError::Nan`] if a score is NaN,
/// both as of sample 0.
pub fn label_rank<T: Score>(scores: &[T], label: usize) -> Result<usize, AccuracyError> {
    // A label beyond the range of i64 is certainly out of range.
    rank_in_row(0, scores, i64::try_from(label).unwrap_or(i64::MAX))
}

/// [`label_rank`] of each sample of a batch: `scores` are row-major, one row per label. An empty batch has no ranks.
///
/// # Errors
/// [`AccuracyError`] if the scores do not divide into one row per label, a label is not an index of its row, or a
/// score is NaN.
pub fn label_ranks<T: Score>(scores: &[T], labels: &[i64]) -> Result<Vec<usize>, AccuracyError> {
    let classes = classes(scores.len(), labels.len())?;
    let row = |sample: usize| &scores[sample * classes..][..classes];
    let labels = labels.iter().enumerate();
    labels
        .map(|(sample, &label)| rank_in_row(sample, row(sample), label))
        .collect()
}

/// For each k, the number of samples whose label is among the k highest scores: to add up over batches.
///
/// `scores` are row-major, one row per label. For values of k that are known only at run time, count the
/// [`label_ranks`] below k.
///
/// # Errors
/// As [`label_ranks`], or if a k is 0 or exceeds the number of classes.
pub fn topk_correct<T: Score, const K: usize>(
    scores: &[T],
    labels: &[i64],
    topk: [usize; K],
) -> Result<[usize; K], AccuracyError> {
    let classes = match labels {
        // The number of classes is not known.
        [] if scores.is_empty() => usize::MAX,
        _ => classes(scores.len(), labels.len())?,
    };
    check_topk(&topk, classes)?;
    let ranks = label_ranks(scores, labels)?;
    Ok(correct(ranks, topk))
}

/// For each k, the top-k accuracy of a batch: the part of the samples, from 0 to 1, whose label is among the k
/// highest scores. NaN for an empty batch.
///
/// `scores` are row-major, one row per label.
///
/// # Errors
/// As [`topk_correct`].
pub fn topk_accuracy<T: Score, const K: usize>(
    scores: &[T],
    labels: &[i64],
    topk: [usize; K],
) -> Result<[f64; K], AccuracyError> {
    let correct = topk_correct(scores, labels, topk)?;
    Ok(correct.map(|correct| correct as f64 / labels.len() as f64))
}

/// Number of classes; 0 for an empty batch.
fn classes(scores: usize, labels: usize) -> Result<usize, AccuracyError> {
    match labels {
        0 if scores == 0 => Ok(0),
        1.. if scores.is_multiple_of(labels) => Ok(scores / labels),
        _ => Err(AccuracyError::Shape { scores, labels }),
    }
}

/// Checks that each k is from 1 to the number of classes.
pub(crate) fn check_topk(topk: &[usize], classes: usize) -> Result<(), AccuracyError> {
    match topk.iter().find(|&&k| k == 0 || k > classes) {
        None => Ok(()),
        Some(0) => Err(AccuracyError::ZeroK),
        Some(&k) => Err(AccuracyError::TooFewClasses { k, classes }),
    }
}

/// For each k, how many ranks are below it.
pub(crate) fn correct<const K: usize>(
    ranks: impl IntoIterator<Item = usize>,
    topk: [usize; K],
) -> [usize; K] {
    let mut correct = [0; K];
    for rank in ranks {
        for (correct, k) in correct.iter_mut().zip(topk) {
            *correct += usize::from(rank < k);
        }
    }
    correct
}

/// Rank of the label of the sample with this index.
pub(crate) fn rank_in_row<T: Score>(
    sample: usize,
    row: &[T],
    label: i64,
) -> Result<usize, AccuracyError> {
    let index = usize::try_from(label).ok();
    let Some((index, label_score)) = index.and_then(|index| Some((index, *row.get(index)?))) else {
        return Err(AccuracyError::Label {
            sample,
            label,
            classes: row.len(),
        });
    };
    // Comparisons with NaN are false, so it is looked for separately: the loops have no branches.
    let before = |count: usize, score: &T| count + usize::from(*score >= label_score);
    let after = |count: usize, score: &T| count + usize::from(*score > label_score);
    let rank = row[..index].iter().fold(0, before) + row[index + 1..].iter().fold(0, after);
    if row.iter().fold(false, |any, score| any | is_nan(score)) {
        let class = row.iter().position(is_nan).unwrap_or(index);
        return Err(AccuracyError::Nan { sample, class });
    }
    Ok(rank)
}

fn is_nan<T: Score>(score: &T) -> bool {
    score.partial_cmp(score).is_none()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{bf16, f16};

    #[test]
    fn rank_counts_the_classes_before_the_label() {
        let scores = [0.5f32, 2.0, -1.0, 2.0];
        let ranks: Vec<_> = (0..4)
            .map(|label| label_rank(&scores, label).unwrap())
            .collect();
        assert_eq!(ranks, [2, 0, 3, 1]);
    }

    #[test]
    fn of_equal_scores_the_lower_class_comes_first() {
        fn check<T: Score>() {
            // Zeros of either sign are equal.
            let scores = [0.0, -0.0, 0.0, 0.0].map(T::from_f64);
            for label in 0..4 {
                assert_eq!(label_rank(&scores, label), Ok(label));
            }
            let infinity = T::from_f64(f64::INFINITY);
            let scores = [infinity, T::from_f64(1.0), infinity];
            assert_eq!(label_ranks(&scores, &[2]), Ok(vec![1]));
        }
        check::<f32>();
        check::<f64>();
        check::<f16>();
        check::<bf16>();
    }

    #[test]
    fn ranks_are_positions_in_the_sorted_row() {
        let row: Vec<f32> = (0..97).map(|i| (i * 37 % 23) as f32).collect();
        let mut sorted: Vec<usize> = (0..row.len()).collect();
        // The sort is stable.
        sorted.sort_by(|&a, &b| row[b].total_cmp(&row[a]));
        for (rank, &class) in sorted.iter().enumerate() {
            assert_eq!(label_rank(&row, class), Ok(rank));
        }
    }

    #[test]
    fn a_batch_has_one_rank_per_row_and_one_accuracy_per_k() {
        let scores = [0.5f32, 2.0, -1.0, 3.0, 1.0, 2.0];
        assert_eq!(label_ranks(&scores, &[1, 1]), Ok(vec![0, 2]));
        assert_eq!(topk_correct(&scores, &[1, 1], [1, 2, 3]), Ok([1, 1, 2]));
        assert_eq!(topk_accuracy(&scores, &[1, 1], [3, 1]), Ok([1.0, 0.5]));
        assert_eq!(topk_accuracy(&scores, &[1, 1], []), Ok([]));
    }

    #[test]
    fn the_accuracy_of_an_empty_batch_is_nan() {
        assert_eq!(label_ranks::<f32>(&[], &[]), Ok(vec![]));
        assert_eq!(topk_correct::<f32, 2>(&[], &[], [1, 5]), Ok([0, 0]));
        let [accuracy] = topk_accuracy::<f32, 1>(&[], &[], [5]).unwrap();
        assert!(accuracy.is_nan());
    }

    #[test]
    fn bad_input_is_named() {
        let scores = [0.0f32, 1.0, 2.0, 3.0, f32::NAN, 5.0];
        let error = |labels: &[i64], topk| {
            let error = topk_accuracy(&scores, labels, topk).unwrap_err();
            error.to_string()
        };
        assert_eq!(
            error(&[0; 4], [1]),
            "got 6 scores for 4 labels; the number of scores must be a multiple of the number of labels"
        );
        assert_eq!(
            error(&[], [1]),
            "got 6 scores for 0 labels; the number of scores must be a multiple of the number of labels"
        );
        assert_eq!(error(&[0, 3], [1]), "label 3 of sample 1 is not in 0..3");
        assert_eq!(
            error(&[-100, 0], [1]),
            "label -100 of sample 0 is not in 0..3"
        );
        assert_eq!(error(&[0, 0], [1]), "the score of sample 1, class 1 is NaN");
        assert_eq!(error(&[0, 1], [1]), error(&[0, 0], [1]));
        assert_eq!(error(&[0, 1], [0]), "k must be at least 1, got 0");
        assert_eq!(
            error(&[0, 1], [4]),
            "k must not exceed the number of classes, 3, got 4"
        );
        // Labels without scores.
        assert_eq!(
            label_ranks::<f32>(&[], &[0]),
            Err(AccuracyError::Label {
                sample: 0,
                label: 0,
                classes: 0
            })
        );
        assert_eq!(
            label_rank(&[0.0f64], usize::MAX),
            Err(AccuracyError::Label {
                sample: 0,
                label: i64::MAX,
                classes: 1
            })
        );
    }
}
