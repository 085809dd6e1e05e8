//! Normal and uniform noise that is a function of its indices: stateless and the same in any order, and on every
//! machine.
//!
//! A value is determined by a seed, a sample, a draw and a class, and can be computed on its own.
//! Integer arithmetic is modulo 2⁶⁴, with γ = 0x9E3779B97F4A7C15, logical shifts, and ⊕ for
//! exclusive or:
//!
//! ```text
//! mix(x):  x ← (x ⊕ (x >> 30)) · 0xBF58476D1CE4E5B9
//!          x ← (x ⊕ (x >> 27)) · 0x94D049BB133111EB
//!          x ⊕ (x >> 31)
//! key       = mix(mix(mix(seed) + γ·(sample + 1)) + γ·(draw + 1))
//! word(i)   = mix(key + γ·(i + 1))
//! u         = ((word(2⌊class/2⌋) >> 11) + 1) · 2⁻⁵³        in (0, 1]
//! v         = (word(2⌊class/2⌋ + 1) >> 11) · 2⁻⁵³          in [0, 1)
//! z         = √(−2 ln u) · cos(2πv) for even classes, sin(2πv) for odd ones
//! ```
//!
//! `mix` is the finalizer of SplitMix64 (Steele, Lea and Flood, OOPSLA 2014), and the words of a key are
//! a stream of that generator; z is the transform of Box and Muller (1958), in `f64`. Two's complement
//! 64-bit integers work as well as unsigned ones: products and sums wrap to the same bits, a logical
//! shift by b is an arithmetic one followed by a mask of the lower 64 − b bits, and the integers that
//! are converted to floating point are below 2⁵³ + 1. Here ln, cos and sin are polynomials, and z is the same to the last
//! bit on all processors. Other implementations, such as that on a GPU, take their own functions, so that their z may
//! differ in the last bits; where that decides between two scores of a draw that are all but equal, the gradient
//! differs by 1/draws.

use crate::simd::{self, PAIRS};

const GAMMA: u64 = 0x9E37_79B9_7F4A_7C15;
const UNIT: f64 = 1.0 / (1u64 << 53) as f64;

/// The standard normal value of these indices.
pub fn standard_normal(seed: u64, sample: u64, draw: u64, class: u64) -> f64 {
    normals(key(seed, sample, draw), class / 2)[(class % 2) as usize]
}

/// Sets `values` to those of classes 0, 1, … for a sample and draw.
pub(crate) fn standard_normals(seed: u64, sample: u64, draw: u64, values: &mut [f64]) {
    let key = key(seed, sample, draw);
    for (values, pair) in values.chunks_mut(2 * PAIRS).zip((0..).step_by(PAIRS)) {
        values.copy_from_slice(&normals(key, pair)[..values.len()]);
    }
}

/// A number that is uniform in [0, 1): `(word(0) >> 11) · 2⁻⁵³` of these indices.
pub fn uniform(seed: u64, sample: u64, draw: u64) -> f64 {
    (word(key(seed, sample, draw), 0) >> 11) as f64 * UNIT
}

fn key(seed: u64, sample: u64, draw: u64) -> u64 {
    word(word(mix(seed), sample), draw)
}

fn word(key: u64, i: u64) -> u64 {
    mix(key.wrapping_add(GAMMA.wrapping_mul(i.wrapping_add(1))))
}

fn mix(mut x: u64) -> u64 {
    x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    x ^ (x >> 31)
}

/// The values of classes 2 · `pair`, 2 · `pair` + 1, ….
fn normals(key: u64, pair: u64) -> [f64; 2 * PAIRS] {
    let word = |i: u64| word(key, i) >> 11;
    let first = |lane: usize| pair.wrapping_add(lane as u64).wrapping_mul(2);
    let u = std::array::from_fn(|lane| (word(first(lane)) + 1) as f64 * UNIT);
    let v = std::array::from_fn(|lane| word(first(lane).wrapping_add(1)) as f64 * UNIT);
    simd::normals(&u, &v)
}

#[cfg(test)]
mod tests {
    use std::f64::consts::TAU;

    use super::*;

    #[test]
    fn words_match_splitmix64() {
        // The first outputs of the generator of Steele, Lea and Flood for seed 1234567.
        let expected = [6_457_827_717_110_365_317, 3_203_168_211_198_807_973];
        assert_eq!([word(1_234_567, 0), word(1_234_567, 1)], expected);
    }

    #[test]
    fn values_do_not_depend_on_the_order() {
        let mut all = [f64::NAN; 45];
        standard_normals(7, 3, 2, &mut all);
        for class in (0..45).rev() {
            let value = standard_normal(7, 3, 2, class);
            assert_eq!(value, all[class as usize]);
        }
    }

    #[test]
    fn values_agree_with_another_library() {
        // Computed with another library's functions.
        let expected = [
            ((0, 0, 0, 0), 1.954_974_411_642_042_9),
            ((0, 0, 0, 1), -0.358_919_583_075_487_16),
            ((42, 3, 1, 7), 1.192_768_518_167_929_5),
            ((u64::MAX, 255, 9, 20_840), -1.067_349_881_100_348_6),
        ];
        for ((seed, sample, draw, class), expected) in expected {
            let z = standard_normal(seed, sample, draw, class);
            assert!(
                (z - expected).abs() < 1e-15,
                "{seed} {sample} {draw} {class}: {z}"
            );
        }
    }

    #[test]
    fn normal_and_independent() {
        // Any of the four coordinates may vary; each series is a sample of its own.
        let series: [fn(u64) -> f64; 5] = [
            |i| standard_normal(i, 0, 0, 0),
            |i| standard_normal(1, i, 0, 1),
            |i| standard_normal(1, 0, i, 2),
            |i| standard_normal(1, 0, 0, i),
            |i| standard_normal(i / 1000, i / 100 % 10, i / 10 % 10, i % 10),
        ];
        const COUNT: usize = 40_000;
        let n = COUNT as f64;
        for (which, value) in series.iter().enumerate() {
            let values: Vec<f64> = (0..COUNT as u64).map(value).collect();
            let moment = |power| values.iter().map(|z| z.powi(power)).sum::<f64>() / n;
            // Five standard deviations of the sample moments of a normal distribution.
            for (power, expected, variance) in
                [(1, 0.0, 1.0), (2, 1.0, 2.0), (3, 0.0, 15.0), (4, 3.0, 96.0)]
            {
                let error: f64 = moment(power) - expected;
                assert!(
                    error.abs() < 5.0 * f64::sqrt(variance / n),
                    "{which} {power}"
                );
            }
            for lag in [1, 2, 10] {
                let products = values.iter().zip(&values[lag..]).map(|(a, b)| a * b);
                assert!(
                    products.sum::<f64>().abs() < 5.0 * n.sqrt(),
                    "{which} {lag}"
                );
            }
            // Kolmogorov and Smirnov: beyond 2/√n with a probability of 7e-4.
            let mut sorted = values;
            sorted.sort_by(f64::total_cmp);
            for (i, z) in sorted.iter().enumerate().step_by(97) {
                let distance = (i as f64 + 0.5) / n - normal_cdf(*z);
                assert!(distance.abs() < 2.0 / n.sqrt(), "{which} {z}");
            }
        }
    }

    /// The integral of the density by Simpson's rule.
    fn normal_cdf(z: f64) -> f64 {
        let density = |x: f64| (-0.5 * x * x).exp() / TAU.sqrt();
        let step = z / 200.0;
        let sum: f64 = (0..=200)
            .map(|i| {
                let weight = match i {
                    0 | 200 => 1.0,
                    _ if i % 2 == 1 => 4.0,
                    _ => 2.0,
                };
                weight * density(f64::from(i) * step)
            })
            .sum();
        0.5 + sum * step / 3.0
    }
}
