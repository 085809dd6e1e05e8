//! The steps of [`SideBySide`](super::SideBySide) for N samples, whose numbers are the lanes of `[f64; N]`.

use super::{PADDING, SAMPLES};
use crate::elementary_symmetric::power_sums::POWERS;
use crate::simd::{self, LANES_F64};

/// Degrees of a product that are computed at once.
pub(super) const TILE: usize = 8;

/// The polynomials e_0, e_1, … of power sums: j e_j = p_1 e_{j−1} − p_2 e_{j−2} + p_3 e_{j−3} − …
#[inline(always)]
pub(crate) fn newton_identities<const N: usize>(
    sums: &[[f64; SAMPLES]; POWERS],
    e: &mut [[f64; N]],
) {
    e[0] = [1.0; N];
    for j in 1..e.len() {
        let mut total = [0.0; N];
        // The last one first, which was computed last.
        for m in (1..=j.min(POWERS)).rev() {
            let sign = if m % 2 == 1 { 1.0 } else { -1.0 };
            for lane in 0..N {
                total[lane] = (sign * sums[m - 1][lane]).mul_add(e[j - m][lane], total[lane]);
            }
        }
        let inverse = 1.0 / j as f64;
        for lane in 0..N {
            e[j][lane] = total[lane] * inverse;
        }
    }
}

/// Multiplies all polynomials, and stores the product over the first.
#[inline(always)]
pub(super) fn merge<const N: usize>(polynomials: &mut [[[f64; N]; LANES_F64]]) {
    let mut half = LANES_F64;
    while half > 1 {
        half /= 2;
        for i in 0..half {
            multiply(polynomials, i, half + i);
        }
    }
}

/// Multiplies polynomial `a` by `b`, both after [`PADDING`] zeros, up to the same degree.
#[inline(always)]
pub(super) fn multiply<const N: usize, const POLYNOMIALS: usize>(
    polynomials: &mut [[[f64; N]; POLYNOMIALS]],
    a: usize,
    b: usize,
) {
    // From the highest degrees down: a product reads lower degrees only.
    let mut end = polynomials.len();
    while end > PADDING {
        let begin = end - TILE;
        let mut sums = [[0.0; N]; TILE];
        for i in PADDING..end {
            let factor = polynomials[i][a];
            let others: &[_; TILE] = polynomials[begin + PADDING - i..]
                .first_chunk()
                .expect("there are as many coefficients below the end of the tile");
            for lane in 0..N {
                for degree in 0..TILE {
                    sums[degree][lane] =
                        factor[lane].mul_add(others[degree][b][lane], sums[degree][lane]);
                }
            }
        }
        for (polynomial, sum) in polynomials[begin..end].iter_mut().zip(sums) {
            polynomial[a] = sum;
        }
        end = begin;
    }
}

/// Sets the probabilities p and q = 1 − p of each class, from its score, and adds the classes one by one:
/// e_j ← q e_j + p e_{j−1}.
///
/// `prefix` holds e_0, …, e_k, which are `width` numbers, before each class and after the last; the first ones are given.
#[inline(always)]
pub(super) fn add_elements<const N: usize>(
    width: usize,
    head: &[[f32; SAMPLES]],
    per_score: f64,
    tilt: &[f64; SAMPLES],
    p: &mut [[f64; N]],
    q: &mut [[f64; N]],
    prefix: &mut [[f64; N]],
) {
    let kth = &head[width - 2];
    // One loop for all: of a short one over classes LLVM would make vectors of classes, with gathers.
    for (i, ((p, q), score)) in p.iter_mut().zip(q).zip(head).enumerate() {
        let (mut p_i, mut q_i) = ([0.0; N], [0.0; N]);
        for lane in 0..N {
            // The difference is taken before the multiplication: it may be a small one of large numbers. ∞ represents a
            // product beyond the range of `f64`.
            let offset = f64::from(kth[lane]) - f64::from(score[lane]);
            // At most a number of which the product with p is not NaN.
            let reciprocal = (simd::exp(offset * per_score) * tilt[lane]).min(1e300);
            p_i[lane] = 1.0 / (1.0 + reciprocal);
            q_i[lane] = reciprocal * p_i[lane];
        }
        (*p, *q) = (p_i, q_i);
        let (row, next) = prefix[i * width..(i + 2) * width].split_at_mut(width);
        for lane in 0..N {
            next[0][lane] = q_i[lane] * row[0][lane];
        }
        for (next, rows) in next[1..].iter_mut().zip(row.windows(2)) {
            for lane in 0..N {
                next[lane] = q_i[lane].mul_add(rows[1][lane], p_i[lane] * rows[0][lane]);
            }
        }
    }
}

/// For each class, p times the difference of e_{k−1} without it over e_k and e_{k−2} without it over e_{k−1}, times
/// `factor`.
///
/// `prefix` is that of [`add_elements`]; `suffix` is a buffer for k + 1 numbers of each sample.
#[inline(always)]
pub(super) fn leave_one_out<const N: usize>(
    p: &[[f64; N]],
    q: &[[f64; N]],
    prefix: &[[f64; N]],
    factor: &[f64; SAMPLES],
    suffix: &mut [[f64; N]],
    derivatives: &mut [[f32; SAMPLES]],
) {
    // With the polynomials f of the classes after the current one: f_{k−1−j}/e_k − f_{k−2−j}/e_{k−1} for
    // j = 0, …, k − 1, and 0. Leaving a class out gives products of polynomials before it and after it.
    let width = suffix.len();
    let k = width - 1;
    let e = &prefix[p.len() * width..];
    suffix.fill([0.0; N]);
    for lane in 0..N {
        suffix[k - 1][lane] = 1.0 / e[k][lane];
    }
    if k > 1 {
        for lane in 0..N {
            suffix[k - 2][lane] = -1.0 / e[k - 1][lane];
        }
    }
    let before = prefix.chunks_exact(width);
    for (((p, q), before), derivative) in p.iter().zip(q).zip(before).zip(derivatives).rev() {
        let mut sum = [0.0; N];
        for (j, before) in before[..k].iter().enumerate() {
            let above = suffix[j + 1];
            for lane in 0..N {
                sum[lane] = before[lane].mul_add(suffix[j][lane], sum[lane]);
                suffix[j][lane] = q[lane].mul_add(suffix[j][lane], p[lane] * above[lane]);
            }
        }
        for lane in 0..N {
            derivative[lane] = (factor[lane] * (p[lane] * sum[lane])) as f32;
        }
    }
}

/// The coefficients of [`tail_coefficients`](super::SideBySide::tail_coefficients): for a weight x over the tilt,
/// π⁽ʲ⁾ = (x e_{j−1} − x² e_{j−2} + …) / e_j.
#[inline(always)]
pub(super) fn alternating_sums<const N: usize>(
    e: &[[f64; N]],
    tilt: &[f64; SAMPLES],
    factor: &[f64; SAMPLES],
    coefficients: &mut [[f32; SAMPLES]],
) {
    let k = coefficients.len();
    let (mut over_k, mut over_km1, mut next) = ([0.0; N], [0.0; N], [0.0; N]);
    for lane in 0..N {
        next[lane] = -1.0 / tilt[lane];
        let first = factor[lane] / tilt[lane];
        over_k[lane] = first / e[k][lane];
        over_km1[lane] = first / e[k - 1][lane];
    }
    for (l, coefficient) in coefficients.iter_mut().enumerate() {
        let e_km1 = e[k - 1 - l];
        let e_km2 = if l + 2 > k { [0.0; N] } else { e[k - 2 - l] };
        for lane in 0..N {
            let sum = over_k[lane] * e_km1[lane] - over_km1[lane] * e_km2[lane];
            coefficient[lane] = sum.clamp(f32::MIN.into(), f32::MAX.into()) as f32;
            over_k[lane] *= next[lane];
            over_km1[lane] *= next[lane];
        }
    }
}

/// How many terms of each polynomial, from the lowest, matter where x is at most the given one: the others together are far
/// below the rounding errors of the first one.
#[inline(always)]
pub(super) fn terms_that_matter<const N: usize>(
    coefficients: &[[f32; SAMPLES]],
    x: &[f32; SAMPLES],
) -> [u32; SAMPLES] {
    const NEGLIGIBLE: f32 = 1e-8;
    let first = coefficients[0];
    let mut terms = [1; SAMPLES];
    // The sum of the terms from the current one on, over its power of x.
    let mut sum = [0f32; SAMPLES];
    for (l, coefficient) in coefficients.iter().enumerate().skip(1).rev() {
        for lane in 0..N {
            sum[lane] = sum[lane].mul_add(x[lane], coefficient[lane].abs());
            let matters = sum[lane] > NEGLIGIBLE * first[lane].abs();
            terms[lane] = if matters {
                terms[lane].max(l as u32 + 1)
            } else {
                terms[lane]
            };
        }
    }
    terms
}
