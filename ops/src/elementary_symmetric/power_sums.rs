//! Power sums of the tail's weights, p_m = Σ x_iᵐ, which give the polynomials:
//!
//! ```text
//! A(t) = Σ_j e_j tʲ = ∏ (1 + x_i t) = exp(p_1 t − p_2 t²/2 + p_3 t³/3 − …)
//! ```
//!
//! The first few powers are enough for polynomials of any degree where no weight is a large part of the sum; see
//! [`determine`].

use crate::elementary_symmetric::side_by_side::{OfSamples, SAMPLES};
use crate::simd::{LANES, LANES_F64, LanesF64, last_lanes, vectorized};

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

/// The sums of powers of a sample's weights, not yet added up: each lane has those of an 8th of the weights.
pub(crate) type PartialSums = [LanesF64; POWERS];

/// How many powers to sum for polynomials up to degree `k` of this many weights of at most 1: those that are not
/// needed are left out.
pub(crate) fn powers(k: usize, weights: usize) -> usize {
    if k <= POWERS {
        return k.max(FEW_POWERS);
    }
    // If all weights were equal; they seldom are, so that the bound must be far away.
    let t = k as f64 / weights as f64;
    let is_enough = k as f64 * t.powi(FEW_POWERS as i32) < 1e-2 * NEGLIGIBLE;
    if is_enough { FEW_POWERS } else { POWERS }
}

/// The sums of the first `powers` powers of the weights, from [`FEW_POWERS`] to [`POWERS`]; those of others are 0.
pub(crate) fn partial_sums(weights: &[f32], powers: usize, sums: &mut PartialSums) {
    debug_assert!((FEW_POWERS..=POWERS).contains(&powers));
    match powers {
        FEW_POWERS => few_powers(weights, sums),
        5 => five_powers(weights, sums),
        _ => all_powers(weights, sums),
    }
}

/// The sums of the first `powers` powers over all lanes of each sample; 0 for other powers, and for samples beyond those
/// given.
pub(crate) fn totals(partial: &[PartialSums], powers: usize) -> [OfSamples; POWERS] {
    let mut totals = [[0.0; SAMPLES]; POWERS];
    let mut last = [[[0.0; LANES_F64]; POWERS]; LANES_F64];
    let (vectors, others) = partial.as_chunks();
    last[..others.len()].copy_from_slice(others);
    let last = (!others.is_empty()).then_some(&last);
    for (i, partial) in vectors.iter().chain(last).enumerate() {
        let of_vector = totals_of_vector(partial, powers);
        for (totals, of_vector) in totals.iter_mut().zip(of_vector) {
            totals.as_chunks_mut().0[i] = of_vector;
        }
    }
    totals
}

vectorized! {
    fn totals_of_vector(
        partial: &[PartialSums; LANES_F64],
        powers: usize,
    ) -> [LanesF64; POWERS] {
        let mut totals = [[0.0; LANES_F64]; POWERS];
        // Not in a loop, of which LLVM would make one over powers that gathers all numbers.
        totals[0] = total(partial.each_ref().map(|sums| &sums[0]));
        totals[1] = total(partial.each_ref().map(|sums| &sums[1]));
        totals[2] = total(partial.each_ref().map(|sums| &sums[2]));
        totals[3] = total(partial.each_ref().map(|sums| &sums[3]));
        if powers > 4 {
            totals[4] = total(partial.each_ref().map(|sums| &sums[4]));
        }
        if powers > 5 {
            totals[5] = total(partial.each_ref().map(|sums| &sums[5]));
        }
        totals
    }
}

/// The sum of each vector's lanes. In each step the halves of two vectors are added, and make one vector.
#[inline(always)]
fn total([a, b, c, d, e, f, g, h]: [&LanesF64; LANES_F64]) -> LanesF64 {
    let fours = [
        halves::<4>(a, b),
        halves::<4>(c, d),
        halves::<4>(e, f),
        halves::<4>(g, h),
    ];
    let twos = [
        halves::<2>(&fours[0], &fours[1]),
        halves::<2>(&fours[2], &fours[3]),
    ];
    halves::<1>(&twos[0], &twos[1])
}

/// Adds the second half of each group of 2 · HALF lanes to the first half: the results of `a` and then those of `b`.
#[inline(always)]
fn halves<const HALF: usize>(a: &LanesF64, b: &LanesF64) -> LanesF64 {
    let mut low = [0.0; LANES_F64];
    let mut high = [0.0; LANES_F64];
    for lane in 0..LANES_F64 {
        let numbers = if lane < LANES_F64 / 2 { a } else { b };
        let lane_of_half = lane % (LANES_F64 / 2);
        let first = lane_of_half / HALF * 2 * HALF + lane_of_half % HALF;
        low[lane] = numbers[first];
        high[lane] = numbers[first + HALF];
    }
    for lane in 0..LANES_F64 {
        low[lane] += high[lane];
    }
    low
}

/// Whether the sums of the first M powers, of weights of at most `largest`, determine the polynomials up to degree `k`:
/// those of degrees up to M, and further ones as far as the powers that are left out do not matter.
///
/// Let A_j be the polynomials of all classes, and t = A_{k−1}/A_k. Leaving the powers above M out changes A_k by a factor of
/// at most exp(Σ p_m tᵐ/m), m > M, because A_{k−m}/A_k is at most tᵐ. There are two bounds of t. It falls with each class that
/// is added, and for the k highest alone, whose weights are at least 1, it is at most k. And if each class is in a random
/// subset with odds x_i t, sizes k − 1 and k are equally likely, so that the mean size is at most k (Darroch 1964), of which the
/// tail has at least p_1 t − p_2 t².
pub(crate) fn determine(sums: &[f64], largest: f64, k: usize) -> bool {
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
    fn few_powers(weights: &[f32], sums: &mut PartialSums) {
        *sums = first_powers::<FEW_POWERS>(weights);
    }
}

vectorized! {
    fn five_powers(weights: &[f32], sums: &mut PartialSums) {
        *sums = first_powers::<5>(weights);
    }
}

vectorized! {
    fn all_powers(weights: &[f32], sums: &mut PartialSums) {
        *sums = first_powers::<POWERS>(weights);
    }
}

/// The sums of the first M powers.
#[inline(always)]
fn first_powers<const M: usize>(weights: &[f32]) -> PartialSums {
    let (mut blocks, rest) = weights.as_chunks();
    let vector = rest.first_chunk().copied().unwrap_or([0.0; LANES]);
    let after = last_lanes(weights, 0.0);
    let mut last = [0.0; SIDE_BY_SIDE];
    last[..LANES].copy_from_slice(&vector);
    last[LANES..].copy_from_slice(&after);
    let mut of_run = [[TINY; SIDE_BY_SIDE]; POWERS];
    add::<M>(&mut of_run, &last);
    let mut sums = [[0.0; LANES_F64]; POWERS];
    loop {
        let (run, others) = blocks.split_at(blocks.len().min(RUN));
        for block in run {
            add::<M>(&mut of_run, block);
        }
        // Not in a loop, of which LLVM would make one over lanes that gathers all powers.
        let [p1, p2, p3, p4, p5, p6] = &of_run;
        add_run(&mut sums[0], p1);
        add_run(&mut sums[1], p2);
        add_run(&mut sums[2], p3);
        add_run(&mut sums[3], p4);
        if M > 4 {
            add_run(&mut sums[4], p5);
        }
        if M > 5 {
            add_run(&mut sums[5], p6);
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
            if M > 5 {
                sums[5][lane] = x4.mul_add(x2, sums[5][lane]);
            }
        }
    }
}

/// Adds the sums of a run.
#[inline(always)]
fn add_run(sums: &mut LanesF64, of_run: &[f32; SIDE_BY_SIDE]) {
    let mut wide = [0f64; LANES];
    for lane in 0..LANES {
        wide[lane] = (of_run[lane] + of_run[LANES + lane]).into();
    }
    for lane in 0..LANES_F64 {
        sums[lane] += wide[lane] + wide[LANES_F64 + lane];
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::elementary_symmetric::log_esf;
    use crate::elementary_symmetric::side_by_side::lanes::newton_identities;

    #[test]
    fn sums_of_any_number_of_weights() {
        for len in [0usize, 1, 15, 16, 17, 31, 32, 33, 100, 1024, 1100, 5000] {
            let weights: Vec<f32> = (0..len).map(|i| (i * 37 % 101) as f32 / 101.0).collect();
            // The sums of two samples are added up beside others.
            for powers in FEW_POWERS..=POWERS {
                let mut sums = [PartialSums::default(); 10];
                partial_sums(&weights, powers, &mut sums[2]);
                partial_sums(&weights, powers, &mut sums[9]);
                for (m, found) in (1..).zip(totals(&sums, powers)) {
                    let powers_of = weights.iter().map(|&w| f64::from(w).powi(m));
                    let expected = powers_of.sum::<f64>() * f64::from(m as usize <= powers);
                    let error = (found[2] - expected).abs();
                    assert!(
                        error <= 1e-6 * expected + 1e-13,
                        "{len}: {found:?} {expected}"
                    );
                    let mut expected = [0.0; SAMPLES];
                    (expected[2], expected[9]) = (found[2], found[2]);
                    assert_eq!(found, expected);
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
                    let mut all = [[0.0; SAMPLES]; POWERS];
                    for (all, sum) in all.iter_mut().zip(&sums) {
                        all[0] = *sum;
                    }
                    let mut e = vec![[0.0; LANES_F64]; k + 1];
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
