//! Power sums of the tail's weights, p_m = Σ x_iᵐ, which give the polynomials:
//!
//! ```text
//! A(t) = Σ_j e_j tʲ = ∏ (1 + x_i t) = exp(p_1 t − p_2 t²/2 + p_3 t³/3 − …)
//! ```
//!
//! The first few powers are enough for polynomials of any degree where no weight is a large part of the sum; see
//! [`determine`].

use crate::simd::{LANES, fold, last_lanes, vectorized};

/// Number of power sums.
pub(crate) const POWERS: usize = 6;

/// Number of power sums that are enough for many classes.
const FEW_POWERS: usize = 4;

/// What leaving powers out may add to the logarithm of a polynomial: less than rounding errors of `f32` do.
const NEGLIGIBLE: f64 = 1e-8;

/// Numbers whose powers are added side by side: two vectors, because each addition waits for the one before it in
/// the same vector.
const SIDE_BY_SIDE: usize = 2 * LANES;

/// Additions in `f32` after which the sums go to `f64`, so that rounding errors stay small.
const RUN: usize = 32;

/// Keeps squares and sums in the range of normal numbers, because many processors take far longer for those below it.
const TINY: f32 = 1e-18;

/// p_1, p_2, … of the weights, each of at most `largest`, which is at most 1. Those that are not needed are 0.
///
/// `None` if these sums do not determine the polynomials up to degree `k`.
pub(crate) fn power_sums(weights: &[f32], largest: f32, k: usize) -> Option<[f64; POWERS]> {
    // If all weights were equal; they seldom are, so that the bound must be far away.
    let t = k as f64 / weights.len() as f64;
    let is_enough = k as f64 * t.powi(FEW_POWERS as i32) < 1e-2 * NEGLIGIBLE;
    if k <= FEW_POWERS || is_enough {
        let sums = few_powers(weights);
        if determine(&sums[..FEW_POWERS], largest.into(), k) {
            return Some(sums);
        }
    }
    let sums = all_powers(weights);
    determine(&sums, largest.into(), k).then_some(sums)
}

/// Whether the sums of the first M powers, of weights of at most `largest`, determine the polynomials up to degree `k`:
/// those of degrees up to M, and further ones as far as the powers that are left out do not matter.
///
/// Let A_j be the polynomials of all classes, and t = A_{k−1}/A_k. Leaving the powers above M out changes A_k by a factor of
/// at most exp(Σ p_m tᵐ/m), m > M, because A_{k−m}/A_k is at most tᵐ. There are two bounds of t. It falls with each class that
/// is added, and for the k highest alone, whose weights are at least 1, it is at most k. And if each class is in a random
/// subset with odds x_i t, sizes k − 1 and k are equally likely, so that the mean size is at most k (Darroch 1964), of which the
/// tail has at least p_1 t − p_2 t².
fn determine(sums: &[f64], largest: f64, k: usize) -> bool {
    let powers = sums.len();
    if k <= powers {
        return true;
    }
    let k = k as f64;
    let discriminant = sums[0] * sums[0] - 4.0 * k * sums[1];
    let mut t = k;
    if discriminant >= 0.0 {
        t = t.min(2.0 * k / (sums[0] + discriminant.sqrt()));
    }
    // Each term that is left out is at most `ratio` times the one before it.
    let ratio = largest * t;
    let first = sums[powers - 1] * t.powi(powers as i32) * ratio / (powers + 1) as f64;
    ratio < 0.5 && first / (1.0 - ratio) < NEGLIGIBLE
}

vectorized! {
    fn few_powers(weights: &[f32]) -> [f64; POWERS] {
        first_powers::<FEW_POWERS>(weights)
    }
}

vectorized! {
    fn all_powers(weights: &[f32]) -> [f64; POWERS] {
        first_powers::<POWERS>(weights)
    }
}

/// The sums of the first M powers.
#[inline(always)]
fn first_powers<const M: usize>(weights: &[f32]) -> [f64; POWERS] {
    let (mut blocks, rest) = weights.as_chunks();
    let mut last = [0.0; SIDE_BY_SIDE];
    if let Some(vector) = rest.first_chunk::<LANES>() {
        last[..LANES].copy_from_slice(vector);
    }
    last[LANES..].copy_from_slice(&last_lanes(weights, 0.0));
    let mut of_run = [[TINY; SIDE_BY_SIDE]; POWERS];
    add::<M>(&mut of_run, &last);
    let mut sums = [0.0; POWERS];
    loop {
        let (run, others) = blocks.split_at(blocks.len().min(RUN));
        for block in run {
            add::<M>(&mut of_run, block);
        }
        // Not in a loop, of which LLVM would make one over lanes that gathers all powers.
        let [p1, p2, p3, p4, p5, p6] = &of_run;
        sums[0] += total(p1);
        sums[1] += total(p2);
        sums[2] += total(p3);
        sums[3] += total(p4);
        if M > FEW_POWERS {
            sums[4] += total(p5);
            sums[5] += total(p6);
        }
        if others.is_empty() {
            return sums;
        }
        blocks = others;
        of_run = [[TINY; SIDE_BY_SIDE]; POWERS];
    }
}

/// Adds the first M powers of numbers.
#[inline(always)]
fn add<const M: usize>(sums: &mut [[f32; SIDE_BY_SIDE]; POWERS], numbers: &[f32; SIDE_BY_SIDE]) {
    for lane in 0..SIDE_BY_SIDE {
        let x = numbers[lane];
        let x2 = x.mul_add(x, TINY);
        sums[0][lane] += x;
        sums[1][lane] += x2;
        sums[2][lane] = x2.mul_add(x, sums[2][lane]);
        if M == FEW_POWERS {
            sums[3][lane] = x2.mul_add(x2, sums[3][lane]);
        } else {
            let x4 = x2 * x2;
            sums[3][lane] += x4;
            sums[4][lane] = x4.mul_add(x, sums[4][lane]);
            sums[5][lane] = x4.mul_add(x2, sums[5][lane]);
        }
    }
}

/// The sum of all lanes.
#[inline(always)]
fn total(lanes: &[f32; SIDE_BY_SIDE]) -> f64 {
    let mut wide = [0f64; LANES];
    for lane in 0..LANES {
        wide[lane] = (lanes[lane] + lanes[LANES + lane]).into();
    }
    fold(wide, |a, b| a + b)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::elementary_symmetric::log_esf;
    use crate::elementary_symmetric::side_by_side::newton_identities;

    #[test]
    fn sums_of_any_number_of_weights() {
        for len in [0usize, 1, 15, 16, 17, 31, 32, 33, 100, 1024, 1100, 5000] {
            let weights: Vec<f32> = (0..len).map(|i| (i * 37 % 101) as f32 / 101.0).collect();
            for (found, powers) in [
                (few_powers(&weights), FEW_POWERS),
                (all_powers(&weights), POWERS),
            ] {
                for (m, found) in (1..).zip(found) {
                    let powers_of = weights.iter().map(|&w| f64::from(w).powi(m));
                    let expected = powers_of.sum::<f64>() * f64::from(m as usize <= powers);
                    let error = (found - expected).abs();
                    assert!(
                        error <= 1e-6 * expected + 1e-13,
                        "{len}: {found} {expected}"
                    );
                }
            }
        }
    }

    /// Wrong classes with weights of many kinds, in descending order.
    fn log_weights(case: usize) -> Vec<f64> {
        let classes = [60, 150, 400, 1000, 3000][case % 5];
        let spread = [0.0, 0.3, 1.0, 3.0, 10.0, 40.0][case / 5 % 6];
        let skew = [0.3, 1.0, 4.0][case / 30 % 3];
        let quantiles = (0..classes).map(|i| (i as f64 + 0.5) / classes as f64);
        quantiles.map(|q| -spread * f64::powf(q, skew)).collect()
    }

    #[test]
    fn sums_that_determine_the_polynomials_give_their_ratio() {
        let (mut determined, mut others) = (0, 0);
        for case in 0..90 {
            let z = log_weights(case);
            for k in [7, 8, 10, 14, 20, 32] {
                let head = k + k / 2 + 1;
                let relative = |z_i: &f64| z_i - z[k - 1];
                let tail: Vec<f64> = z[head..].iter().map(relative).map(f64::exp).collect();
                for powers in [FEW_POWERS, POWERS] {
                    let sum_of = |m| tail.iter().map(|x| x.powi(m)).sum();
                    let sums: Vec<f64> = (1..=powers as i32).map(sum_of).collect();
                    let largest = relative(&z[head - 1]).exp();
                    if !determine(&sums, largest, k) {
                        others += 1;
                        continue;
                    }
                    determined += 1;
                    let mut all = [[0.0; 8]; POWERS];
                    for (all, sum) in all.iter_mut().zip(&sums) {
                        all[0] = *sum;
                    }
                    let mut e = vec![[0.0; 8]; k + 1];
                    newton_identities(&all, &mut e);
                    for x in z[..head].iter().map(relative).map(f64::exp) {
                        for j in (1..=k).rev() {
                            e[j][0] += x * e[j - 1][0];
                        }
                    }
                    let esf = log_esf(&z, k).unwrap();
                    for j in [k - 1, k] {
                        let expected = esf[j] - j as f64 * z[k - 1];
                        let error = (e[j][0].ln() - expected).abs();
                        assert!(error < NEGLIGIBLE, "case {case}, k={k}, {powers}: {error}");
                    }
                }
            }
        }
        assert!(determined > 200 && others > 200, "{determined} {others}");
    }
}
