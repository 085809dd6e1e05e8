//! Selection of few scores of several rows in loops that LLVM makes vectors of: where rows are compared with themselves,
//! each lane is a row.

use super::hits::SPAN;
use super::network::network;
use super::{CANDIDATES, FEW, Highest, ROWS, Row, reaching};
use crate::simd::reduce::{fold, larger, smaller};
use crate::simd::{LANES, last_lanes};

/// Numbers of all rows, by rank.
type Columns<T> = [[T; ROWS]; LANES];

/// Most classes for which this is faster than row by row.
const MAX_CLASSES: usize = 1 << 10;

/// Fewest rows for which it is.
const MIN_ROWS: usize = ROWS / 2;

/// Whether this is faster than row by row.
pub(super) fn is_fast(rows: &[Row<'_>], count: usize) -> bool {
    count <= FEW && rows.len() >= MIN_ROWS && rows[0].scores.len() <= MAX_CLASSES
}

/// Sets the `count` highest scores of each row as [`highest`](super::highest) does. Returns which rows were done, a bit for
/// each: those with few candidates, no two of which are equal. `None` if some scores are not finite.
///
/// `count` is at most [`FEW`], and `highest` has space for as many scores.
pub(super) fn highest_of_each(
    rows: &[Row<'_>],
    count: usize,
    highest: &mut Highest,
) -> Option<u16> {
    let mut thresholds = [0.0; ROWS];
    if !set_thresholds(rows, count, &mut thresholds) {
        return None;
    }
    let mut scores = [[f32::NEG_INFINITY; ROWS]; LANES];
    let mut classes = [[0; ROWS]; LANES];
    let mut candidates = [0; CANDIDATES + SPAN];
    let mut few = 0;
    for (i, (row, &threshold)) in rows.iter().zip(&thresholds).enumerate() {
        if let Some(len) = reaching(row.scores, threshold, &mut candidates)
            && len <= LANES
        {
            few |= 1 << i;
            for (rank, &class) in candidates[..len].iter().enumerate() {
                classes[rank][i] = class;
                if class as usize != row.label {
                    scores[rank][i] = row.scores[class as usize];
                }
            }
        }
    }
    let tied = sort(&mut scores, &mut classes, count);
    highest.scores.copy_from_slice(&scores[..count]);
    highest.classes.copy_from_slice(&classes[..count]);
    Some(few & !tied)
}

/// Sets a number for each row that more than `count` of its scores reach, and few others. Returns whether all scores are
/// finite.
#[multiversion::multiversion(targets("x86_64+avx2+fma", "aarch64+neon"))]
fn set_thresholds(rows: &[Row<'_>], count: usize, thresholds: &mut [f32; ROWS]) -> bool {
    let mut columns = [[0f32; ROWS]; LANES];
    let mut is_zero = true;
    for (i, row) in rows.iter().enumerate() {
        let (maxima, sum) = lane_maxima(row.scores);
        for lane in 0..LANES {
            columns[lane][i] = maxima[lane];
        }
        is_zero &= sum == 0.0;
    }
    network(|a, b| {
        let [x, y] = columns
            .get_disjoint_mut([a, b])
            .expect("pairs are of different ranks");
        for (x, y) in x.iter_mut().zip(y) {
            (*x, *y) = (larger(*x, *y), smaller(*x, *y));
        }
    });
    *thresholds = columns[count];
    is_zero
}

/// The highest score in each lane, and a sum that is zero if all scores are finite, and NaN otherwise.
#[inline(always)]
fn lane_maxima(scores: &[f32]) -> ([f32; LANES], f32) {
    const SIDE_BY_SIDE: usize = 2 * LANES;
    let mut maxima = [f32::MIN; SIDE_BY_SIDE];
    // Zero times a finite number is zero, and NaN times any other.
    let mut sums = [0f32; SIDE_BY_SIDE];
    let (blocks, rest) = scores.as_chunks::<SIDE_BY_SIDE>();
    for block in blocks {
        for lane in 0..SIDE_BY_SIDE {
            maxima[lane] = larger(maxima[lane], block[lane]);
            sums[lane] = block[lane].mul_add(0.0, sums[lane]);
        }
    }
    // In lanes of their own: LLVM makes single numbers of lanes that several loops change.
    let mut max = last_lanes(scores, f32::MIN);
    let mut sum = [0f32; LANES];
    for lane in 0..LANES {
        sum[lane] = max[lane] * 0.0;
    }
    if let Some(vector) = rest.first_chunk::<LANES>() {
        for lane in 0..LANES {
            max[lane] = larger(max[lane], vector[lane]);
            sum[lane] = vector[lane].mul_add(0.0, sum[lane]);
        }
    }
    for lane in 0..LANES {
        max[lane] = larger(max[lane], larger(maxima[lane], maxima[LANES + lane]));
        sum[lane] += sums[lane] + sums[LANES + lane];
    }
    (max, fold(sum, |a, b| a + b))
}

/// Sorts the scores of each row, and their classes with them, in descending order. Returns in which rows some of the
/// highest `count` are equal, or equal one that is not among them.
#[multiversion::multiversion(targets("x86_64+avx2+fma", "aarch64+neon"))]
fn sort(scores: &mut Columns<f32>, classes: &mut Columns<u32>, count: usize) -> u16 {
    network(|a, b| {
        for row in 0..ROWS {
            let (x, y) = (scores[a][row], scores[b][row]);
            let (of_x, of_y) = (classes[a][row], classes[b][row]);
            scores[a][row] = larger(x, y);
            scores[b][row] = smaller(x, y);
            // Not one condition for both, of which LLVM would make a branch for each row.
            classes[a][row] = if y > x { of_y } else { of_x };
            classes[b][row] = if y > x { of_x } else { of_y };
        }
    });
    let mut ties = [0u32; ROWS];
    for rank in 0..count {
        for row in 0..ROWS {
            ties[row] |= u32::from(scores[rank][row] == scores[rank + 1][row]);
        }
    }
    ties.iter()
        .rev()
        .fold(0, |bits, &tied| bits << 1 | tied as u16)
}
