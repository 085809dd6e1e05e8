//! The polynomials of several samples side by side: head and tail of the classes together.
//!
//! The head of one sample is a chain of short steps, each of which waits for the one before it. Here each lane of
//! an `f64` vector is a sample, so that eight of them take little more time than one, and two vectors little more than one:
//! the steps of one are done while those of the other wait. Lanes do not exchange numbers: the result of a sample does not
//! depend on the samples beside it.
//!
//! The method for the head is that of [`SubsetSizes`](super::subset_sizes::SubsetSizes), and [`tail`](super::tail)
//! that for the other classes.

pub(crate) mod lanes;

use super::power_sums::POWERS;
use crate::simd::{LANES_F64, Lanes, LanesF64, vectorized};

/// Most samples side by side: two vectors.
pub(crate) const SAMPLES: usize = 2 * LANES_F64;

/// A number of each sample.
pub(crate) type OfSamples = [f64; SAMPLES];

/// Lanes for this many samples: those of one vector if they are enough, or of two.
pub(crate) fn lanes_for(samples: usize) -> usize {
    if samples <= LANES_F64 {
        LANES_F64
    } else {
        SAMPLES
    }
}

/// Evaluates an expression in which a constant is the number of lanes.
macro_rules! for_lanes {
    ($lanes:ident, $constant:ident => $result:expr) => {
        match $lanes {
            $crate::simd::LANES_F64 => {
                const $constant: usize = $crate::simd::LANES_F64;
                $result
            }
            _ => {
                const $constant: usize = $crate::elementary_symmetric::side_by_side::SAMPLES;
                $result
            }
        }
    };
}
pub(crate) use for_lanes;

/// Number of degrees, from 0 to k, for k = 5: loops over this many of them are compiled without branches.
const COMMON_WIDTH: usize = 6;

/// Zeros before the coefficient of degree 0, so that each tile reads as many coefficients.
const PADDING: usize = lanes::TILE - 1;

/// The elementary symmetric polynomials of the wrong classes of up to [`SAMPLES`] samples; reuses its buffers, in which the
/// numbers of one or both vectors of samples are side by side.
///
/// Weights are relative to the k-th highest wrong score of each sample.
#[derive(Debug, Default)]
pub(crate) struct SideBySide {
    k: usize,
    /// Those of [`lanes_for`] the samples; the buffers have as many.
    lanes: usize,
    /// Number of classes in the head.
    head: usize,
    /// What the weights of the tail were divided by.
    tilt: OfSamples,
    /// Power sums of the tails.
    power_sums: [OfSamples; POWERS],
    /// The samples whose tails have polynomials instead.
    has_polynomials: [bool; SAMPLES],
    /// 1 − p_i.
    q: Vec<f64>,
    /// p_i, with which class i of the head is in a random subset.
    p: Vec<f64>,
    /// The polynomials of the tails, each of an 8th of the classes: coefficients of all of them by degree, after
    /// [`PADDING`] zeros.
    tail: Vec<f64>,
    /// Those of one sample, of a 16th each, in two vectors.
    of_sample: Vec<[LanesF64; 2]>,
    /// e_0, …, e_k of the tail and the first i classes of the head, for i = 0, …, `head`.
    prefix: Vec<f64>,
    /// Buffer of [`leave_one_out`].
    suffix: Vec<f64>,
    derivatives: Vec<[f32; SAMPLES]>,
    coefficients: Vec<[f32; SAMPLES]>,
}

impl SideBySide {
    /// Prepares for polynomials up to degree `k` ≥ 1 of `samples` samples, which have no classes yet.
    pub(crate) fn start(&mut self, k: usize, samples: usize) {
        debug_assert!(samples <= SAMPLES);
        self.k = k;
        self.lanes = lanes_for(samples);
        self.tilt = [1.0; SAMPLES];
        self.power_sums = [[0.0; SAMPLES]; POWERS];
        self.has_polynomials = [false; SAMPLES];
    }

    /// Sets the tails: the power sums of exp(z_i).
    pub(crate) fn set_power_sums(&mut self, sums: &[OfSamples; POWERS]) {
        self.power_sums = *sums;
    }

    /// Sets the tail of a sample in place of its power sums: e_1, …, e_k of exp(z_i)/`tilt` over a 16th of its classes in
    /// each lane.
    pub(crate) fn set_tail(&mut self, sample: usize, tilt: f64, polynomials: &[Lanes]) {
        debug_assert_eq!(polynomials.len(), self.k);
        let of_degree = self.lanes * LANES_F64;
        if self.has_polynomials == [false; SAMPLES] {
            let padded = PADDING + self.k + 1;
            self.tail.clear();
            self.tail.resize(padded * of_degree, 0.0);
            self.tail[PADDING * of_degree..][..of_degree].fill(1.0);
            self.of_sample.clear();
            self.of_sample.resize(padded, [[0.0; LANES_F64]; 2]);
        }
        self.has_polynomials[sample] = true;
        self.tilt[sample] = tilt;
        multiply_halves(polynomials, &mut self.of_sample);
        let tails = self.tail.chunks_exact_mut(of_degree);
        for (tail, [product, _]) in tails.zip(&self.of_sample).skip(PADDING) {
            for (tail, number) in tail[sample..].iter_mut().step_by(self.lanes).zip(product) {
                *tail = *number;
            }
        }
    }

    /// Computes the polynomials of head and tail together, from the scores of the head, in descending order; there are at
    /// least `k`. Scores times `per_score` are log-weights. Returns e_k / e_{k−1} of each sample, relative to its k-th largest
    /// weight.
    pub(crate) fn compute(&mut self, head: &[[f32; SAMPLES]], per_score: f64) -> OfSamples {
        debug_assert!((1..=head.len()).contains(&self.k));
        let lanes = self.lanes;
        let of_row = (self.k + 1) * lanes;
        self.head = head.len();
        self.p.resize(self.head * lanes, 0.0);
        self.q.resize(self.head * lanes, 0.0);
        self.prefix.resize((self.head + 1) * of_row, 0.0);
        newton_identities(lanes, &self.power_sums, &mut self.prefix[..of_row]);
        if self.has_polynomials != [false; SAMPLES] {
            merge(lanes, &mut self.tail);
            let tails = self.tail.chunks_exact(lanes * LANES_F64);
            let prefix = self.prefix.chunks_exact_mut(lanes);
            for (prefix, tail) in prefix.zip(tails.skip(PADDING)) {
                for sample in 0..lanes {
                    if self.has_polynomials[sample] {
                        prefix[sample] = tail[sample];
                    }
                }
            }
        }
        add_elements(
            lanes,
            head,
            per_score,
            &self.tilt,
            &mut self.p,
            &mut self.q,
            &mut self.prefix,
        );
        let (below, of_k) = self.polynomials()[(self.k - 1) * lanes..].split_at(lanes);
        let mut ratios = self.tilt;
        for ((ratio, of_k), below) in ratios.iter_mut().zip(of_k).zip(below) {
            *ratio *= of_k / below;
        }
        ratios
    }

    /// e_0, …, e_k of each sample up to a common factor.
    fn polynomials(&self) -> &[f64] {
        &self.prefix[self.head * (self.k + 1) * self.lanes..]
    }

    /// `factor` · (π⁽ᵏ⁾_i − π⁽ᵏ⁻¹⁾_i) of each class of the head.
    pub(crate) fn head_derivatives(&mut self, factor: &OfSamples) -> &[[f32; SAMPLES]] {
        self.derivatives.resize(self.head, [0.0; SAMPLES]);
        self.suffix.resize((self.k + 1) * self.lanes, 0.0);
        leave_one_out(
            self.lanes,
            &self.p,
            &self.q,
            &self.prefix,
            factor,
            &mut self.suffix,
            &mut self.derivatives,
        );
        &self.derivatives
    }

    /// The coefficients of xˡ⁺¹, l = 0, …, k − 1, in `factor` · (π⁽ᵏ⁾ − π⁽ᵏ⁻¹⁾) of a class of the tail, where x is its
    /// weight. Also how many of them matter, if no x is above `largest`, which is at most 1.
    pub(crate) fn tail_coefficients(
        &mut self,
        factor: &OfSamples,
        largest: &[f32; SAMPLES],
    ) -> (&[[f32; SAMPLES]], [u32; SAMPLES]) {
        let mut coefficients = std::mem::take(&mut self.coefficients);
        coefficients.resize(self.k, [0.0; SAMPLES]);
        let terms = tail_coefficients(
            self.lanes,
            self.polynomials(),
            &self.tilt,
            factor,
            largest,
            &mut coefficients,
        );
        self.coefficients = coefficients;
        (&self.coefficients, terms)
    }
}

vectorized! {
    /// Multiplies the upper half of the lanes by the lower half.
    fn multiply_halves(polynomials: &[Lanes], products: &mut [[LanesF64; 2]]) {
        products[PADDING] = [[1.0; LANES_F64]; 2];
        // All numbers in one loop: for one over lanes within one over degrees LLVM emits gathers.
        let wide = products[PADDING + 1..].as_flattened_mut().as_flattened_mut();
        for (wide, &number) in wide.iter_mut().zip(polynomials.as_flattened()) {
            *wide = number.into();
        }
        lanes::multiply(products, 0, 1);
    }
}

vectorized! {
    fn newton_identities(lanes: usize, sums: &[OfSamples; POWERS], e: &mut [f64]) {
        for_lanes!(lanes, N => lanes::newton_identities::<N>(sums, e.as_chunks_mut().0));
    }
}

vectorized! {
    fn merge(lanes: usize, polynomials: &mut [f64]) {
        for_lanes!(lanes, N => {
            lanes::merge::<N>(polynomials.as_chunks_mut().0.as_chunks_mut().0);
        });
    }
}

vectorized! {
    fn add_elements(
        lanes: usize,
        head: &[[f32; SAMPLES]],
        per_score: f64,
        tilt: &OfSamples,
        p: &mut [f64],
        q: &mut [f64],
        prefix: &mut [f64],
    ) {
        for_lanes!(lanes, N => {
            let (p, q) = (p.as_chunks_mut().0, q.as_chunks_mut().0);
            let prefix = prefix.as_chunks_mut().0;
            match prefix.len() / (head.len() + 1) {
                COMMON_WIDTH => {
                    lanes::add_elements::<N>(COMMON_WIDTH, head, per_score, tilt, p, q, prefix);
                }
                width => lanes::add_elements::<N>(width, head, per_score, tilt, p, q, prefix),
            }
        });
    }
}

vectorized! {
    fn leave_one_out(
        lanes: usize,
        p: &[f64],
        q: &[f64],
        prefix: &[f64],
        factor: &OfSamples,
        suffix: &mut [f64],
        derivatives: &mut [[f32; SAMPLES]],
    ) {
        for_lanes!(lanes, N => {
            let (p, q, prefix) = (p.as_chunks().0, q.as_chunks().0, prefix.as_chunks().0);
            let suffix = suffix.as_chunks_mut().0;
            match <&mut [_; COMMON_WIDTH]>::try_from(&mut *suffix) {
                Ok(suffix) => lanes::leave_one_out::<N>(p, q, prefix, factor, suffix, derivatives),
                Err(_) => lanes::leave_one_out::<N>(p, q, prefix, factor, suffix, derivatives),
            }
        });
    }
}

vectorized! {
    fn tail_coefficients(
        lanes: usize,
        e: &[f64],
        tilt: &OfSamples,
        factor: &OfSamples,
        largest: &[f32; SAMPLES],
        coefficients: &mut [[f32; SAMPLES]],
    ) -> [u32; SAMPLES] {
        for_lanes!(lanes, N => {
            lanes::alternating_sums::<N>(e.as_chunks().0, tilt, factor, coefficients);
            lanes::terms_that_matter::<N>(coefficients, largest)
        })
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
            lanes::multiply(&mut polynomials, 0, 1);
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
            // In one vector and in two.
            for samples in [3, 11] {
                let mut all = SideBySide::default();
                all.start(k, samples);
                let mut scores = vec![[0.0; SAMPLES]; head];
                for sample in 0..samples {
                    let mut sorted: Vec<f64> = (0..classes).map(|i| z(i + sample)).collect();
                    sorted.sort_by(|a, b| b.total_cmp(a));
                    let kth = sorted[k - 1];
                    for (scores, z) in scores.iter_mut().zip(&sorted) {
                        scores[sample] = (10.0 * z) as f32;
                    }
                    let weights: Vec<f32> = sorted[head..]
                        .iter()
                        .map(|z| (z - kth).exp() as f32 * 2.0)
                        .collect();
                    let mut tail = tail::Polynomials::default();
                    tail::polynomials(&weights, k, 1.0, &mut tail);
                    all.set_tail(sample, 0.5, &tail.lanes);
                }
                let ratios = all.compute(&scores, 0.1);
                for (sample, found) in ratios.into_iter().take(samples).enumerate() {
                    let z: Vec<f64> = (0..classes).map(|i| z(i + sample)).collect();
                    let mut sorted = z.clone();
                    sorted.sort_by(|a, b| b.total_cmp(a));
                    let esf = log_esf(&z, k).unwrap();
                    let expected = esf[k] - esf[k - 1] - sorted[k - 1];
                    let found = found.ln();
                    assert!((found - expected).abs() < 2e-6, "{found} {expected}");
                }
            }
        }
    }
}
