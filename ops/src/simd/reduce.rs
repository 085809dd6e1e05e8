use super::LANES;

vectorized! {
    /// Whether all scores are finite.
    pub(crate) fn all_finite(scores: &[f32]) -> bool {
        // Zero times a finite number is zero, and NaN times any other.
        let (vectors, rest) = scores.as_chunks::<LANES>();
        let mut sum = [0.0; LANES];
        for vector in vectors {
            for lane in 0..LANES {
                sum[lane] += 0.0 * vector[lane];
            }
        }
        for (sum, score) in sum.iter_mut().zip(rest) {
            *sum += 0.0 * score;
        }
        sum.iter().sum::<f32>() == 0.0
    }
}

vectorized! {
    /// The largest score; the lowest finite number if there are no scores.
    pub(crate) fn max(scores: &[f32]) -> f32 {
        let larger = |a: f32, b: f32| if b > a { b } else { a };
        let (vectors, rest) = scores.as_chunks::<LANES>();
        let mut max = [f32::MIN; LANES];
        for vector in vectors {
            for lane in 0..LANES {
                max[lane] = larger(max[lane], vector[lane]);
            }
        }
        for (max, &score) in max.iter_mut().zip(rest) {
            *max = larger(*max, score);
        }
        max.into_iter().fold(f32::MIN, larger)
    }
}

vectorized! {
    /// The sum of nonnegative numbers.
    pub(crate) fn sum(values: &[f32]) -> f64 {
        let mut total = 0.0;
        // Short runs in `f32`, so that their rounding errors stay small.
        for values in values.chunks(32 * LANES) {
            let (vectors, rest) = values.as_chunks::<LANES>();
            let mut sum = [0.0; LANES];
            for vector in vectors {
                for lane in 0..LANES {
                    sum[lane] += vector[lane];
                }
            }
            for (sum, value) in sum.iter_mut().zip(rest) {
                *sum += value;
            }
            total += sum.iter().map(|&sum| f64::from(sum)).sum::<f64>();
        }
        total
    }
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
        for len in [1, 15, 16, 17, 100] {
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
        for len in [1, 15, 16, 17, 1100] {
            let values: Vec<f32> = (0..len).map(|i| (i * 7 % len) as f32).collect();
            assert_eq!(sum(&values), values.iter().map(|&v| f64::from(v)).sum());
            assert_eq!(max(&values), values.iter().copied().fold(0.0, f32::max));
        }
        assert_eq!(max(&[-3.0; 5]), -3.0);
    }
}
