//! Top-k accuracy: the fraction of samples whose label is among the k highest scores.

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

/// Number of `ranks` below `k`: the samples that are right in the top-k sense.
pub fn correct(ranks: &[usize], k: usize) -> usize {
    ranks.iter().filter(|&&rank| rank < k).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rank_counts_the_classes_ahead() {
        let scores = [0.5f32, 2.0, -1.0, 2.0];
        let ranks: Vec<_> = (0..4)
            .map(|label| label_rank(&scores, label).unwrap())
            .collect();
        assert_eq!(ranks, [2, 0, 3, 1]);
        assert_eq!(correct(&ranks, 1), 1);
        assert_eq!(correct(&ranks, 2), 2);
        assert_eq!(correct(&ranks, 4), 4);
    }

    #[test]
    fn nan_has_no_rank() {
        assert_eq!(label_rank(&[0.0, f64::NAN], 0), None);
        assert_eq!(label_rank(&[0.0, f64::NAN], 1), None);
    }
}
