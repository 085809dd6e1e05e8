//! The order of classes by score.

use std::cmp::Ordering;

/// A score with its class.
pub(crate) type Ranked = (f64, usize);

/// Orders scores from the highest to the lowest; of equal scores the lower class comes first.
pub(crate) fn by_rank(a: &Ranked, b: &Ranked) -> Ordering {
    // Not `total_cmp`, in which −0 is below 0.
    let scores = b.0.partial_cmp(&a.0).unwrap_or(Ordering::Equal);
    scores.then(a.1.cmp(&b.1))
}

/// Replaces `ranked` by these scores with their classes, in the order of the classes.
pub(crate) fn fill(ranked: &mut Vec<Ranked>, scores: impl IntoIterator<Item = f64>) {
    ranked.clear();
    ranked.extend(scores.into_iter().zip(0..));
}

/// Finds the score of rank `rank`, counted from 0: returns the scores before it, in any order, the
/// score itself, and the scores after it, in any order.
pub(crate) fn select_rank(
    ranked: &mut Vec<Ranked>,
    scores: impl IntoIterator<Item = f64>,
    rank: usize,
) -> (&[Ranked], Ranked, &[Ranked]) {
    fill(ranked, scores);
    let (higher, &mut at_rank, lower) = ranked.select_nth_unstable_by(rank, by_rank);
    (higher, at_rank, lower)
}
