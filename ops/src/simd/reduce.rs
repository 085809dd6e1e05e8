use super::LANES;

/// Numbers that are reduced side by side: several vectors, because each operation waits for the one before it in
/// the same vector.
const SIDE_BY_SIDE: usize = 4 * LANES;

vectorized! {
    /// Whether all scores are finite.
    pub(crate) fn all_finite(scores: &[f32]) -> bool {
        // Zero times a finite number is zero, and NaN times any other.
        let sums = lanewise([0.0; SIDE_BY_SIDE], scores, |sum, score| score.mul_add(0.0, sum));
        let mut finite = true;
        for sum in sums {
            finite &= sum == 0.0;
        }
        finite
    }
}

vectorized! {
    /// The largest score; the lowest finite number if there are no scores.
    pub(crate) fn max(scores: &[f32]) -> f32 {
        let larger = |a: f32, b: f32| if b > a { b } else { a };
        let mut max = lanewise([f32::MIN; SIDE_BY_SIDE], scores, larger);
        let mut width = SIDE_BY_SIDE;
        while width > 1 {
            width /= 2;
            for i in 0..width {
                max[i] = larger(max[i], max[i + width]);
            }
        }
        max[0]
    }
}

vectorized! {
    /// The sum of nonnegative numbers.
    pub(crate) fn sum(values: &[f32]) -> f64 {
        let mut total = 0.0;
        // Short runs in `f32`, so that their rounding errors stay small.
        for values in values.chunks(32 * SIDE_BY_SIDE) {
            let sums = lanewise([0.0; SIDE_BY_SIDE], values, |sum, value| sum + value);
            let mut sums = sums.map(f64::from);
            let mut width = SIDE_BY_SIDE;
            while width > 1 {
                width /= 2;
                for i in 0..width {
                    sums[i] += sums[i + width];
                }
            }
            total += sums[0];
        }
        total
    }
}

/// Combines each of `lanes` with numbers in turn, one by one: which ones depends on their indices alone.
#[inline(always)]
fn lanewise(
    mut lanes: [f32; SIDE_BY_SIDE],
    numbers: &[f32],
    combine: impl Fn(f32, f32) -> f32,
) -> [f32; SIDE_BY_SIDE] {
    let (blocks, rest) = numbers.as_chunks::<SIDE_BY_SIDE>();
    for block in blocks {
        for i in 0..SIDE_BY_SIDE {
            lanes[i] = combine(lanes[i], block[i]);
        }
    }
    let (vectors, rest) = rest.as_chunks::<LANES>();
    for vector in vectors {
        for lane in 0..LANES {
            lanes[lane] = combine(lanes[lane], vector[lane]);
        }
    }
    for (lane, &number) in lanes.iter_mut().zip(rest) {
        *lane = combine(*lane, number);
    }
    lanes
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
