//! The tail of the classes, in `f32` vectors.
//!
//! For `f32` scores the smooth top-k SVM splits the wrong classes in two. The head, some 1.5 k classes with
//! the highest scores, is computed class by class in `f64` by
//! [`SubsetSizes`](super::subset_sizes::SubsetSizes). The tail, all other wrong classes, is computed
//! here, with weights x_i = c · exp(z_i − z_(k)) relative to the k-th highest.
//!
//! - Forward: the elementary symmetric polynomials e_0, …, e_k of the tail, by the recursion
//!   e_j ← e_j + x_i e_{j−1}: sums of positive terms. Each lane of a vector has its own polynomials, of
//!   every 16th class; lanes are merged by products of polynomials in `f64`. The constant c is 1; or if e_k
//!   could overflow, it keeps Σ x_i at most k, so that e_j is at most kʲ/j!.
//! - Backward: with e_0, …, e_k now those of head and tail together, the polynomials without class i are
//!   e_j − x_i e_{j−1} + x_i² e_{j−2} − …, so that the derivatives for the whole tail are one polynomial
//!   in x_i whose coefficients are the same for all classes. This subtracts. Divided by e_j, each term is
//!   at most j/(h − j + 1) times the next, where h is the number of classes above class i. With all of the
//!   head above it, no term exceeds k/2, so that the error of the gradient, which is 1/k of the result, is a
//!   few roundings.

use crate::simd::{LANES, Lanes, vectorized};

/// Number of classes in the head, if there are as many.
pub(crate) fn head_size(k: usize) -> usize {
    k + k / 2 + 1
}

/// Largest k that is computed here: e_j fits `f32` with room to spare.
pub(crate) const MAX_K: usize = 32;

/// Buffers of [`polynomials`].
#[derive(Debug, Default)]
pub(crate) struct Buffers {
    /// Polynomials of each lane.
    lanes: Vec<Lanes>,
    /// Their products.
    products: Vec<[f64; LANES]>,
    carry: Vec<Lanes>,
}

/// Whether the lanes' e_0, …, e_k of this many weights of at most 1 fit `f32`.
pub(crate) fn fits_unscaled(k: usize, weights: usize) -> bool {
    (weights.div_ceil(LANES) as f64).powi(k as i32) < 1e30
}

vectorized! {
    /// Sets `result` to e_0, …, e_k of the weights times `scale`, where k + 1 is the length of `result`.
    pub(crate) fn polynomials(
        weights: &[Lanes],
        scale: f32,
        buffers: &mut Buffers,
        result: &mut [f64],
    ) {
        let Buffers {
            lanes,
            products,
            carry,
        } = buffers;
        lanes.resize(result.len(), [0.0; LANES]);
        lanes[0] = [1.0; LANES];
        // Degrees are computed in blocks that fit into registers. Each block needs the highest polynomial
        // of the block below it before each step; those are carried over in memory.
        carry.clear();
        if lanes.len() - 1 > BLOCK {
            carry.resize(weights.len(), [1.0; LANES]);
        }
        for t in lanes[1..].chunks_mut(BLOCK) {
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
        merge(lanes, products, result);
    }
}

/// Number of degrees computed at once.
const BLOCK: usize = 10;

/// The recursion for K consecutive degrees. On entry `carry` holds, for each step, the polynomial of
/// the degree below the first; on return, that of the last degree. An empty `carry` means e_0 = 1.
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

/// Product of the lanes' polynomials, by halves: the upper lanes times the lower ones, until one lane
/// is left.
#[inline(always)]
fn merge(lanes: &[Lanes], products: &mut Vec<[f64; LANES]>, product: &mut [f64]) {
    products.resize(lanes.len(), [0.0; LANES]);
    let t = &mut products[..lanes.len()];
    for (t, lanes) in t.iter_mut().zip(lanes) {
        for lane in 0..LANES {
            t[lane] = f64::from(lanes[lane]);
        }
    }
    multiply_halves::<{ LANES / 2 }>(t);
    multiply_halves::<{ LANES / 4 }>(t);
    multiply_halves::<{ LANES / 8 }>(t);
    multiply_halves::<{ LANES / 16 }>(t);
    for (product, t) in product.iter_mut().zip(t) {
        *product = t[0];
    }
}

/// Multiplies the first `HALF` polynomials by the next `HALF`, in place.
#[inline(always)]
fn multiply_halves<const HALF: usize>(t: &mut [[f64; LANES]]) {
    // From the highest degree down: a product reads lower degrees only.
    for j in (0..t.len()).rev() {
        let mut sum = [0.0; HALF];
        for (low, high) in t[..=j].iter().zip(t[..=j].iter().rev()) {
            for lane in 0..HALF {
                sum[lane] = low[lane].mul_add(high[lane + HALF], sum[lane]);
            }
        }
        t[j][..HALF].copy_from_slice(&sum);
    }
}

vectorized! {
    /// Sets `derivatives` to x · Σ_l `coefficients`_l · xˡ, with x = w · `scale` for each weight w.
    pub(crate) fn derivatives(
        weights: &[Lanes],
        scale: f32,
        coefficients: &[f32],
        derivatives: &mut [f32],
    ) {
        let (vectors, rest) = derivatives.as_chunks_mut::<LANES>();
        let (full, last) = weights.split_at(vectors.len());
        match *coefficients {
            [a] => horner(full, scale, [a], vectors),
            [a, b] => horner(full, scale, [a, b], vectors),
            [a, b, c] => horner(full, scale, [a, b, c], vectors),
            [a, b, c, d] => horner(full, scale, [a, b, c, d], vectors),
            [a, b, c, d, e] => horner(full, scale, [a, b, c, d, e], vectors),
            _ => horner_by_coefficient(full, scale, coefficients, vectors),
        }
        if let [weights] = last {
            let mut padded = [[0.0; LANES]];
            horner_by_coefficient(&[*weights], scale, coefficients, &mut padded);
            rest.copy_from_slice(&padded[0][..rest.len()]);
        }
    }
}

/// Weight by weight, for few coefficients, which stay in registers.
#[inline(always)]
fn horner<const K: usize>(
    weights: &[Lanes],
    scale: f32,
    coefficients: [f32; K],
    derivatives: &mut [Lanes],
) {
    let pairs = weights
        .as_flattened()
        .iter()
        .zip(derivatives.as_flattened_mut());
    for (w, derivative) in pairs {
        let x = w * scale;
        let sum = coefficients
            .iter()
            .rev()
            .fold(0f32, |sum, &coefficient| sum.mul_add(x, coefficient));
        *derivative = sum * x;
    }
}

/// Coefficient by coefficient, for few weights, which stay in registers.
#[inline(always)]
fn horner_by_coefficient(
    weights: &[Lanes],
    scale: f32,
    coefficients: &[f32],
    derivatives: &mut [Lanes],
) {
    const SIDE_BY_SIDE: usize = 4;
    let (blocks, rest) = weights.as_chunks::<SIDE_BY_SIDE>();
    let (blocks_out, rest_out) = derivatives.as_chunks_mut::<SIDE_BY_SIDE>();
    for (weights, derivatives) in blocks.iter().zip(blocks_out) {
        horner_of(weights, scale, coefficients, derivatives);
    }
    for (weights, derivatives) in rest.iter().zip(rest_out) {
        horner_of(
            &[*weights],
            scale,
            coefficients,
            std::array::from_mut(derivatives),
        );
    }
}

#[inline(always)]
fn horner_of<const N: usize>(
    weights: &[Lanes; N],
    scale: f32,
    coefficients: &[f32],
    derivatives: &mut [Lanes; N],
) {
    let mut x = *weights;
    for x in x.as_flattened_mut() {
        *x *= scale;
    }
    let mut sum = [[0f32; LANES]; N];
    for &coefficient in coefficients.iter().rev() {
        for i in 0..N {
            for lane in 0..LANES {
                sum[i][lane] = sum[i][lane].mul_add(x[i][lane], coefficient);
            }
        }
    }
    for i in 0..N {
        for lane in 0..LANES {
            derivatives[i][lane] = sum[i][lane] * x[i][lane];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn polynomials_of_equal_weights_are_binomials() {
        for k in 1..=MAX_K {
            let mut weights = vec![[0.5; LANES]; 3];
            weights[2][9..].fill(0.0);
            let mut found = vec![f64::NAN; k + 1];
            polynomials(&weights, 2.0, &mut Buffers::default(), &mut found);
            let mut binomial = 1.0;
            for (j, found) in found.iter().enumerate() {
                assert!((found / binomial - 1.0).abs() < 1e-6, "k={k} j={j}");
                binomial *= (41 - j) as f64 / (j + 1) as f64;
            }
        }
    }

    #[test]
    fn derivatives_are_a_polynomial_in_the_weight() {
        for len in [5usize, 16, 100, 131] {
            for k in 1..=8 {
                let coefficients: Vec<f32> = (0..k).map(|l| 1.0 - 0.3 * l as f32).collect();
                let weights = vec![[0.25; LANES]; len.div_ceil(LANES)];
                let mut found = vec![f32::NAN; len];
                derivatives(&weights, 2.0, &coefficients, &mut found);
                let expected: f32 = coefficients
                    .iter()
                    .zip(1..)
                    .map(|(c, power)| c * 0.5f32.powi(power))
                    .sum();
                for found in found {
                    assert!((found - expected).abs() < 1e-6, "len={len} k={k}");
                }
            }
        }
    }
}
