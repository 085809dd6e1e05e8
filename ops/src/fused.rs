//! The passes of the smooth top-k SVM over all classes, in `f32` and vectorised.
//!
//! Classes are split in two. The head, the 2k wrong classes with the highest scores, is left to
//! [`Esf`](crate::esf::Esf), which treats each of them on its own in `f64`. The tail, all other wrong
//! classes, is treated here, with weights x_i = c · exp(z_i − z_(k)) relative to the k-th highest.
//!
//! - Forward: the elementary symmetric polynomials T_0, …, T_k of the tail, by the recursion
//!   T_m ← T_m + x_i T_{m−1}: sums of positive terms. Every lane of a vector has polynomials of its
//!   own, for every 16th class; lanes are merged by products of polynomials in `f64`. The constant c
//!   keeps Σ x_i at most k, so that T_m is at most kᵐ/m!.
//! - Backward: with e_0, …, e_k the polynomials of head and tail together, those without class i are
//!   e_j − x_i e_{j−1} + x_i² e_{j−2} − …, so that the derivatives for the whole tail are one polynomial
//!   in x_i whose coefficients are the same for all classes. This subtracts, but what it subtracts is
//!   the fraction π⁽ʲ⁾_i of what is there; and since the π⁽ᵏ⁾_i sum to k and follow the order of the
//!   scores, a class with 2k others above it has π⁽ᵏ⁾_i < ½.
//!
//! Which instructions are used is found out when the program runs. All variants do the same
//! operations in the same order, fused multiply-adds included, and give the same results to the bit.

use multiversion::multiversion;

/// Classes treated side by side.
pub(crate) const LANES: usize = 16;

/// Groups of classes that [`group_maxima`] tells apart.
pub(crate) const GROUPS: usize = 4 * LANES;

/// Largest k that is treated here: T_m fits `f32` with room to spare, and there are 2k groups.
pub(crate) const MAX_K: usize = 32;

type Lanes = [f32; LANES];

/// Whether all scores are finite.
#[multiversion(targets("x86_64+avx512f+avx512dq+fma", "x86_64+avx2+fma", "aarch64+neon"))]
pub(crate) fn all_finite(scores: &[f32]) -> bool {
    // Zero times a finite number is zero, and NaN times any other.
    let (vectors, rest) = scores.as_chunks::<LANES>();
    let mut sum = [0.0; LANES];
    for vector in vectors {
        for lane in 0..LANES {
            sum[lane] += 0.0 * vector[lane];
        }
    }
    for &score in rest {
        sum[0] += 0.0 * score;
    }
    sum.iter().sum::<f32>() == 0.0
}

/// The largest score, of one or more.
#[multiversion(targets("x86_64+avx512f+avx512dq+fma", "x86_64+avx2+fma", "aarch64+neon"))]
pub(crate) fn max(scores: &[f32]) -> f32 {
    let (vectors, rest) = scores.as_chunks::<LANES>();
    let mut max = [f32::NEG_INFINITY; LANES];
    for vector in vectors {
        for lane in 0..LANES {
            let score = vector[lane];
            max[lane] = if score > max[lane] { score } else { max[lane] };
        }
    }
    max.iter().chain(rest).copied().fold(f32::MIN, f32::max)
}

/// Sets `powers` to exp(s − `reference`) for each score s, at most 1.
#[multiversion(targets("x86_64+avx512f+avx512dq+fma", "x86_64+avx2+fma", "aarch64+neon"))]
pub(crate) fn exp_differences(scores: &[f32], reference: f32, powers: &mut [f32]) {
    for (power, &score) in powers.iter_mut().zip(scores) {
        *power = exp_nonpositive(score - reference);
    }
}

/// Their sum, of numbers of like sign.
#[multiversion(targets("x86_64+avx512f+avx512dq+fma", "x86_64+avx2+fma", "aarch64+neon"))]
pub(crate) fn sum(values: &[f32]) -> f64 {
    // Few enough in a row that their rounding errors stay small.
    values
        .chunks(32 * LANES)
        .map(|values| {
            let (vectors, rest) = values.as_chunks::<LANES>();
            let mut sum = [0.0; LANES];
            for vector in vectors {
                for lane in 0..LANES {
                    sum[lane] += vector[lane];
                }
            }
            sum.iter()
                .chain(rest)
                .map(|&sum| f64::from(sum))
                .sum::<f64>()
        })
        .sum()
}

/// Multiplies each of them by `factor`.
#[multiversion(targets("x86_64+avx512f+avx512dq+fma", "x86_64+avx2+fma", "aarch64+neon"))]
pub(crate) fn scale(values: &mut [f32], factor: f32) {
    for value in values {
        *value *= factor;
    }
}

/// Largest score of each of [`GROUPS`] groups of classes: every 64th.
#[multiversion(targets("x86_64+avx512f+avx512dq+fma", "x86_64+avx2+fma", "aarch64+neon"))]
pub(crate) fn group_maxima(scores: &[Lanes]) -> [f32; GROUPS] {
    let mut maxima = [f32::NEG_INFINITY; GROUPS];
    for scores in scores.as_flattened().chunks(GROUPS) {
        for (max, &score) in maxima.iter_mut().zip(scores) {
            *max = if score > *max { score } else { *max };
        }
    }
    maxima
}

/// Appends the indices of all scores of at least `threshold`.
#[multiversion(targets("x86_64+avx512f+avx512dq+fma", "x86_64+avx2+fma", "aarch64+neon"))]
pub(crate) fn indices_from(scores: &[Lanes], threshold: f32, indices: &mut Vec<usize>) {
    for (i, vector) in scores.iter().enumerate() {
        // Nearly always none: one branch for all lanes.
        if vector
            .iter()
            .fold(false, |any, &score| any | (score >= threshold))
        {
            let lanes = (0..LANES).filter(|&lane| vector[lane] >= threshold);
            indices.extend(lanes.map(|lane| i * LANES + lane));
        }
    }
}

/// Replaces each score s by exp((s − `reference`)/2 · `scale`), at most 1; returns their sum.
#[multiversion(targets("x86_64+avx512f+avx512dq+fma", "x86_64+avx2+fma", "aarch64+neon"))]
pub(crate) fn weights(scores: &mut [Lanes], reference: f32, scale: f32) -> f32 {
    let mut sum = [0.0; LANES];
    for vector in scores {
        for lane in 0..LANES {
            // Halves, because the difference of two scores may overflow.
            let half = vector[lane].mul_add(0.5, -0.5 * reference);
            vector[lane] = exp_nonpositive(half * scale);
            sum[lane] += vector[lane];
        }
    }
    sum.iter().sum()
}

/// exp(min(x, 0)), to within 1 ulp or so; 0 where that is below the normal numbers, and at −∞.
#[inline(always)]
fn exp_nonpositive(x: f32) -> f32 {
    const LOWEST: f32 = -87.0;
    // Adding this rounds to a whole number, which is then in the lowest bits.
    const ROUND: f32 = 12_582_912.0;
    // ln 2 in two parts, the first with few digits.
    const LN_2: [f32; 2] = [0.693_359_4, -2.121_944_4e-4];
    let clamped = if x > LOWEST { x } else { LOWEST };
    let clamped = if clamped < 0.0 { clamped } else { 0.0 };
    let shifted = clamped.mul_add(std::f32::consts::LOG2_E, ROUND);
    let whole = shifted - ROUND;
    let r = whole.mul_add(-LN_2[1], whole.mul_add(-LN_2[0], clamped));
    // Taylor's series to the seventh power: |r| is at most ½ ln 2.
    let p = r.mul_add(1.0 / 5040.0, 1.0 / 720.0);
    let p = p.mul_add(r, 1.0 / 120.0);
    let p = p.mul_add(r, 1.0 / 24.0);
    let p = p.mul_add(r, 1.0 / 6.0);
    let p = p.mul_add(r, 0.5);
    let p = p.mul_add(r, 1.0);
    let p = p.mul_add(r, 1.0);
    // Adds the whole number to the exponent of p.
    let power = f32::from_bits(p.to_bits().wrapping_add(shifted.to_bits() << 23));
    if x > LOWEST { power } else { 0.0 }
}

/// T_0, …, T_k, where k is the length of `esf` less one, of the weights times `scale`.
///
/// `carry` is a buffer.
#[multiversion(targets("x86_64+avx512f+avx512dq+fma", "x86_64+avx2+fma", "aarch64+neon"))]
pub(crate) fn esf(weights: &[Lanes], scale: f32, carry: &mut Vec<Lanes>, esf: &mut [f64]) {
    let mut t = [[0.0; LANES]; MAX_K + 1];
    let t = &mut t[..esf.len()];
    t[0] = [1.0; LANES];
    // Degrees are treated in blocks that fit into registers. What a block needs of the one below
    // it, the highest polynomial there before each step, is carried over in memory.
    carry.clear();
    if esf.len() - 1 > BLOCK {
        carry.resize(weights.len(), [1.0; LANES]);
    }
    for t in t[1..].chunks_mut(BLOCK) {
        match t.len() {
            1 => recursion::<1>(weights, scale, carry, t),
            2 => recursion::<2>(weights, scale, carry, t),
            3 => recursion::<3>(weights, scale, carry, t),
            4 => recursion::<4>(weights, scale, carry, t),
            5 => recursion::<5>(weights, scale, carry, t),
            6 => recursion::<6>(weights, scale, carry, t),
            7 => recursion::<7>(weights, scale, carry, t),
            _ => recursion::<BLOCK>(weights, scale, carry, t),
        }
    }
    merge(t, esf);
}

/// Degrees treated at once.
const BLOCK: usize = 8;

/// The recursion for K consecutive degrees. `carry` holds the polynomial of the degree below the first
/// before each step, and is replaced by that of the last; empty, it stands for T_0.
#[inline(always)]
fn recursion<const K: usize>(
    weights: &[Lanes],
    scale: f32,
    carry: &mut [Lanes],
    result: &mut [Lanes],
) {
    let mut t: [Lanes; K] = [[0.0; LANES]; K];
    let step = |t: &mut [Lanes; K], w: &Lanes, below: &Lanes| {
        for lane in 0..LANES {
            let x = w[lane] * scale;
            for m in (1..K).rev() {
                t[m][lane] = x.mul_add(t[m - 1][lane], t[m][lane]);
            }
            t[0][lane] = x.mul_add(below[lane], t[0][lane]);
        }
    };
    if carry.is_empty() {
        for w in weights {
            step(&mut t, w, &[1.0; LANES]);
        }
    } else {
        for (w, carry) in weights.iter().zip(carry) {
            let below = *carry;
            *carry = t[K - 1];
            step(&mut t, w, &below);
        }
    }
    result.copy_from_slice(&t);
}

/// Product of the lanes' polynomials, in halves: the upper lanes times the lower ones, until one is
/// left.
#[inline(always)]
fn merge(lanes: &[Lanes], product: &mut [f64]) {
    let mut t = [[0.0; LANES / 2]; MAX_K + 1];
    let t = &mut t[..lanes.len()];
    // From the highest degree down: a product reads lower degrees only.
    for j in (0..t.len()).rev() {
        for m in 0..=j {
            for lane in 0..LANES / 2 {
                let (low, high) = (lanes[m][lane], lanes[j - m][lane + LANES / 2]);
                t[j][lane] = f64::from(low).mul_add(f64::from(high), t[j][lane]);
            }
        }
    }
    multiply_halves::<{ LANES / 4 }>(t);
    multiply_halves::<{ LANES / 8 }>(t);
    multiply_halves::<{ LANES / 16 }>(t);
    for (product, t) in product.iter_mut().zip(t) {
        *product = t[0];
    }
}

/// Multiplies the first `HALF` polynomials by the next `HALF`, in place.
#[inline(always)]
fn multiply_halves<const HALF: usize>(t: &mut [[f64; LANES / 2]]) {
    for j in (0..t.len()).rev() {
        let mut sum = [0.0; HALF];
        for m in 0..=j {
            for lane in 0..HALF {
                sum[lane] = t[m][lane].mul_add(t[j - m][lane + HALF], sum[lane]);
            }
        }
        t[j][..HALF].copy_from_slice(&sum);
    }
}

/// Replaces each weight w by x · Σ_l `coefficients`_l · xˡ, with x = w · `scale`.
#[multiversion(targets("x86_64+avx512f+avx512dq+fma", "x86_64+avx2+fma", "aarch64+neon"))]
pub(crate) fn derivatives(weights: &mut [f32], scale: f32, coefficients: &[f32]) {
    match *coefficients {
        [a] => horner(weights, scale, [a]),
        [a, b] => horner(weights, scale, [a, b]),
        [a, b, c] => horner(weights, scale, [a, b, c]),
        [a, b, c, d] => horner(weights, scale, [a, b, c, d]),
        [a, b, c, d, e] => horner(weights, scale, [a, b, c, d, e]),
        _ => {
            for weights in weights.chunks_mut(GROUPS) {
                horner_by_coefficient(weights, scale, coefficients);
            }
        }
    }
}

/// Weight by weight, for few coefficients, which stay in registers.
#[inline(always)]
fn horner<const K: usize>(weights: &mut [f32], scale: f32, coefficients: [f32; K]) {
    for w in weights {
        let x = *w * scale;
        let sum = coefficients
            .iter()
            .rev()
            .fold(0f32, |sum, &coefficient| sum.mul_add(x, coefficient));
        *w = sum * x;
    }
}

/// Coefficient by coefficient, for few weights, which stay in the cache.
#[inline(always)]
fn horner_by_coefficient(weights: &mut [f32], scale: f32, coefficients: &[f32]) {
    let mut sum = [0f32; GROUPS];
    for &coefficient in coefficients.iter().rev() {
        for (sum, &w) in sum.iter_mut().zip(&*weights) {
            *sum = sum.mul_add(w * scale, coefficient);
        }
    }
    for (w, sum) in weights.iter_mut().zip(sum) {
        *w *= scale * sum;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exponential_is_right_to_an_ulp() {
        let mut worst = 0f64;
        for i in 0..200_000 {
            let x = -87.0 * (i as f32 + 0.5) / 200_000.0;
            let expected = f64::from(x).exp();
            let found = f64::from(exp_nonpositive(x));
            worst = worst.max((found / expected - 1.0).abs());
        }
        assert!(worst < 1.2e-7, "{worst}");
        let ends = [f32::NEG_INFINITY, 0.0, 3.0, -100.0].map(exp_nonpositive);
        assert_eq!(ends, [0.0, 1.0, 1.0, 0.0]);
    }

    #[test]
    fn polynomials_of_equal_weights_are_binomials() {
        for k in [1, 2, 3, 4, 5, 6, 7, 8, 9, 12, 16, 20] {
            let mut weights = vec![[0.5; LANES]; 3];
            weights[2][9..].fill(0.0);
            let mut found = vec![f64::NAN; k + 1];
            esf(&weights, 2.0, &mut Vec::new(), &mut found);
            let mut binomial = 1.0;
            for (j, found) in found.iter().enumerate() {
                assert!((found / binomial - 1.0).abs() < 1e-6, "k={k} j={j}");
                binomial *= (41 - j) as f64 / (j + 1) as f64;
            }
        }
    }

    #[test]
    fn derivatives_are_a_polynomial_in_the_weight() {
        for k in 1..=8 {
            let coefficients: Vec<f32> = (0..k).map(|l| 1.0 - 0.3 * l as f32).collect();
            let mut weights = vec![0.25; 20];
            derivatives(&mut weights, 2.0, &coefficients);
            let expected: f32 = coefficients
                .iter()
                .zip(1..)
                .map(|(c, power)| c * 0.5f32.powi(power))
                .sum();
            assert!((weights[17] - expected).abs() < 1e-6, "k={k}");
        }
    }

    #[test]
    fn scores_that_are_not_finite_are_seen_anywhere() {
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
}
