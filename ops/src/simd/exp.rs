use super::{LANES, LN_2_PARTS, LanesF64};

vectorized! {
    /// Sets `weights` to exp((s − `reference`) · `scale`) for each score s of at most `reference`; entries
    /// for larger scores are unspecified.
    pub(crate) fn weights(scores: &[f32], reference: f32, scale: f64, weights: &mut [f32]) {
        // Halves, because the difference of two scores may overflow.
        let reference = -0.5 * reference;
        let scale = (2.0 * std::f64::consts::LOG2_E * scale).min(f32::MAX.into()) as f32;
        let weight = |score: f32| exp2_nonpositive(score.mul_add(0.5, reference) * scale);
        if let (Some(scores), Some(weights)) =
            (scores.last_chunk::<LANES>(), weights.last_chunk_mut::<LANES>())
        {
            // Some of these are computed again below.
            for lane in 0..LANES {
                weights[lane] = weight(scores[lane]);
            }
        } else {
            for (weights, scores) in weights.iter_mut().zip(scores) {
                *weights = weight(*scores);
            }
        }
        let (weights, _) = weights.as_chunks_mut::<LANES>();
        for (weights, scores) in weights.iter_mut().zip(scores.as_chunks::<LANES>().0) {
            for lane in 0..LANES {
                weights[lane] = weight(scores[lane]);
            }
        }
    }
}

/// 2ˣ for x ≤ 0, to about 1 ulp; 0 where the result is below the normal numbers, and at −∞.
#[inline(always)]
fn exp2_nonpositive(x: f32) -> f32 {
    const LOWEST: f32 = -125.5;
    // Adding this rounds to an integer, which ends up in the lowest bits.
    const ROUND: f32 = 12_582_912.0;
    // Any power of which the exponent below becomes 0, like the mantissa.
    let clamped = if x > LOWEST { x } else { -127.0 };
    let shifted = clamped + ROUND;
    let r = clamped - (shifted - ROUND);
    // 2ʳ to 1e-8 for |r| ≤ ½: interpolates at the Chebyshev nodes, with the constant 1.
    let p = r.mul_add(0.000_154_531_63, 0.001_339_086_3);
    let p = p.mul_add(r, 0.009_618_083);
    let p = p.mul_add(r, 0.055_503_57);
    let p = p.mul_add(r, 0.240_226_5);
    let p = p.mul_add(r, std::f32::consts::LN_2);
    let p = p.mul_add(r, 1.0);
    // Adds the integer to the exponent of p.
    f32::from_bits(p.to_bits().wrapping_add(shifted.to_bits() << 23))
}

vectorized! {
    /// Replaces each x by exp(x), to about 1 ulp, for |x| < 600; beyond that by 0 or ∞.
    pub(crate) fn exp(vectors: &mut [LanesF64]) {
        const LIMIT: f64 = 600.0;
        const ROUND: f64 = 6_755_399_441_055_744.0;
        // 1/13!, 1/12!, …, 1/0!
        const TAYLOR: [f64; 14] = {
            let mut inverse = [1.0; 14];
            let mut factorial = 1.0;
            let mut i = 1;
            while i < 14 {
                factorial *= i as f64;
                inverse[13 - i] = 1.0 / factorial;
                i += 1;
            }
            inverse
        };
        for vector in vectors {
            for x in vector {
                let clamped = if *x > -LIMIT { *x } else { -LIMIT };
                let clamped = if clamped < LIMIT { clamped } else { LIMIT };
                let shifted = clamped.mul_add(std::f64::consts::LOG2_E, ROUND);
                let whole = shifted - ROUND;
                let r = whole.mul_add(-LN_2_PARTS[1], whole.mul_add(-LN_2_PARTS[0], clamped));
                let mut p = TAYLOR[0];
                for coefficient in &TAYLOR[1..] {
                    p = p.mul_add(r, *coefficient);
                }
                let power = f64::from_bits(p.to_bits().wrapping_add(shifted.to_bits() << 52));
                let power = if *x > -LIMIT { power } else { 0.0 };
                *x = if *x < LIMIT { power } else { f64::INFINITY };
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simd::LANES_F64;

    #[test]
    fn exponential_is_right_to_an_ulp() {
        let mut worst = 0f64;
        for i in 0..200_000 {
            let x = -125.5 * (i as f32 + 0.5) / 200_000.0;
            let expected = f64::from(x).exp2();
            let found = f64::from(exp2_nonpositive(x));
            worst = worst.max((found / expected - 1.0).abs());
        }
        assert!(worst < 1.2e-7, "{worst}");
        let ends = [f32::NEG_INFINITY, -1e30, -126.0, 0.0, -1.0].map(exp2_nonpositive);
        assert_eq!(ends, [0.0, 0.0, 0.0, 1.0, 0.5]);
    }

    #[test]
    fn double_exponential_is_right_to_an_ulp() {
        let mut worst = 0f64;
        for i in 0..20_000 {
            let x = 1199.0 * (i as f64 / 20_000.0 - 0.5);
            let mut found = [[x; LANES_F64]];
            exp(&mut found);
            worst = worst.max((found[0][5] / x.exp() - 1.0).abs());
        }
        assert!(worst < 4.5e-16, "{worst}");
        let mut ends = [[
            f64::NEG_INFINITY,
            -1e9,
            0.0,
            1.0,
            1e9,
            f64::INFINITY,
            2.0,
            -2.0,
        ]];
        exp(&mut ends);
        assert_eq!(ends[0][..3], [0.0, 0.0, 1.0]);
        assert_eq!(ends[0][4..6], [f64::INFINITY; 2]);
    }

    #[test]
    fn weights_of_any_number_of_scores() {
        for len in [1, 15, 16, 33] {
            let scores: Vec<f32> = (0..len).map(|i| -(i as f32)).collect();
            let mut found = vec![f32::NAN; len];
            weights(&scores, 2.0, 0.5, &mut found);
            for (found, score) in found.iter().zip(scores) {
                assert!((found - ((score - 2.0) * 0.5).exp()).abs() < 1e-7);
            }
        }
        let mut ends = [f32::NAN; 3];
        weights(&[-3e38, 3e38, 0.0], 3e38, 1.0, &mut ends);
        assert_eq!(ends, [0.0, 1.0, 0.0]);
    }
}
