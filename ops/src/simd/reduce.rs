//! Reductions of numbers to one. Fewer than a vector holds are combined one by one, which is faster.

use super::{LANES, last_lanes};

/// Numbers that are reduced side by side: several vectors, because each operation waits for the one before it in
/// the same vector.
const SIDE_BY_SIDE: usize = 4 * LANES;

vectorized! {
    /// Whether all scores are finite.
    pub(crate) fn all_finite(scores: &[f32]) -> bool {
        if scores.len() < LANES {
            return scores.iter().all(|score| score.is_finite());
        }
        // Zero times a finite number is zero, and NaN times any other.
        let sums = lanewise(0.0, scores, |sum, score| score.mul_add(0.0, sum));
        fold(sums, |a, b| a + b) == 0.0
    }
}

vectorized! {
    /// The largest score; the lowest finite number if there are no scores.
    pub(crate) fn max(scores: &[f32]) -> f32 {
        if scores.len() < LANES {
            return scores.iter().copied().fold(f32::MIN, larger);
        }
        fold(lanewise(f32::MIN, scores, larger), larger)
    }
}

vectorized! {
    /// The sum of nonnegative numbers.
    pub(crate) fn sum(values: &[f32]) -> f64 {
        if values.len() < LANES {
            return values.iter().map(|&value| f64::from(value)).sum();
        }
        let mut total = 0.0;
        // Short runs in `f32`, so that their rounding errors stay small.
        for values in values.chunks(32 * SIDE_BY_SIDE) {
            let sums = lanewise(0.0, values, |sum, value| sum + value);
            total += fold(sums.map(f64::from), |a, b| a + b);
        }
        total
    }
}

/// Combines each lane, at first `neutral`, with numbers in turn: which ones depends on their indices alone. Combining two
/// lanes must be possible too.
#[inline(always)]
fn lanewise(
    neutral: f32,
    numbers: &[f32],
    combine: impl Fn(f32, f32) -> f32,
) -> [f32; SIDE_BY_SIDE] {
    let mut lanes = [neutral; SIDE_BY_SIDE];
    let (blocks, rest) = numbers.as_chunks::<SIDE_BY_SIDE>();
    for block in blocks {
        for i in 0..SIDE_BY_SIDE {
            lanes[i] = combine(lanes[i], block[i]);
        }
    }
    // In lanes of their own: LLVM makes single numbers of lanes that several loops change.
    let mut others = last_lanes(numbers, neutral);
    for vector in rest.as_chunks::<LANES>().0 {
        for lane in 0..LANES {
            others[lane] = combine(others[lane], vector[lane]);
        }
    }
    for lane in 0..LANES {
        lanes[lane] = combine(lanes[lane], others[lane]);
    }
    lanes
}

#[inline(always)]
pub(super) fn larger(a: f32, b: f32) -> f32 {
    if b > a { b } else { a }
}

#[inline(always)]
pub(super) fn smaller(a: f32, b: f32) -> f32 {
    if b < a { b } else { a }
}

/// Combines all lanes, in halves; their number is a power of two.
#[inline(always)]
pub(super) fn fold<T: Copy, const N: usize>(mut lanes: [T; N], combine: impl Fn(T, T) -> T) -> T {
    let mut width = N;
    while width > 1 {
        width /= 2;
        for i in 0..width {
            lanes[i] = combine(lanes[i], lanes[i + width]);
        }
    }
    lanes[0]
}

vectorized! {
    /// Multiplies each value by `factor`.
    pub(crate) fn scale(values: &mut [f32], factor: f32) {
        for value in values {
            *value *= factor;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scores_that_are_not_finite_are_found_at_every_index() {
        for len in [1, 15, 16, 17, 63, 64, 100] {
            let mut scores = vec![f32::MAX; len];
            assert!(all_finite(&scores));
            for i in 0..len {
                for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
                    scores[i] = bad;
                    assert!(!all_finite(&scores), "{bad} at {i} of {len}");
                }
                scores[i] = -1.0;
            }
        }
    }

    #[test]
    fn max_and_sum_of_any_number_of_values() {
        for len in [1, 15, 16, 17, 65, 1100, 5000] {
            let values: Vec<f32> = (0..len).map(|i| (i * 7 % len) as f32).collect();
            assert_eq!(sum(&values), values.iter().map(|&v| f64::from(v)).sum());
            assert_eq!(max(&values), values.iter().copied().fold(0.0, f32::max));
        }
        assert_eq!(max(&[-3.0; 5]), -3.0);
    }
}
