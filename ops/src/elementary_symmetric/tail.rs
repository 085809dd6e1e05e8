//! The tail of the classes, in `f32` vectors.
//!
//! For `f32` scores the smooth top-k SVM splits the wrong classes in two. The head, some 1.5 k classes with
//! the highest scores, is computed class by class in `f64`, [`side_by_side`](super::side_by_side) with those of
//! other samples. The tail, all other wrong classes, is computed here, with weights x_i = c · exp(z_i − z_(k)) relative
//! to the k-th highest.
//!
//! - Forward: the elementary symmetric polynomials e_0, …, e_k of the tail: from its [power
//!   sums](super::power_sums) if they determine them, and otherwise by the recursion
//!   e_j ← e_j + x_i e_{j−1}: sums of positive terms. Each lane of a vector has its own polynomials, of a
//!   16th of the classes; `side_by_side` merges the lanes by products of polynomials in `f64`. The constant c is 1; or if e_k
//!   could overflow, it keeps Σ x_i at most k, so that e_j is at most kʲ/j!.
//! - Backward: with e_0, …, e_k now those of head and tail together, the polynomials without class i are
//!   e_j − x_i e_{j−1} + x_i² e_{j−2} − …, so that the derivatives for the whole tail are one polynomial
//!   in x_i whose coefficients are the same for all classes. This subtracts. Divided by e_j, each term is
//!   at most j/(h − j + 1) times the next, where h is the number of classes above class i. With all of the
//!   head above it, no term exceeds k/2, so that the error of the gradient, which is 1/k of the result, is a
//!   few roundings. High powers of x_i that are below those are left out.

use crate::elementary_symmetric::side_by_side::SAMPLES;
use crate::simd::{LANES, Lanes, last_lanes, vectorized};

/// Number of classes in the head, if there are as many.
pub(crate) fn head_size(k: usize) -> usize {
    k + k / 2 + 1
}

/// Largest k that is computed here: e_j fits `f32` with room to spare.
pub(crate) const MAX_K: usize = 32;

/// The polynomials of a sample; reuses its buffers.
#[derive(Debug, Default)]
pub(crate) struct Polynomials {
    /// e_1, …, e_k, for a 16th of the weights in each lane.
    pub(crate) lanes: Vec<Lanes>,
    carry: Vec<Lanes>,
}

/// Whether the lanes' e_0, …, e_k of this many weights of at most 1 fit `f32`.
pub(crate) fn fits_unscaled(k: usize, weights: usize) -> bool {
    // e_j is at most the number of subsets of j weights.
    let of_lane = weights.div_ceil(LANES) as f64;
    let mut subsets = 1.0;
    (0..k).all(|j| {
        subsets *= (of_lane - j as f64) / (j + 1) as f64;
        subsets < 1e30
    })
}

vectorized! {
    /// Computes e_1, …, e_k of the weights times `scale`.
    pub(crate) fn polynomials(weights: &[f32], k: usize, scale: f32, result: &mut Polynomials) {
        let Polynomials { lanes, carry } = result;
        lanes.resize(k, [0.0; LANES]);
        let (vectors, _) = weights.as_chunks::<LANES>();
        let last = last_lanes(weights, 0.0);
        let weights = (vectors, &last);
        // Degrees are computed in blocks that fit into registers. Each block needs the highest polynomial
        // of the block below it before each step; those are carried over in memory.
        carry.resize(if k > BLOCK { vectors.len() + 1 } else { 0 }, [0.0; LANES]);
        for (block, t) in lanes.chunks_mut(BLOCK).enumerate() {
            let carry = Carry {
                below: block > 0,
                memory: carry,
            };
            match t.len() {
                1 => recursion::<1>(weights, scale, carry, t),
                2 => recursion::<2>(weights, scale, carry, t),
                3 => recursion::<3>(weights, scale, carry, t),
                4 => recursion::<4>(weights, scale, carry, t),
                5 => recursion::<5>(weights, scale, carry, t),
                6 => recursion::<6>(weights, scale, carry, t),
                7 => recursion::<7>(weights, scale, carry, t),
                8 => recursion::<8>(weights, scale, carry, t),
                9 => recursion::<9>(weights, scale, carry, t),
                _ => recursion::<BLOCK>(weights, scale, carry, t),
            }
        }
    }
}

/// Number of degrees computed at once.
const BLOCK: usize = 10;

/// What a block of degrees needs to know of the block below it, and that above of it.
struct Carry<'a> {
    /// Whether there is a block below; otherwise the degree below the first is 0, and its polynomial 1.
    below: bool,
    /// The polynomial of the degree below the first before each step, and then that of the last; empty if there is
    /// but one block.
    memory: &'a mut [Lanes],
}

/// The recursion for K consecutive degrees.
#[inline(always)]
fn recursion<const K: usize>(
    (vectors, last): (&[Lanes], &Lanes),
    scale: f32,
    carry: Carry<'_>,
    result: &mut [Lanes],
) {
    // One loop over lanes does all of a step: LLVM keeps what is used in several of them in memory.
    let mut t: [Lanes; K] = [[0.0; LANES]; K];
    let first = |t: &mut [Lanes; K], w: &Lanes| {
        for lane in 0..LANES {
            let x = w[lane] * scale;
            for m in (1..K).rev() {
                t[m][lane] = x.mul_add(t[m - 1][lane], t[m][lane]);
            }
            t[0][lane] += x;
        }
    };
    let first_of_several = |t: &mut [Lanes; K], w: &Lanes, carry: &mut Lanes| {
        for lane in 0..LANES {
            let x = w[lane] * scale;
            carry[lane] = t[K - 1][lane];
            for m in (1..K).rev() {
                t[m][lane] = x.mul_add(t[m - 1][lane], t[m][lane]);
            }
            t[0][lane] += x;
        }
    };
    let next = |t: &mut [Lanes; K], w: &Lanes, carry: &mut Lanes| {
        for lane in 0..LANES {
            let x = w[lane] * scale;
            let below = carry[lane];
            carry[lane] = t[K - 1][lane];
            for m in (1..K).rev() {
                t[m][lane] = x.mul_add(t[m - 1][lane], t[m][lane]);
            }
            t[0][lane] = x.mul_add(below, t[0][lane]);
        }
    };
    if let Some((carry_of_last, memory)) = carry.memory.split_last_mut() {
        if carry.below {
            for (w, carry) in vectors.iter().zip(memory) {
                next(&mut t, w, carry);
            }
            next(&mut t, last, carry_of_last);
        } else {
            for (w, carry) in vectors.iter().zip(memory) {
                first_of_several(&mut t, w, carry);
            }
            first_of_several(&mut t, last, carry_of_last);
        }
    } else {
        for w in vectors {
            first(&mut t, w);
        }
        first(&mut t, last);
    }
    result.copy_from_slice(&t);
}

vectorized! {
    /// Replaces each weight x by x · Σ_l c_l xˡ, where c_l is `coefficients[l][sample]`.
    pub(crate) fn derivatives(
        weights: &mut [f32],
        coefficients: &[[f32; SAMPLES]],
        sample: usize,
    ) {
        let coefficient = |l: usize| coefficients[l][sample];
        // The last ones first, because some of them are replaced with whole vectors.
        let mut last = [last_lanes(weights, 0.0)];
        if let Some(all) = weights.last_chunk::<LANES>() {
            last = [*all];
        }
        horner_by_coefficient(&mut last, coefficients, sample);
        let (vectors, _) = weights.as_chunks_mut::<LANES>();
        match coefficients.len() {
            1 => horner::<1>(vectors, coefficient),
            2 => horner::<2>(vectors, coefficient),
            3 => horner::<3>(vectors, coefficient),
            4 => horner::<4>(vectors, coefficient),
            5 => horner::<5>(vectors, coefficient),
            6 => horner::<6>(vectors, coefficient),
            7 => horner::<7>(vectors, coefficient),
            _ => horner_by_coefficient(vectors, coefficients, sample),
        }
        if let Some(all) = weights.last_chunk_mut::<LANES>() {
            *all = last[0];
        } else if !weights.is_empty() {
            let hidden = LANES - weights.len();
            weights.copy_from_slice(&last[0][hidden..]);
        }
    }
}

/// Weight by weight, for few coefficients, which stay in registers.
#[inline(always)]
fn horner<const K: usize>(weights: &mut [Lanes], coefficient: impl Fn(usize) -> f32) {
    let coefficients: [f32; K] = std::array::from_fn(coefficient);
    let (&last, others) = coefficients.split_last().expect("there are coefficients");
    for x in weights.as_flattened_mut() {
        let sum = others
            .iter()
            .rev()
            .fold(last, |sum, &coefficient| sum.mul_add(*x, coefficient));
        *x *= sum;
    }
}

/// Coefficient by coefficient, for few weights, which stay in registers.
#[inline(always)]
fn horner_by_coefficient(weights: &mut [Lanes], coefficients: &[[f32; SAMPLES]], sample: usize) {
    const SIDE_BY_SIDE: usize = 4;
    let (blocks, rest) = weights.as_chunks_mut::<SIDE_BY_SIDE>();
    for weights in blocks {
        horner_of(weights, coefficients, sample);
    }
    for weights in rest {
        horner_of(std::array::from_mut(weights), coefficients, sample);
    }
}

#[inline(always)]
fn horner_of<const N: usize>(
    weights: &mut [Lanes; N],
    coefficients: &[[f32; SAMPLES]],
    sample: usize,
) {
    let x = *weights;
    let mut sum = [[0f32; LANES]; N];
    for of_samples in coefficients.iter().rev() {
        let coefficient = of_samples[sample];
        for i in 0..N {
            for lane in 0..LANES {
                sum[i][lane] = sum[i][lane].mul_add(x[i][lane], coefficient);
            }
        }
    }
    for i in 0..N {
        for lane in 0..LANES {
            weights[i][lane] = sum[i][lane] * x[i][lane];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn polynomials_of_equal_weights_are_binomials() {
        for k in 1..=MAX_K {
            for len in [0, 7, 16, 41] {
                let weights = vec![0.5; len];
                let mut found = Polynomials::default();
                polynomials(&weights, k, 2.0, &mut found);
                let found = &found.lanes;
                for lane in 0..LANES {
                    // The rest is in the last lanes.
                    let of_lane = len / LANES + usize::from(lane >= LANES - len % LANES);
                    let mut binomial = 1.0;
                    for (j, found) in found.iter().enumerate() {
                        binomial *= (of_lane as f32 - j as f32) / (j + 1) as f32;
                        assert_eq!(found[lane], binomial, "k={k} len={len} j={}", j + 1);
                    }
                }
            }
        }
    }

    #[test]
    fn derivatives_are_a_polynomial_in_the_weight() {
        for len in [5usize, 16, 100, 131] {
            for k in 1..=8 {
                let coefficient = |l: usize, sample| 1.0 - 0.3 * l as f32 + sample as f32;
                let coefficients: Vec<[f32; SAMPLES]> = (0..k)
                    .map(|l| std::array::from_fn(|sample| coefficient(l, sample)))
                    .collect();
                let sample = (len + k) % SAMPLES;
                let mut found = vec![0.25; len];
                derivatives(&mut found, &coefficients, sample);
                let expected: f32 = (0..k)
                    .map(|l| coefficient(l, sample) * 0.25f32.powi(l as i32 + 1))
                    .sum();
                for found in found {
                    assert!(
                        (found - expected).abs() < 1e-6 * expected,
                        "len={len} k={k}"
                    );
                }
            }
        }
    }
}
