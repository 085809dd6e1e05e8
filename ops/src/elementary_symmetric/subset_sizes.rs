//! Sizes of random subsets: the elementary symmetric polynomials up to a common factor.
//!
//! See the [method](super#method). This is the implementation that every `f64` loss uses;
//! [`side_by_side`](super::side_by_side) is the same for the head of the classes of several `f32` samples.

use crate::simd::{self, LANES_F64, LanesF64, vectorized};

/// The distribution of the size of a random subset of weighted elements; reuses its buffers.
#[derive(Debug, Default)]
pub(crate) struct SubsetSizes {
    k: usize,
    /// exp of the shift t.
    pub(super) tilt: f64,
    /// exp(−z_i), and then 1 − p_i.
    q: Vec<LanesF64>,
    /// p_i.
    p: Vec<LanesF64>,
    /// Number of elements.
    elements: usize,
    /// P_0, …, P_k among the first i elements, for i = 0, …, n; see [`add_elements`].
    prefix: Vec<LanesF64>,
    /// Buffer of [`remove_each`].
    suffix: Vec<LanesF64>,
    /// P_{k−1} and P_{k−2} without each element, once they were requested.
    leave_one_out: Vec<[f64; 2]>,
}

impl SubsetSizes {
    /// Prepares for subsets of `k` and `k − 1` elements, where 1 ≤ `k` ≤ number of elements.
    ///
    /// `offsets` are the log-weights z less the k-th largest of them, so that the caller can
    /// subtract before scaling and lose no digits. ±∞ represents a difference beyond the range of
    /// `f64`.
    pub(crate) fn set(&mut self, k: usize, offsets: impl IntoIterator<Item = f64>) {
        self.set_elements(k, offsets);
        let tilt = self.balanced_shift().exp();
        self.convolve(tilt);
    }

    /// Stores the elements as exp(−z_i).
    fn set_elements(&mut self, k: usize, offsets: impl IntoIterator<Item = f64>) {
        self.k = k;
        self.elements = 0;
        self.q.clear();
        for z in offsets {
            let lane = self.elements % LANES_F64;
            if lane == 0 {
                self.q.push([0.0; LANES_F64]);
            }
            self.q[self.elements / LANES_F64][lane] = -z;
            self.elements += 1;
        }
        debug_assert!((1..=self.elements).contains(&k));
        simd::exponentials(self.q.as_flattened_mut());
    }

    /// Turns reciprocal weights into probabilities and adds the elements one by one.
    fn convolve(&mut self, tilt: f64) {
        self.tilt = tilt;
        self.p.resize(self.q.len(), [0.0; LANES_F64]);
        for (p, q) in self
            .p
            .as_flattened_mut()
            .iter_mut()
            .zip(self.q.as_flattened_mut())
        {
            let reciprocal = *q * tilt;
            *p = 1.0 / (1.0 + reciprocal);
            *q = 1.0 / (1.0 + 1.0 / reciprocal);
        }
        let width = self.width();
        self.prefix
            .resize((self.elements + 1) * width, [0.0; LANES_F64]);
        self.prefix[..width].fill([0.0; LANES_F64]);
        self.prefix[0][0] = 1.0;
        let (p, q) = (self.p.as_flattened(), self.q.as_flattened());
        let n = self.elements;
        add_elements(&p[..n], &q[..n], width, &mut self.prefix);
    }

    /// Number of vectors that hold P_0, …, P_k.
    fn width(&self) -> usize {
        self.k / LANES_F64 + 1
    }

    /// P_0, …, P_k among all elements.
    fn sizes(&self) -> &[f64] {
        &self.prefix[self.elements * self.width()..].as_flattened()[..=self.k]
    }

    /// ln e_k − ln e_{k−1}, minus the k-th largest log-weight.
    pub(crate) fn log_ratio(&self) -> f64 {
        let [km1, k] = self.probabilities();
        (self.tilt * (k / km1)).ln()
    }

    /// P_{k−1} and P_{k−2} without each element.
    pub(super) fn leave_one_out(&mut self) -> &[[f64; 2]] {
        let n = self.elements;
        let (p, q) = (self.p.as_flattened(), self.q.as_flattened());
        self.leave_one_out.resize(n, [0.0; 2]);
        remove_each(
            &p[..n],
            &q[..n],
            self.k,
            &self.prefix,
            &mut self.suffix,
            &mut self.leave_one_out,
        );
        &self.leave_one_out
    }

    /// π⁽ᵏ⁾_i − π⁽ᵏ⁻¹⁾_i of each element: the gradient of ln e_k − ln e_{k−1}.
    pub(crate) fn marginal_differences(&mut self) -> impl Iterator<Item = f64> {
        self.leave_one_out();
        let [p_km1, p_k] = self.probabilities();
        let (over_k, over_km1) = (1.0 / p_k, 1.0 / p_km1);
        self.p
            .as_flattened()
            .iter()
            .zip(&self.leave_one_out)
            .map(move |(p, [km1, km2])| p * (km1 * over_k - km2 * over_km1))
    }

    /// P_{k−1} and P_k among all elements.
    pub(super) fn probabilities(&self) -> [f64; 2] {
        let sizes = self.sizes();
        [sizes[self.k - 1], sizes[self.k]]
    }

    /// A shift that brings the expected size Σ p_i to within 0.2 of k − ½, relative to the k-th
    /// largest log-weight.
    ///
    /// Newton's method within a bracket: at the lower end the k largest elements alone contribute at
    /// least k − ½; at the upper end the k-th largest and all smaller ones contribute at most ½.
    fn balanced_shift(&self) -> f64 {
        let k = self.k as f64;
        let tail = (self.elements - self.k) as f64;
        let mut low = -(2.0 * k - 1.0).ln();
        let mut high = (2.0 * tail + 1.0).ln();
        let mut shift = 0.0;
        loop {
            let tilt = f64::exp(shift);
            let (mut mean, mut variance) = (0.0, 0.0);
            for &reciprocal in &self.q.as_flattened()[..self.elements] {
                let p = 1.0 / (1.0 + reciprocal * tilt);
                mean += p;
                variance += p * (1.0 - p);
            }
            let error = mean - (k - 0.5);
            // The width guards against rounding in a mean over very many elements.
            if error.abs() <= 0.2 || high - low < 1e-9 {
                return shift;
            }
            if error > 0.0 {
                low = shift;
            } else {
                high = shift;
            }
            let newton = shift + error / variance;
            shift = if low < newton && newton < high {
                newton
            } else {
                0.5 * (low + high)
            };
        }
    }
}

vectorized! {
    /// The recursion of the sizes: P_j ← q P_j + p P_{j−1} for each element in turn, which is in the
    /// subset with probability p and not in it with probability q.
    ///
    /// `prefix` holds the probabilities before each element and after the last, `width` vectors each;
    /// the first ones are given.
    fn add_elements(p: &[f64], q: &[f64], width: usize, prefix: &mut [LanesF64]) {
        for (i, (&p, &q)) in p.iter().zip(q).enumerate() {
            let (row, next) = prefix[i * width..(i + 2) * width].split_at_mut(width);
            let mut below = 0.0;
            for (row, next) in row.iter().zip(next) {
                let mut shifted = [below; LANES_F64];
                shifted[1..].copy_from_slice(&row[..LANES_F64 - 1]);
                below = row[LANES_F64 - 1];
                for lane in 0..LANES_F64 {
                    next[lane] = q.mul_add(row[lane], p * shifted[lane]);
                }
            }
        }
    }
}

vectorized! {
    /// For each element, the probabilities that k − 1 and that k − 2 of the others are in the subset.
    ///
    /// `prefix` is that of [`add_elements`]; `suffix` is a buffer.
    fn remove_each(
        p: &[f64],
        q: &[f64],
        k: usize,
        prefix: &[LanesF64],
        suffix: &mut Vec<LanesF64>,
        leave_one_out: &mut [[f64; 2]],
    ) {
        // P_{k−1}, …, P_0 of the elements after the current one, in this order, and zeros. Leaving an
        // element out gives the convolution of the sizes before it and after it; in this order that is
        // a sum of entrywise products.
        let width = k / LANES_F64 + 1;
        suffix.clear();
        suffix.resize(width, [0.0; LANES_F64]);
        suffix.as_flattened_mut()[k - 1] = 1.0;
        let before = prefix.chunks_exact(width);
        for (((&p, &q), before), without) in p.iter().zip(q).zip(before).zip(leave_one_out).rev() {
            let mut sums = [[0.0; LANES_F64]; 2];
            for v in 0..width {
                let row = suffix[v];
                let mut shifted = [0.0; LANES_F64];
                shifted[..LANES_F64 - 1].copy_from_slice(&row[1..]);
                if let Some(above) = suffix.get(v + 1) {
                    shifted[LANES_F64 - 1] = above[0];
                }
                for lane in 0..LANES_F64 {
                    sums[0][lane] = before[v][lane].mul_add(row[lane], sums[0][lane]);
                    sums[1][lane] = before[v][lane].mul_add(shifted[lane], sums[1][lane]);
                    suffix[v][lane] = q.mul_add(row[lane], p * shifted[lane]);
                }
            }
            for (without, sum) in without.iter_mut().zip(sums) {
                *without =
                    (sum[0] + sum[4] + (sum[2] + sum[6])) + (sum[1] + sum[5] + (sum[3] + sum[7]));
            }
        }
    }
}
