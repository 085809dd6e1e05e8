use std::f64::consts::FRAC_1_SQRT_2;

use super::LN_2_PARTS;

/// ln(1 + x) for x from 0 to 1, to about 1 ulp.
#[inline(always)]
pub(crate) fn ln_1p(x: f64) -> f64 {
    let sum = 1.0 + x;
    // What the sum lost by rounding.
    let lost = x - (sum - 1.0);
    ln(sum) + lost / sum
}

/// ln x of a normal number, to about 1 ulp.
#[inline(always)]
pub(crate) fn ln(x: f64) -> f64 {
    // 1/21, 1/19, …, 1/3
    const ARTANH: [f64; 10] = {
        let mut inverse = [0.0; 10];
        let mut i = 0;
        while i < 10 {
            inverse[i] = 1.0 / (21 - 2 * i) as f64;
            i += 1;
        }
        inverse
    };
    // x = 2ᵉ m with m from √½ to √2.
    let exponent = (x.to_bits().wrapping_sub(FRAC_1_SQRT_2.to_bits()) as i64) >> 52;
    let m = f64::from_bits(x.to_bits().wrapping_sub((exponent as u64) << 52));
    let e = small(exponent);
    // ln m = 2 artanh s
    let s = (m - 1.0) / (m + 1.0);
    let square = s * s;
    let mut p = ARTANH[0];
    for coefficient in &ARTANH[1..] {
        p = p.mul_add(square, *coefficient);
    }
    let twice = 2.0 * s;
    let of_m = (twice * square).mul_add(p, e * LN_2_PARTS[1]) + twice;
    e.mul_add(LN_2_PARTS[0], of_m)
}

/// An integer that is small enough for the lower bits of a mantissa.
#[inline(always)]
fn small(integer: i64) -> f64 {
    const ZERO: f64 = 6_755_399_441_055_744.0;
    f64::from_bits(ZERO.to_bits().wrapping_add(integer as u64)) - ZERO
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logarithm_is_right_to_an_ulp() {
        let mut worst = 0f64;
        for i in 1..200_000 {
            for x in [
                f64::from(i) / 200_000.0,
                1.0 - f64::from(i) * f64::EPSILON,
                f64::from(i) * 2f64.powi(-53),
            ] {
                worst = worst.max((ln(x) / x.ln() - 1.0).abs());
            }
        }
        assert!(worst < 4.5e-16, "{worst}");
        assert_eq!(ln(1.0), 0.0);
    }

    #[test]
    fn logarithm_of_1_plus_a_number_is_right_to_an_ulp() {
        let mut worst = 0f64;
        for i in 0..=200_000 {
            let part = f64::from(i) / 200_000.0;
            let x = [
                part,
                part.powi(4),
                part * 2f64.powi(-40),
                0.0,
                1.0,
                0.5,
                1e-300,
                1e-17,
            ];
            for x in x {
                let found = ln_1p(x);
                match x {
                    0.0 => assert_eq!(found, 0.0),
                    _ => worst = worst.max((found / x.ln_1p() - 1.0).abs()),
                }
            }
        }
        assert!(worst < 4.5e-16, "{worst}");
    }
}
