//! The polynomials of several samples side by side: head and tail of the classes together.
//!
//! The head of one sample is a chain of short steps, each of which waits for the one before it. Here each lane of
//! an `f64` vector is a sample, so that eight of them take little more time than one. Lanes do not exchange
//! numbers: the result of a sample does not depend on the samples beside it.
//!
//! The method for the head is that of [`SubsetSizes`](super::subset_sizes::SubsetSizes), and [`tail`](super::tail)
//! that for the other classes.

use super::power_sums::POWERS;
use crate::simd::{self, LANES_F64, Lanes, LanesF64, vectorized};

/// Number of samples side by side.
pub(crate) const SAMPLES: usize = LANES_F64;

/// Degrees of a product that are computed at once.
const TILE: usize = 8;

/// Zeros before the coefficient of degree 0, so that each tile reads as many coefficients.
const PADDING: usize = TILE - 1;

/// The elementary symmetric polynomials of the wrong classes of up to [`SAMPLES`] samples; reuses its buffers.
///
/// Weights are relative to the k-th highest wrong score of each sample.
#[derive(Debug, Default)]
pub(crate) struct SideBySide {
    k: usize,
    /// Number of classes in the head.
    head: usize,
    /// What the weights of the tail were divided by.
    tilt: LanesF64,
    /// Power sums of the tails.
    power_sums: [LanesF64; POWERS],
    /// The samples whose tails have polynomials instead.
    has_polynomials: [bool; SAMPLES],
    /// 1 − p_i; exp(−z_i) before that.
    q: Vec<LanesF64>,
    /// p_i, with which class i of the head is in a random subset.
    p: Vec<LanesF64>,
    /// The polynomials of the tails, each of an 8th of the classes: coefficients of all of them by degree, after
    /// [`PADDING`] zeros.
    tail: Vec<[LanesF64; LANES_F64]>,
    /// Those of one sample, of a 16th each, in two vectors.
    of_sample: Vec<[LanesF64; 2]>,
    /// e_0, …, e_k of the tail and the first i classes of the head, for i = 0, …, `head`.
    prefix: Vec<LanesF64>,
    /// Buffer of [`differences`].
    suffix: Vec<LanesF64>,
    differences: Vec<LanesF64>,
    coefficients: Vec<[f32; SAMPLES]>,
}

impl SideBySide {
    /// Prepares for samples with `head` classes in the head, where 1 ≤ `k` ≤ `head`, and no tail.
    pub(crate) fn start(&mut self, k: usize, head: usize) {
        debug_assert!((1..=head).contains(&k));
        self.k = k;
        self.head = head;
        self.tilt = [1.0; SAMPLES];
        self.q.clear();
        self.q.resize(head, [0.0; SAMPLES]);
        self.p.resize(head, [0.0; SAMPLES]);
        self.power_sums = [[0.0; SAMPLES]; POWERS];
        self.has_polynomials = [false; SAMPLES];
    }

    /// Sets the head of a sample: z of each class, relative to the k-th largest. ±∞ represents a difference beyond the
    /// range of `f64`.
    pub(crate) fn set_head(&mut self, sample: usize, offsets: impl Iterator<Item = f64>) {
        for (q, z) in self.q.iter_mut().zip(offsets) {
            q[sample] = -z;
        }
    }

    /// Sets the tail of a sample: the power sums of exp(z_i), as [`power_sums`](super::power_sums::power_sums) returns them.
    pub(crate) fn set_power_sums(&mut self, sample: usize, sums: &[f64; POWERS]) {
        for (power_sums, sum) in self.power_sums.iter_mut().zip(sums) {
            power_sums[sample] = *sum;
        }
    }

    /// Sets the tail of a sample: e_1, …, e_k of exp(z_i)/`tilt` over a 16th of its classes in each lane.
    pub(crate) fn set_tail(&mut self, sample: usize, tilt: f64, polynomials: &[Lanes]) {
        debug_assert_eq!(polynomials.len(), self.k);
        if self.has_polynomials == [false; SAMPLES] {
            let padded = PADDING + self.k + 1;
            self.tail.clear();
            self.tail.resize(padded, [[0.0; SAMPLES]; LANES_F64]);
            self.tail[PADDING] = [[1.0; SAMPLES]; LANES_F64];
            self.of_sample.clear();
            self.of_sample.resize(padded, [[0.0; LANES_F64]; 2]);
        }
        self.has_polynomials[sample] = true;
        self.tilt[sample] = tilt;
        store_tail(sample, polynomials, &mut self.of_sample, &mut self.tail);
    }

    /// Computes the polynomials of head and tail together.
    pub(crate) fn compute(&mut self) {
        let width = self.k + 1;
        simd::exp(&mut self.q);
        self.prefix.resize((self.head + 1) * width, [0.0; SAMPLES]);
        newton_identities(&self.power_sums, &mut self.prefix[..width]);
        if self.has_polynomials != [false; SAMPLES] {
            merge(&mut self.tail);
            for (prefix, [tail, ..]) in self.prefix.iter_mut().zip(&self.tail[PADDING..]) {
                for sample in 0..SAMPLES {
                    if self.has_polynomials[sample] {
                        prefix[sample] = tail[sample];
                    }
                }
            }
        }
        add_elements(
            &self.tilt,
            &mut self.p,
            &mut self.q,
            width,
            &mut self.prefix,
        );
    }

    /// e_0, …, e_k of each sample up to a common factor.
    fn polynomials(&self) -> &[LanesF64] {
        &self.prefix[self.head * (self.k + 1)..]
    }

    /// ln e_k − ln e_{k−1} of each sample, relative to its k-th largest log-weight.
    pub(crate) fn log_ratios(&self) -> LanesF64 {
        let e = self.polynomials();
        let mut ratios = self.tilt;
        for lane in 0..SAMPLES {
            ratios[lane] *= e[self.k][lane] / e[self.k - 1][lane];
        }
        simd::logarithms(&ratios)
    }

    /// π⁽ᵏ⁾_i − π⁽ᵏ⁻¹⁾_i of each class of the head.
    pub(crate) fn head_differences(&mut self) -> &[LanesF64] {
        self.differences.resize(self.head, [0.0; SAMPLES]);
        differences(
            &self.p,
            &self.q,
            self.k + 1,
            &self.prefix,
            &mut self.suffix,
            &mut self.differences,
        );
        &self.differences
    }

    /// The coefficients of xˡ⁺¹, l = 0, …, k − 1, in `factor` · (π⁽ᵏ⁾ − π⁽ᵏ⁻¹⁾) of a class of the tail, where x is its
    /// weight. Also how many of them matter, if no x is above `largest`, which is at most 1.
    pub(crate) fn tail_coefficients(
        &mut self,
        factor: &LanesF64,
        largest: &[f32; SAMPLES],
    ) -> (&[[f32; SAMPLES]], [u32; SAMPLES]) {
        let mut coefficients = std::mem::take(&mut self.coefficients);
        coefficients.resize(self.k, [0.0; SAMPLES]);
        alternating_sums(self.polynomials(), &self.tilt, factor, &mut coefficients);
        self.coefficients = coefficients;
        let terms = terms_that_matter(&self.coefficients, largest);
        (&self.coefficients, terms)
    }
}

vectorized! {
    /// The polynomials e_0, e_1, … of power sums: j e_j = p_1 e_{j−1} − p_2 e_{j−2} + p_3 e_{j−3} − …
    pub(super) fn newton_identities(sums: &[LanesF64; POWERS], e: &mut [LanesF64]) {
        e[0] = [1.0; SAMPLES];
        for j in 1..e.len() {
            let mut total = [0.0; SAMPLES];
            // The last one first, which was computed last.
            for m in (1..=j.min(POWERS)).rev() {
                let sign = if m % 2 == 1 { 1.0 } else { -1.0 };
                for lane in 0..SAMPLES {
                    total[lane] = (sign * sums[m - 1][lane]).mul_add(e[j - m][lane], total[lane]);
                }
            }
            for lane in 0..SAMPLES {
                e[j][lane] = total[lane] / j as f64;
            }
        }
    }
}

vectorized! {
    /// Multiplies the upper half of the lanes by the lower half, and stores the products of a sample beside those of the
    /// others.
    fn store_tail(
        sample: usize,
        polynomials: &[Lanes],
        of_sample: &mut [[LanesF64; 2]],
        tail: &mut [[LanesF64; LANES_F64]],
    ) {
        of_sample[PADDING] = [[1.0; LANES_F64]; 2];
        // All numbers in one loop: for one over lanes within one over degrees LLVM emits gathers.
        let wide = of_sample[PADDING + 1..].as_flattened_mut().as_flattened_mut();
        for (wide, &number) in wide.iter_mut().zip(polynomials.as_flattened()) {
            *wide = number.into();
        }
        multiply(of_sample, 0, 1);
        for (tail, [product, _]) in tail.iter_mut().zip(&*of_sample).skip(PADDING) {
            for lane in 0..LANES_F64 {
                tail[lane][sample] = product[lane];
            }
        }
    }
}

vectorized! {
    /// Multiplies all polynomials, and stores the product over the first.
    fn merge(polynomials: &mut [[LanesF64; LANES_F64]]) {
        let mut half = LANES_F64;
        while half > 1 {
            half /= 2;
            for i in 0..half {
                multiply(polynomials, i, half + i);
            }
        }
    }
}

/// Multiplies polynomial `a` by `b`, both after [`PADDING`] zeros, up to the same degree.
#[inline(always)]
fn multiply<const N: usize>(polynomials: &mut [[LanesF64; N]], a: usize, b: usize) {
    // From the highest degrees down: a product reads lower degrees only.
    let mut end = polynomials.len();
    while end > PADDING {
        let begin = end - TILE;
        let mut sums = [[0.0; LANES_F64]; TILE];
        for i in PADDING..end {
            let factor = polynomials[i][a];
            let others: &[_; TILE] = polynomials[begin + PADDING - i..]
                .first_chunk()
                .expect("there are as many coefficients below the end of the tile");
            for lane in 0..LANES_F64 {
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

vectorized! {
    /// Turns reciprocal weights, in `q`, into probabilities, and adds the classes one by one: e_j ← q e_j + p e_{j−1}.
    ///
    /// `prefix` holds the polynomials before each class and after the last, of `width` coefficients; the first ones
    /// are given.
    fn add_elements(
        tilt: &LanesF64,
        p: &mut [LanesF64],
        q: &mut [LanesF64],
        width: usize,
        prefix: &mut [LanesF64],
    ) {
        for (p, q) in p.iter_mut().zip(&mut *q) {
            for lane in 0..SAMPLES {
                let reciprocal = q[lane] * tilt[lane];
                p[lane] = 1.0 / (1.0 + reciprocal);
                q[lane] = 1.0 / (1.0 + 1.0 / reciprocal);
            }
        }
        for (i, (p, q)) in p.iter().zip(q).enumerate() {
            let (row, next) = prefix[i * width..(i + 2) * width].split_at_mut(width);
            for lane in 0..SAMPLES {
                next[0][lane] = q[lane] * row[0][lane];
            }
            for (next, rows) in next[1..].iter_mut().zip(row.windows(2)) {
                for lane in 0..SAMPLES {
                    next[lane] = q[lane].mul_add(rows[1][lane], p[lane] * rows[0][lane]);
                }
            }
        }
    }
}

vectorized! {
    /// For each class, p times the difference of e_{k−1} without it over e_k and e_{k−2} without it over e_{k−1}.
    ///
    /// `prefix` is that of [`add_elements`]; `suffix` is a buffer.
    fn differences(
        p: &[LanesF64],
        q: &[LanesF64],
        width: usize,
        prefix: &[LanesF64],
        suffix: &mut Vec<LanesF64>,
        differences: &mut [LanesF64],
    ) {
        // With the polynomials f of the classes after the current one: f_{k−1−j}/e_k − f_{k−2−j}/e_{k−1} for
        // j = 0, …, k − 1, and 0. Leaving a class out gives products of polynomials before it and after it.
        let k = width - 1;
        let e = &prefix[p.len() * width..];
        suffix.clear();
        suffix.resize(width, [0.0; SAMPLES]);
        for lane in 0..SAMPLES {
            suffix[k - 1][lane] = 1.0 / e[k][lane];
        }
        if k > 1 {
            for lane in 0..SAMPLES {
                suffix[k - 2][lane] = -1.0 / e[k - 1][lane];
            }
        }
        let before = prefix.chunks_exact(width);
        for (((p, q), before), difference) in p.iter().zip(q).zip(before).zip(differences).rev() {
            let mut sum = [0.0; SAMPLES];
            for (j, before) in before[..k].iter().enumerate() {
                let above = suffix[j + 1];
                for lane in 0..SAMPLES {
                    sum[lane] = before[lane].mul_add(suffix[j][lane], sum[lane]);
                    suffix[j][lane] = q[lane].mul_add(suffix[j][lane], p[lane] * above[lane]);
                }
            }
            for lane in 0..SAMPLES {
                difference[lane] = p[lane] * sum[lane];
            }
        }
    }
}

vectorized! {
    /// See [`SideBySide::tail_coefficients`]: for a weight x over the tilt, π⁽ʲ⁾ = (x e_{j−1} − x² e_{j−2} + …) / e_j.
    fn alternating_sums(
        e: &[LanesF64],
        tilt: &LanesF64,
        factor: &LanesF64,
        coefficients: &mut [[f32; SAMPLES]],
    ) {
        let k = coefficients.len();
        let (mut over_k, mut over_km1, mut next) = ([0.0; SAMPLES], [0.0; SAMPLES], [0.0; SAMPLES]);
        for lane in 0..SAMPLES {
            next[lane] = -1.0 / tilt[lane];
            let first = factor[lane] / tilt[lane];
            over_k[lane] = first / e[k][lane];
            over_km1[lane] = first / e[k - 1][lane];
        }
        for (l, coefficient) in coefficients.iter_mut().enumerate() {
            let e_km1 = e[k - 1 - l];
            let e_km2 = if l + 2 > k { [0.0; SAMPLES] } else { e[k - 2 - l] };
            for lane in 0..SAMPLES {
                let sum = over_k[lane] * e_km1[lane] - over_km1[lane] * e_km2[lane];
                coefficient[lane] = sum.clamp(f32::MIN.into(), f32::MAX.into()) as f32;
                over_k[lane] *= next[lane];
                over_km1[lane] *= next[lane];
            }
        }
    }
}

vectorized! {
    /// How many terms of each polynomial, from the lowest, matter: the others together are far below the rounding errors of the
    /// first one.
    fn terms_that_matter(coefficients: &[[f32; SAMPLES]], x: &[f32; SAMPLES]) -> [u32; SAMPLES] {
        const NEGLIGIBLE: f32 = 1e-8;
        let first = coefficients[0];
        let mut terms = [1; SAMPLES];
        // The sum of the terms from the current one on, over its power of x.
        let mut sum = [0f32; SAMPLES];
        for (l, coefficient) in coefficients.iter().enumerate().skip(1).rev() {
            for lane in 0..SAMPLES {
                sum[lane] = sum[lane].mul_add(x[lane], coefficient[lane].abs());
                let matters = sum[lane] > NEGLIGIBLE * first[lane].abs();
                terms[lane] = if matters { terms[lane].max(l as u32 + 1) } else { terms[lane] };
            }
        }
        terms
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::elementary_symmetric::{log_esf, tail};

    #[test]
    fn products_are_truncated() {
        for k in 1..10usize {
            let mut polynomials = vec![[[0.0; SAMPLES]; 2]; PADDING];
            polynomials.resize(PADDING + k + 1, [[1.0; SAMPLES]; 2]);
            multiply(&mut polynomials, 0, 1);
            for (j, [product, _]) in polynomials[PADDING..].iter().enumerate() {
                assert_eq!(*product, [(j + 1) as f64; SAMPLES]);
            }
            assert_eq!(polynomials[..PADDING], [[[0.0; SAMPLES]; 2]; PADDING]);
        }
    }

    #[test]
    fn ratios_are_those_of_all_classes() {
        let z = |i: usize| f64::sin(2.7 * i as f64) - 0.05 * i as f64;
        for (k, head, classes) in [(1, 3, 3), (3, 5, 40), (7, 11, 100), (20, 31, 50)] {
            let mut all = SideBySide::default();
            all.start(k, head);
            for sample in 0..3 {
                let mut sorted: Vec<f64> = (0..classes).map(|i| z(i + sample)).collect();
                sorted.sort_by(|a, b| b.total_cmp(a));
                let kth = sorted[k - 1];
                all.set_head(sample, sorted[..head].iter().map(|z| z - kth));
                let weights: Vec<f32> = sorted[head..]
                    .iter()
                    .map(|z| (z - kth).exp() as f32 * 2.0)
                    .collect();
                let mut tail = tail::Polynomials::default();
                tail::polynomials(&weights, k, 1.0, &mut tail);
                all.set_tail(sample, 0.5, &tail.lanes);
            }
            all.compute();
            let log_ratios = all.log_ratios();
            for (sample, found) in log_ratios.into_iter().take(3).enumerate() {
                let z: Vec<f64> = (0..classes).map(|i| z(i + sample)).collect();
                let mut sorted = z.clone();
                sorted.sort_by(|a, b| b.total_cmp(a));
                let esf = log_esf(&z, k).unwrap();
                let expected = esf[k] - esf[k - 1] - sorted[k - 1];
                assert!((found - expected).abs() < 1e-6, "{found} {expected}");
            }
        }
    }
}
