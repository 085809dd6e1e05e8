use std::f64::consts::TAU;

use super::ln::ln;
use super::{LANES_F64, LanesF64};

/// Pairs of uniform numbers that become normal ones at once.
pub(crate) const PAIRS: usize = LANES_F64;

vectorized! {
    /// The transform of Box and Muller: √(−2 ln u) · cos(2πv) and √(−2 ln u) · sin(2πv) of each pair, one after the other, to
    /// about 1 ulp. u is in (0, 1] and at least 2⁻¹⁰²², v in [0, 1) and a multiple of 2⁻⁵³.
    pub(crate) fn normals(u: &LanesF64, v: &LanesF64) -> [f64; 2 * PAIRS] {
        let mut normals = [0.0; 2 * PAIRS];
        let (mut cosines, mut sines) = ([0.0; PAIRS], [0.0; PAIRS]);
        for lane in 0..PAIRS {
            let radius = (-2.0 * ln(u[lane])).sqrt();
            let (sin, cos) = sin_cos(v[lane]);
            cosines[lane] = radius * cos;
            sines[lane] = radius * sin;
        }
        for pair in 0..PAIRS {
            normals[2 * pair] = cosines[pair];
            normals[2 * pair + 1] = sines[pair];
        }
        normals
    }
}

/// sin 2πv and cos 2πv.
#[inline(always)]
fn sin_cos(v: f64) -> (f64, f64) {
    // ±1/17!, ∓1/15!, …, −1/3!
    const SINE: [f64; 8] = alternating_inverse_factorials(17);
    // 1/16!, −1/14!, …, −1/2!
    const COSINE: [f64; 8] = alternating_inverse_factorials(16);
    // Adding this rounds to an integer, which ends up in the lowest bits.
    const ROUND: f64 = 6_755_399_441_055_744.0;
    // 2πv is a quarter turn `quarter` times and x, from −π/4 to π/4. The subtraction is exact.
    let shifted = 4.0 * v + ROUND;
    let quarter = shifted.to_bits();
    let x = TAU * (v - 0.25 * (shifted - ROUND));
    let square = x * x;
    let (mut sine, mut cosine) = (SINE[0], COSINE[0]);
    for i in 1..8 {
        sine = sine.mul_add(square, SINE[i]);
        cosine = cosine.mul_add(square, COSINE[i]);
    }
    let sine = (x * square).mul_add(sine, x);
    let cosine = square.mul_add(cosine, 1.0);
    let (sin, cos) = if quarter & 1 == 1 {
        (cosine, sine)
    } else {
        (sine, cosine)
    };
    // Sines are negative in the second half, cosines in the middle one.
    let sin_sign = (quarter & 2) << 62;
    let cos_sign = (quarter.wrapping_add(1) & 2) << 62;
    (
        f64::from_bits(sin.to_bits() ^ sin_sign),
        f64::from_bits(cos.to_bits() ^ cos_sign),
    )
}

/// ±1/n!, ∓1/(n − 2)!, …, of which the last but one is positive and the last, −1/3! or −1/2!, negative.
const fn alternating_inverse_factorials(n: u32) -> [f64; 8] {
    let mut coefficients = [0.0; 8];
    let mut i = 0;
    while i < 8 {
        let mut factorial = 1.0;
        let mut j = 2;
        while j <= n - 2 * i {
            factorial *= j as f64;
            j += 1;
        }
        coefficients[i as usize] = if i % 2 == 0 { 1.0 } else { -1.0 } / factorial;
        i += 1;
    }
    coefficients
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sine_and_cosine_are_right_to_an_ulp() {
        let mut worst = 0f64;
        for i in 0..200_000 {
            let v = f64::from(i) / 262_144.0 + f64::from(i) * 2f64.powi(-53);
            // The angle itself, TAU · v, is rounded; so are those of the first eighth here.
            let quarter = (4.0 * v).round();
            let x = TAU * (v - 0.25 * quarter);
            let expected = match quarter as u32 % 4 {
                0 => (x.sin(), x.cos()),
                1 => (x.cos(), -x.sin()),
                2 => (-x.sin(), -x.cos()),
                _ => (-x.cos(), x.sin()),
            };
            let found = sin_cos(v);
            for (found, expected) in [(found.0, expected.0), (found.1, expected.1)] {
                if expected != 0.0 {
                    worst = worst.max((found / expected - 1.0).abs());
                }
            }
        }
        assert!(worst < 4.5e-16, "{worst}");
        assert_eq!(sin_cos(0.25), (1.0, 0.0));
    }
}
