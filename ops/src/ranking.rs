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

/// Rank up to which [`of_rank`] inserts scores one by one: only few are above all but the best before them.
const INSERTED: usize = 32;

/// Scores that are compared at once.
const BLOCK: usize = 8;

/// The score of rank `rank`, counted from 0, with its class. `ranked` is a buffer.
pub(crate) fn of_rank(rank: usize, scores: &[f64], ranked: &mut Vec<Ranked>) -> Ranked {
    if rank > INSERTED {
        return select_rank(ranked, scores.iter().copied(), rank).1;
    }
    let (first, others) = scores.split_at(rank + 1);
    fill(ranked, first.iter().copied());
    ranked.sort_unstable_by(by_rank);
    for (block, start) in others.chunks(BLOCK).zip((first.len()..).step_by(BLOCK)) {
        let lowest = ranked[rank].0;
        if !block
            .iter()
            .fold(false, |any, &score| any | (score > lowest))
        {
            continue;
        }
        for (&score, class) in block.iter().zip(start..) {
            if score > ranked[rank].0 {
                // After equal scores, whose classes are lower.
                let at = ranked.partition_point(|&(before, _)| before >= score);
                ranked[at..].rotate_right(1);
                ranked[at] = (score, class);
            }
        }
    }
    ranked[rank]
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inserted_scores_have_the_rank_of_sorted_ones() {
        for classes in [1, 2, 9, 40, 300] {
            for distinct in [1, 5, 1000] {
                let scores: Vec<f64> = (0..classes)
                    .map(|i| f64::from((i * 7919 + 13) % distinct) - 2.0)
                    .collect();
                let mut sorted = Vec::new();
                fill(&mut sorted, scores.iter().copied());
                sorted.sort_by(by_rank);
                for rank in [0, 1, 5, INSERTED, INSERTED + 1, 250] {
                    if rank < scores.len() {
                        let found = of_rank(rank, &scores, &mut Vec::new());
                        assert_eq!(found, sorted[rank], "{classes} {distinct} {rank}");
                    }
                }
            }
        }
    }
}
