//! The highest scores: few candidates are found by a threshold that they reach, and sorted by counting, or those of several
//! rows at once by a network. Results are the same for all instruction sets.

#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(target_arch = "x86_64")]
mod candidates;
mod hits;
mod network;
#[cfg(target_arch = "x86_64")]
mod rows;
mod rows_by_loops;

use std::cmp::Ordering;

#[cfg(target_arch = "x86_64")]
use multiversion::target::target_cfg_f;

use self::hits::SPAN;
use super::reduce::{all_finite, fold, larger, smaller};
use super::{LANES, Lanes, last_lanes};

/// Candidates that are sorted side by side; there are rarely more.
const CANDIDATES: usize = 128;

/// Groups of classes whose maxima are found side by side: eight vectors.
const GROUPS: usize = 8 * LANES;

/// Most scores for which the maxima of [`LANES`] groups are enough.
const FEW: usize = LANES / 2;

/// Groups that are enough for few scores.
const FEW_GROUPS: usize = GROUPS / 4;

/// Bisections after which any threshold that is low enough is taken.
const MAX_BISECTIONS: usize = 16;

/// Spans of which those with a hit are listed at once.
const BLOCK: usize = 32;

/// The scores of a sample, and its label.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Row<'a> {
    pub(crate) scores: &'a [f32],
    pub(crate) label: usize,
}

impl Row<'_> {
    /// Fills the place of a row.
    pub(crate) const EMPTY: Self = Self {
        scores: &[],
        label: 0,
    };
}

/// Most rows of [`Highest`].
pub(crate) const ROWS: usize = LANES;

/// The highest scores of up to [`ROWS`] rows, the label's excepted, in descending order: of equal ones the lower class comes
/// first. Those of one rank are side by side.
#[derive(Debug, Default)]
pub(crate) struct Highest {
    pub(crate) classes: Vec<[u32; ROWS]>,
    pub(crate) scores: Vec<[f32; ROWS]>,
    /// Buffer for the classes of one row.
    of_row: Vec<usize>,
    /// Buffer of [`rows`].
    #[cfg(target_arch = "x86_64")]
    candidates: Vec<rows::OfRow>,
}

impl Highest {
    /// Finds the `count` highest scores of each row, and returns whether all scores are finite; if not, what it found is
    /// unspecified. There are more classes than `count`, and fewer than 2³².
    pub(crate) fn find(&mut self, rows: &[Row<'_>], count: usize) -> bool {
        self.classes.resize(count, [0; ROWS]);
        self.scores.resize(count, [0.0; ROWS]);
        let Some(done) = self.side_by_side(rows, count) else {
            return false;
        };
        for (i, row) in rows.iter().enumerate() {
            if done >> i & 1 == 0 {
                self.set(i, row, count);
            }
        }
        true
    }

    /// Finds the highest scores of rows beside each other, where that is faster. Returns which rows were done, a bit for
    /// each, or `None` if some scores are not finite.
    fn side_by_side(&mut self, rows: &[Row<'_>], count: usize) -> Option<u16> {
        #[cfg(target_arch = "x86_64")]
        if let [first, _, ..] = rows
            && rows::is_possible(first.scores.len(), count)
        {
            // SAFETY: the processor has what the function needs.
            return unsafe { rows::highest_of_each(rows, count, self) };
        }
        if rows_by_loops::is_fast(rows, count) {
            return rows_by_loops::highest_of_each(rows, count, self);
        }
        rows.iter().all(|row| all_finite(row.scores)).then_some(0)
    }

    /// Finds the highest scores of the `i`-th row.
    fn set(&mut self, i: usize, row: &Row<'_>, count: usize) {
        highest(row.scores, row.label, count, &mut self.of_row);
        let ranks = self.classes.iter_mut().zip(&mut self.scores);
        for ((classes, scores), &class) in ranks.zip(&self.of_row) {
            classes[i] = class as u32;
            scores[i] = row.scores[class];
        }
    }
}

/// Sets `highest` to the indices of the `count` highest scores without the label's, in descending
/// order of score. Of equal scores the lower class comes first.
///
/// `count` must be below the number of scores.
pub(crate) fn highest(scores: &[f32], label: usize, count: usize, highest: &mut Vec<usize>) {
    debug_assert!(count < scores.len());
    highest.clear();
    if count > GROUPS / 2 || !of_few_candidates(scores, label, count, highest) {
        highest.extend((0..scores.len()).filter(|&class| class != label));
        // Not `total_cmp`, in which −0 is below 0.
        let order = |&a: &usize, &b: &usize| {
            let order = scores[b].partial_cmp(&scores[a]);
            order.unwrap_or(Ordering::Equal).then(a.cmp(&b))
        };
        if count < highest.len() {
            highest.select_nth_unstable_by(count - 1, order);
        }
        highest.truncate(count);
        highest.sort_unstable_by(order);
    }
}

/// Does the same if there are few candidates; returns whether it did. `count` is at most half of [`GROUPS`].
fn of_few_candidates(scores: &[f32], label: usize, count: usize, highest: &mut Vec<usize>) -> bool {
    #[cfg(target_arch = "x86_64")]
    if avx512::is_possible(scores.len()) {
        // SAFETY: the processor has what the function needs.
        return unsafe { avx512::of_few_candidates(scores, label, count, highest) };
    }
    of_few_candidates_by_loops(scores, label, count, highest)
}

/// [`of_few_candidates`] in loops that LLVM makes vectors of.
#[multiversion::multiversion(targets("x86_64+avx2+fma", "aarch64+neon"))]
fn of_few_candidates_by_loops(
    scores: &[f32],
    label: usize,
    count: usize,
    highest: &mut Vec<usize>,
) -> bool {
    let maxima = group_maxima(scores);
    // Where more than `count` groups have a maximum that reaches the threshold, more than `count` scores reach
    // it, the label's possibly among them, and few others do. For a few scores, the maxima of fewer groups
    // are enough.
    let threshold = if count <= FEW {
        let quarter: [f32; GROUPS / 4] = halves(&halves::<{ GROUPS / 2 }>(&maxima));
        nth_largest::<LANES>(&halves(&quarter), count)
    } else if count <= FEW_GROUPS / 2 {
        nth_largest::<FEW_GROUPS>(&halves(&halves::<{ GROUPS / 2 }>(&maxima)), count)
    } else {
        reached_by_more_than(&maxima, count)
    };
    let mut candidates = [0; CANDIDATES + SPAN];
    // −∞ is the padding.
    let threshold = threshold.max(f32::MIN);
    let Some(len) = reaching(scores, threshold, &mut candidates) else {
        return false;
    };

    let mut values = [[f32::NEG_INFINITY; LANES]; CANDIDATES / LANES];
    for (value, &class) in values.as_flattened_mut().iter_mut().zip(&candidates[..len]) {
        let class = class as usize;
        *value = if class == label {
            f32::NEG_INFINITY
        } else {
            scores[class]
        };
    }
    let mut sorted = [0; CANDIDATES];
    rank(&values[..len.div_ceil(LANES)], &candidates, &mut sorted);
    highest.extend(sorted[..count].iter().map(|&class| class as usize));
    true
}

/// Puts the classes whose scores reach a threshold into `indices` and returns their number, or `None` if there are too many.
#[multiversion::multiversion(targets("x86_64+avx2+fma", "aarch64+neon"))]
fn reaching(
    scores: &[f32],
    threshold: f32,
    indices: &mut [u32; CANDIDATES + SPAN],
) -> Option<usize> {
    #[allow(
        unused_unsafe,
        reason = "calls are unsafe only in the versions for other processors, where they are not reached"
    )]
    let hits = |span: &[f32; SPAN]| {
        #[cfg(target_arch = "x86_64")]
        {
            if target_cfg_f!(target_feature = "avx2") {
                // SAFETY: this version of the function is for processors with AVX2, which have AVX.
                return unsafe { hits::avx(span, threshold) };
            }
        }
        hits::portable(span, threshold)
    };
    indices_of(hits, scores, indices)
}

/// Largest score of each group; a group is every [`GROUPS`]-th class, and one of those after them.
#[inline(always)]
fn group_maxima(scores: &[f32]) -> [f32; GROUPS] {
    // Flat loops of known length: for a loop over lanes within one over vectors LLVM emits gathers.
    let mut maxima = [f32::NEG_INFINITY; GROUPS];
    let (blocks, rest) = scores.as_chunks::<GROUPS>();
    for block in blocks {
        for i in 0..GROUPS {
            maxima[i] = larger(maxima[i], block[i]);
        }
    }
    // Each part in groups of its own, so that few classes have a group each.
    let rest = add_to_maxima::<{ GROUPS / 2 }>(&mut maxima, 0, rest);
    let rest = add_to_maxima::<{ GROUPS / 4 }>(&mut maxima, GROUPS / 2, rest);
    add_to_maxima::<LANES>(&mut maxima, GROUPS - 2 * LANES, rest);
    let last = last_lanes(scores, f32::NEG_INFINITY);
    let own = &mut maxima.as_chunks_mut::<LANES>().0[GROUPS / LANES - 1];
    for lane in 0..LANES {
        own[lane] = larger(own[lane], last[lane]);
    }
    maxima
}

/// Adds the first N scores, if there are as many, to the groups from `first` on; returns the others.
#[inline(always)]
fn add_to_maxima<'a, const N: usize>(
    maxima: &mut [f32; GROUPS],
    first: usize,
    scores: &'a [f32],
) -> &'a [f32] {
    match scores.split_first_chunk::<N>() {
        Some((added, others)) => {
            for i in 0..N {
                maxima[first + i] = larger(maxima[first + i], added[i]);
            }
            others
        }
        None => scores,
    }
}

/// Maxima of pairs of groups.
#[inline(always)]
fn halves<const HALF: usize>(maxima: &[f32]) -> [f32; HALF] {
    let mut halves = [0.0; HALF];
    for i in 0..HALF {
        halves[i] = larger(maxima[i], maxima[i + HALF]);
    }
    halves
}

/// The (n + 1)-th largest number; there are more than `n`. Takes time proportional to the square of the numbers.
#[inline(always)]
fn nth_largest<const N: usize>(numbers: &[f32; N], n: usize) -> f32 {
    // As integers, with which LLVM compares all numbers at once.
    let mut larger = [0u32; N];
    for &other in numbers {
        for i in 0..N {
            larger[i] += u32::from(other > numbers[i]);
        }
    }
    let mut nth = *numbers;
    for i in 0..N {
        nth[i] = if larger[i] <= n as u32 {
            nth[i]
        } else {
            f32::INFINITY
        };
    }
    fold(nth, smaller)
}

/// A number that more than `count` of the maxima reach, and if possible few more: by bisection.
#[inline(always)]
fn reached_by_more_than(maxima: &[f32; GROUPS], count: usize) -> f32 {
    // −∞ is the maximum of no score.
    let mut lowest = *maxima;
    for low in &mut lowest {
        *low = if *low > f32::NEG_INFINITY {
            *low
        } else {
            f32::INFINITY
        };
    }
    let ends = (fold(lowest, smaller), fold(*maxima, larger));
    bisect(ends, count, |threshold| {
        let mut reach = 0;
        for &max in maxima {
            reach += u32::from(max >= threshold);
        }
        reach
    })
}

/// A number that more than `count` of the maxima reach, and if possible few more, between the lowest and the highest of them;
/// `reach` returns how many do.
#[inline(always)]
fn bisect((mut low, mut high): (f32, f32), count: usize, reach: impl Fn(f32) -> u32) -> f32 {
    for _ in 0..MAX_BISECTIONS {
        let middle = 0.5 * low + 0.5 * high;
        let excess = reach(middle) as i32 - count as i32;
        if excess <= 0 {
            high = middle;
        } else {
            low = middle;
            if excess <= 1 + count as i32 / 8 {
                break;
            }
        }
    }
    low
}

/// Puts the indices of all hits into `indices` and returns their number, or `None` if there are too many.
#[inline(always)]
fn indices_of(
    hits: impl Fn(&[f32; SPAN]) -> u64,
    scores: &[f32],
    indices: &mut [u32; CANDIDATES + SPAN],
) -> Option<usize> {
    let mut len = 0;
    let (spans, rest) = scores.as_chunks::<SPAN>();
    for (block, spans) in spans.chunks(BLOCK).enumerate() {
        // Which spans have a hit is unpredictable: a branch for each would cost more than the comparisons.
        let mut with_hits = [(0, 0); BLOCK];
        let mut count = 0;
        for (i, span) in spans.iter().enumerate() {
            let hits = hits(span);
            with_hits[count % BLOCK] = (i, hits);
            count += usize::from(hits != 0);
        }
        for &(i, hits) in &with_hits[..count] {
            append(hits, (block * BLOCK + i) * SPAN, indices, &mut len);
            if len > CANDIDATES {
                return None;
            }
        }
    }
    if !rest.is_empty() {
        let mut padded = [f32::NEG_INFINITY; SPAN];
        let (span, seen) = match scores.last_chunk::<SPAN>() {
            Some(last) => (last, SPAN - rest.len()),
            None => {
                padded[..rest.len()].copy_from_slice(rest);
                (&padded, 0)
            }
        };
        let hits = hits(span) >> seen;
        append(hits, scores.len() - rest.len(), indices, &mut len);
    }
    (len <= CANDIDATES).then_some(len)
}

/// Appends the indices of the hits, of which the lowest bit is that of class `first`; there is space for all.
#[inline(always)]
fn append(mut hits: u64, first: usize, indices: &mut [u32; CANDIDATES + SPAN], len: &mut usize) {
    let first = first as u32;
    // Two without a branch: there are rarely more.
    for _ in 0..2 {
        indices[*len] = first + hits.trailing_zeros();
        *len += usize::from(hits != 0);
        hits &= hits.wrapping_sub(1);
    }
    while hits != 0 {
        indices[*len] = first + hits.trailing_zeros();
        *len += 1;
        hits &= hits - 1;
    }
}

/// Sorts `classes` by their `values` into `sorted`, in descending order.
#[inline(always)]
fn rank(values: &[Lanes], classes: &[u32], sorted: &mut [u32; CANDIDATES]) {
    for (i, vector) in values.iter().enumerate() {
        let mut rank = [0u32; LANES];
        // Of equal values the earlier one comes first.
        for &other in values[..i].as_flattened() {
            for lane in 0..LANES {
                rank[lane] += u32::from(other >= vector[lane]);
            }
        }
        for (j, &other) in vector.iter().enumerate() {
            for lane in 0..LANES {
                let first = (other > vector[lane]) | ((other == vector[lane]) & (j < lane));
                rank[lane] += u32::from(first);
            }
        }
        for &other in values[i + 1..].as_flattened() {
            for lane in 0..LANES {
                rank[lane] += u32::from(other > vector[lane]);
            }
        }
        for lane in 0..LANES {
            sorted[rank[lane] as usize] = classes[i * LANES + lane];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zeros_of_both_signs_are_equal() {
        let mut scores = vec![-1.0; 300];
        scores[7] = -0.0;
        scores[200..].fill(0.0);
        let mut found = Vec::new();
        for count in [1, 2, 40, 70] {
            highest(&scores, 202, count, &mut found);
            let expected = std::iter::once(7).chain((200..300).filter(|&i| i != 202));
            assert!(found.iter().copied().eq(expected.take(count)), "{count}");
        }
    }

    #[test]
    fn agrees_with_sorting() {
        let mut found = Vec::new();
        for (classes, distinct) in [
            (2, 9),
            (17, 5),
            (21, 100),
            (40, 100),
            (127, 1000),
            (300, 7),
            (1000, 1),
            (5000, 9000),
        ] {
            let scores: Vec<f32> = (0..classes)
                .map(|i| ((i * 7919 + 13) % distinct) as f32 - 3.0)
                .collect();
            for count in [1, 2, 10, 11, 20, 21, 64, 65, 200] {
                if count >= classes {
                    break;
                }
                for label in [0, classes / 2, classes - 1] {
                    let mut expected: Vec<usize> = (0..classes).filter(|&i| i != label).collect();
                    expected.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]));
                    let context = format!("{classes} {distinct} {count} {label}");
                    highest(&scores, label, count, &mut found);
                    assert_eq!(found, expected[..count], "{context}");
                    // As without AVX-512.
                    found.clear();
                    if count <= GROUPS / 2
                        && of_few_candidates_by_loops(&scores, label, count, &mut found)
                    {
                        assert_eq!(found, expected[..count], "{context}");
                    }
                }
            }
        }
    }

    #[test]
    fn rows_side_by_side_agree_with_rows_alone() {
        let mut found = Highest::default();
        let mut alone = Vec::new();
        let mut by_loops = 0;
        for (classes, distinct) in [
            (9, 100),
            (16, 5),
            (17, 1000),
            (40, 100_000),
            (100, 100_000),
            (250, 30),
            (300, 100_000),
            (1000, 100_000),
            (1023, 100_000),
            (1039, 100_000),
            (1040, 100_000),
        ] {
            let scores: Vec<f32> = (0..ROWS * classes)
                .map(|i| (i * 7919 % 104_729 % distinct) as f32 - 3.0)
                .collect();
            for row_count in [1, 2, 7, ROWS] {
                let rows = scores.chunks_exact(classes).take(row_count);
                let rows: Vec<Row<'_>> = rows
                    .enumerate()
                    .map(|(i, scores)| Row {
                        scores,
                        label: i * 31 % classes,
                    })
                    .collect();
                let mut check = |found: &Highest, count, i: usize| {
                    let row = &rows[i];
                    highest(row.scores, row.label, count, &mut alone);
                    let of_row = |ranked: &[u32; ROWS]| ranked[i] as usize;
                    let of_row: Vec<usize> = found.classes.iter().map(of_row).collect();
                    assert_eq!(of_row, alone, "{classes} classes, {distinct} distinct");
                    for (scores, &class) in found.scores.iter().zip(&alone) {
                        assert_eq!(scores[i], row.scores[class]);
                    }
                };
                for count in 1..=10.min(classes - 1) {
                    assert!(found.find(&rows, count));
                    assert_eq!((found.classes.len(), found.scores.len()), (count, count));
                    (0..row_count).for_each(|i| check(&found, count, i));
                    if count > FEW {
                        continue;
                    }
                    // As without AVX-512.
                    let done = rows_by_loops::highest_of_each(&rows, count, &mut found).unwrap();
                    let done = (0..row_count).filter(|i| done >> i & 1 == 1);
                    by_loops += done.inspect(|&i| check(&found, count, i)).count();
                }
            }
        }
        assert!(by_loops > 500, "{by_loops}");
    }

    #[test]
    fn scores_of_rows_that_are_not_finite_are_found_at_every_index() {
        let mut found = Highest::default();
        for classes in [17, 100, 1000, 1100] {
            let mut scores: Vec<f32> = (0..3 * classes).map(|i| (i * 37 % 1009) as f32).collect();
            for i in 0..scores.len() {
                for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
                    let good = std::mem::replace(&mut scores[i], bad);
                    let rows = scores.chunks_exact(classes);
                    let rows: Vec<Row<'_>> = rows.map(|scores| Row { scores, label: 5 }).collect();
                    assert!(!found.find(&rows, 8), "{bad} at {i} of {classes}");
                    let by_loops = rows_by_loops::highest_of_each(&rows, 8, &mut found);
                    assert_eq!(by_loops, None, "{bad} at {i} of {classes}");
                    scores[i] = good;
                }
            }
        }
    }
}
