//! Ranks of labels: a sample counts for top-k accuracy if the rank of its label is below k.

use crate::Score;

/// Rank of the label's score: 0 if no class comes before it, `scores.len() − 1` if all do.
///
/// The label is among the top k if its rank is below k. Of equal scores the lower class index comes
/// first, as in ONNX's `TopK`. Returns `None` if a score is NaN, which has no rank.
///
/// # Panics
/// If `label` is not an index of `scores`.
pub fn label_rank<T: Score>(scores: &[T], label: usize) -> Option<usize> {
    let label_score = scores[label];
    let mut rank = 0;
    for (class, &score) in scores.iter().enumerate() {
        let order = score.partial_cmp(&label_score)?;
        rank += usize::from(order.is_gt() || (order.is_eq() && class < label));
    }
    Some(rank)
}

/// [`label_rank`] of each sample of a batch: `scores` are row-major, one row per label.
///
/// # Errors
/// The index of the first sample with a score that is NaN.
///
/// # Panics
/// If the scores do not divide into one row per label, or a label is not an index of its row.
pub fn label_ranks<T: Score>(scores: &[T], labels: &[i64]) -> Result<Vec<usize>, usize> {
    if labels.is_empty() {
        return Ok(Vec::new());
    }
    assert!(scores.len().is_multiple_of(labels.len()));
    let rows = scores.chunks_exact(scores.len() / labels.len()).zip(labels);
    rows.enumerate()
        .map(|(sample, (scores, &label))| label_rank(scores, label as usize).ok_or(sample))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rank_counts_the_classes_before_the_label() {
        let scores = [0.5f32, 2.0, -1.0, 2.0];
        let ranks: Vec<_> = (0..4)
            .map(|label| label_rank(&scores, label).unwrap())
            .collect();
        assert_eq!(ranks, [2, 0, 3, 1]);
    }

    #[test]
    fn label_ranks_gives_one_rank_per_row() {
        let scores = [0.5f32, 2.0, -1.0, 3.0, 1.0, 2.0];
        assert_eq!(label_ranks(&scores, &[1, 1]), Ok(vec![0, 2]));
        assert_eq!(label_ranks(&[0.0, f32::NAN], &[0, 0]), Err(1));
        assert_eq!(label_ranks::<f32>(&[], &[]), Ok(vec![]));
    }

    #[test]
    fn nan_has_no_rank() {
        assert_eq!(label_rank(&[0.0, f64::NAN], 0), None);
        assert_eq!(label_rank(&[0.0, f64::NAN], 1), None);
    }
}
