#[cfg(target_arch = "x86_64")]
use multiversion::target::target_cfg_f;

use super::{LANES, LN_2_PARTS, Lanes};

vectorized! {
    /// Sets `weights` to exp((s − `reference`) · `scale`) for each score s of at most `reference`; entries
    /// for larger scores are unspecified.
    pub(crate) fn weights(scores: &[f32], reference: f32, scale: f64, weights: &mut [f32]) {
        // Halves, because the difference of two scores may overflow.
        let reference = -0.5 * reference;
        let scale = (2.0 * std::f64::consts::LOG2_E * scale).min(f32::MAX.into()) as f32;
        let exponent = |score: f32| score.mul_add(0.5, reference) * scale;
        let of_vector = |scores: &Lanes| {
            let mut vector = [0.0; LANES];
            #[cfg(target_arch = "x86_64")]
            {
                if target_cfg_f!(target_feature = "avx512f") {
                    for lane in 0..LANES {
                        vector[lane] = exponent(scores[lane]);
                    }
                    #[allow(
                        unused_unsafe,
                        reason = "unsafe in the versions for other processors, where it is not reached"
                    )]
                    // SAFETY: this version of the function is for processors with AVX-512.
                    return unsafe { exp2_nonpositive_avx512(&vector) };
                }
            }
            for lane in 0..LANES {
                vector[lane] = exp2_nonpositive(exponent(scores[lane]));
            }
            vector
        };
        if let (Some(scores), Some(weights)) =
            (scores.last_chunk::<LANES>(), weights.last_chunk_mut::<LANES>())
        {
            // Some of these are computed again below.
            *weights = of_vector(scores);
        } else {
            for (weights, scores) in weights.iter_mut().zip(scores) {
                *weights = exp2_nonpositive(exponent(*scores));
            }
        }
        let (weights, _) = weights.as_chunks_mut::<LANES>();
        for (weights, scores) in weights.iter_mut().zip(scores.as_chunks::<LANES>().0) {
            *weights = of_vector(scores);
        }
    }
}

/// Coefficients of 2ʳ to 1e-8 for |r| ≤ ½, from r⁶ to r: interpolates at the Chebyshev nodes, with the constant 1.
const POWERS_OF_2: [f32; 6] = [
    0.000_154_531_63,
    0.001_339_086_3,
    0.009_618_083,
    0.055_503_57,
    0.240_226_5,
    std::f32::consts::LN_2,
];

/// Where 2ˣ is below the normal numbers.
const LOWEST: f32 = -125.5;

/// 2ˣ for x ≤ 0, to about 1 ulp; 0 where the result is below the normal numbers, and at −∞.
#[inline(always)]
fn exp2_nonpositive(x: f32) -> f32 {
    // Adding this rounds to an integer, which ends up in the lowest bits.
    const ROUND: f32 = 12_582_912.0;
    // Any power of which the exponent below becomes 0, like the mantissa.
    let clamped = if x > LOWEST { x } else { -127.0 };
    let shifted = clamped + ROUND;
    let r = clamped - (shifted - ROUND);
    let [highest, others @ ..] = POWERS_OF_2;
    let p = others.iter().fold(highest, |p, &next| p.mul_add(r, next));
    let p = p.mul_add(r, 1.0);
    // Adds the integer to the exponent of p.
    f32::from_bits(p.to_bits().wrapping_add(shifted.to_bits() << 23))
}

/// [`exp2_nonpositive`], with the same result, by AVX-512's rounding and scaling.
#[cfg(target_arch = "x86_64")]
#[inline]
#[target_feature(enable = "avx512f")]
fn exp2_nonpositive_avx512(x: &Lanes) -> Lanes {
    use std::arch::x86_64::{
        _CMP_GT_OQ, _MM_FROUND_TO_NEAREST_INT, _mm512_cmp_ps_mask, _mm512_fmadd_ps,
        _mm512_loadu_ps, _mm512_maskz_scalef_ps, _mm512_roundscale_ps, _mm512_set1_ps,
        _mm512_storeu_ps, _mm512_sub_ps,
    };

    // SAFETY: there are as many numbers as lanes.
    let x = unsafe { _mm512_loadu_ps(x.as_ptr()) };
    let is_normal = _mm512_cmp_ps_mask::<_CMP_GT_OQ>(x, _mm512_set1_ps(LOWEST));
    let whole = _mm512_roundscale_ps::<_MM_FROUND_TO_NEAREST_INT>(x);
    let r = _mm512_sub_ps(x, whole);
    let [highest, others @ ..] = POWERS_OF_2;
    let mut p = _mm512_set1_ps(highest);
    for next in others {
        p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(next));
    }
    let p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.0));
    let power = _mm512_maskz_scalef_ps(is_normal, p, whole);
    let mut result = [0.0; LANES];
    // SAFETY: there are as many numbers as lanes.
    unsafe { _mm512_storeu_ps(result.as_mut_ptr(), power) };
    result
}

/// exp(x) to about 1 ulp, for |x| < 600; beyond that 0 or ∞.
#[inline(always)]
pub(crate) fn exp(x: f64) -> f64 {
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
    let clamped = if x > -LIMIT { x } else { -LIMIT };
    let clamped = if clamped < LIMIT { clamped } else { LIMIT };
    let shifted = clamped.mul_add(std::f64::consts::LOG2_E, ROUND);
    let whole = shifted - ROUND;
    let r = whole.mul_add(-LN_2_PARTS[1], whole.mul_add(-LN_2_PARTS[0], clamped));
    let mut p = TAYLOR[0];
    for coefficient in &TAYLOR[1..] {
        p = p.mul_add(r, *coefficient);
    }
    let power = f64::from_bits(p.to_bits().wrapping_add(shifted.to_bits() << 52));
    let power = if x > -LIMIT { power } else { 0.0 };
    if x < LIMIT { power } else { f64::INFINITY }
}

vectorized! {
    /// Replaces each number by its [exponential](exp).
    pub(crate) fn exponentials(numbers: &mut [f64]) {
        for x in numbers {
            *x = exp(*x);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(target_arch = "x86_64")]
    #[test]
    fn instruction_sets_agree() {
        if !is_x86_feature_detected!("avx512f") {
            return;
        }
        for i in 0..20_000 {
            let mut x = [0.0; LANES];
            for (lane, x) in x.iter_mut().enumerate() {
                *x = -130.0 * (i * LANES + lane) as f32 / 320_000.0;
            }
            x[0] = [-0.0, -1e30, f32::NEG_INFINITY, LOWEST, -0.5, -1.5][i % 6];
            // SAFETY: the processor has AVX-512.
            let found = unsafe { exp2_nonpositive_avx512(&x) };
            assert_eq!(
                found.map(f32::to_bits),
                x.map(|x| exp2_nonpositive(x).to_bits())
            );
        }
    }

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
            worst = worst.max((exp(x) / x.exp() - 1.0).abs());
        }
        assert!(worst < 4.5e-16, "{worst}");
        let ends = [f64::NEG_INFINITY, -1e9, 0.0, 1e9, f64::INFINITY].map(exp);
        assert_eq!(ends, [0.0, 0.0, 1.0, f64::INFINITY, f64::INFINITY]);
        let mut all = [0.0, 1.5, -700.0];
        exponentials(&mut all);
        assert_eq!(all, [1.0, exp(1.5), 0.0]);
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
