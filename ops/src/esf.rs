//! Elementary symmetric functions of exponentials, and the marginals of subsets drawn by weight.
//!
//! For log-weights z ∈ Rⁿ and x_i = exp z_i, e_j(x) is the sum over all sets of j elements of the products
//! of their x. If a set of k elements is drawn with a probability in proportion to its product
//! (conditional Bernoulli sampling), element i is in it with probability
//! π⁽ᵏ⁾_i = x_i e_{k−1}(x without i) / e_k(x) = ∂ ln e_k / ∂z_i.
//!
//! ```
//! // Three elements of weight 1, 2 and 4: e_2 = 1·2 + 1·4 + 2·4.
//! let z = [1f64.ln(), 2f64.ln(), 4f64.ln()];
//! let log_e = topk_ops::esf::log_esf(&z, 2)?;
//! assert!((log_e[2] - 14f64.ln()).abs() < 1e-15);
//!
//! let log_marginals = topk_ops::esf::log_marginals(&z, 2)?;
//! assert!((log_marginals[0] - (6f64 / 14.0).ln()).abs() < 1e-15);
//! # Ok::<(), topk_ops::LossError>(())
//! ```
//!
//! # Method
//!
//! For log-weights z ∈ Rⁿ the polynomials σ_j = e_j(exp z_1, …, exp z_n) overflow and underflow every
//! floating-point type. But let each element belong to a random subset independently of the others,
//! element i with probability
//!
//! ```text
//! p_i = x_i / (1 + x_i),    x_i = exp(z_i − t)
//! ```
//!
//! The subset has j elements with probability P_j = e_j(x) ∏ 1/(1 + x_i), so that for every shift t
//!
//! ```text
//! ln σ_j − ln σ_{j−1} = t + ln P_j − ln P_{j−1}
//! ```
//!
//! The shift tilts the distribution and leaves the polynomials' ratio as it is. With t such that the
//! expected size is near k − ½, P_{k−1} and P_k are the largest probabilities there are, of order
//! 1/√k or more. The recursion for P only adds products of numbers in [0, 1]: it neither cancels nor
//! overflows at any n, k or spread of z, and what underflows is a probability below 1e-308.
//!
//! Given that the subset has j elements, it contains i with probability
//! π⁽ʲ⁾_i = ∂ ln σ_j / ∂z_i = p_i P_{j−1}(without i) / P_j. This is conditional Bernoulli sampling: Chen
//! and Liu, "Statistical applications of the Poisson-binomial and conditional Bernoulli
//! distributions", Statistica Sinica 7 (1997). P(without i) is the convolution of the sizes among the
//! elements before i and among those after it, again a sum of positive terms.

use std::f64::consts::LN_2;

use crate::LossError;
use crate::simd::{self, LANES_F64, LanesF64};

/// ln e_0, …, ln e_k of exp(z_i), for log-weights z of any size and sign; −∞ where j is more than their
/// number, and −∞ as a log-weight is an element of weight 0.
///
/// Exact to rounding: nothing is subtracted. Time is O(n ln n + n·k).
///
/// # Errors
/// [`LossError::LogWeight`] if a log-weight is NaN or ∞.
pub fn log_esf(log_weights: &[f64], k: usize) -> Result<Vec<f64>, LossError> {
    let sorted = sorted(log_weights)?;
    let mut log_e = vec![f64::NEG_INFINITY; k + 1];
    log_e[0] = 0.0;
    // ratio_j = e_j / exp(z_1 + … + z_j), which is the product of the j largest: from 1 to C(n, j), as
    // a number and a power of two. Adding element i, e_j grows by exp(z_i) e_{j−1}, and ratio_j by
    // exp(z_i − z_j) ratio_{j−1}, where z_i ≤ z_j.
    let k = k.min(sorted.len());
    let mut ratio = vec![0.0; k + 1];
    let mut exponent = vec![0i32; k + 1];
    ratio[0] = 1.0;
    for (i, &z) in sorted.iter().enumerate() {
        for j in (1..=k.min(i + 1)).rev() {
            let shift = f64::from(exponent[j - 1] - exponent[j]) * LN_2;
            let weight = (z - sorted[j - 1] + shift).exp();
            if ratio[j] == 0.0 {
                (ratio[j], exponent[j]) = (ratio[j - 1], exponent[j - 1]);
            } else {
                ratio[j] += weight * ratio[j - 1];
            }
            if ratio[j] > HUGE {
                ratio[j] /= HUGE;
                exponent[j] += HUGE_EXPONENT;
            }
        }
    }
    let mut product = 0.0;
    for j in 1..=k {
        product += sorted[j - 1];
        log_e[j] = product + ratio[j].ln() + f64::from(exponent[j]) * LN_2;
    }
    Ok(log_e)
}

/// ln π⁽ᵏ⁾_i for each element: the logarithm of the probability that it is in a set of `k`.
///
/// Exact to rounding, also where the probability is too small for an `f64`. Time and memory are O(n·k).
///
/// # Errors
/// [`LossError::ZeroK`], [`LossError::TooFewElements`] if there are not `k` elements of positive
/// weight, and [`LossError::LogWeight`] if a log-weight is NaN or ∞.
pub fn log_marginals(log_weights: &[f64], k: usize) -> Result<Vec<f64>, LossError> {
    let sorted = sorted(log_weights)?;
    let elements = sorted.len();
    if k == 0 {
        return Err(LossError::ZeroK);
    }
    if elements < k {
        return Err(LossError::TooFewElements { k, elements });
    }
    let kth = sorted[k - 1];
    let mut esf = Esf::default();
    esf.set(k, log_weights.iter().map(|z| z - kth));
    let log_tilt = esf.tilt.ln();
    let [_, p_k] = esf.probabilities();
    let without = esf.without_each();
    // π = p P_{k−1}(without i) / P_k, where only p may be below the range of f64.
    let log_p = |z: &f64| {
        let odds = z - kth - log_tilt;
        odds.min(0.0) - (-odds.abs()).exp().ln_1p()
    };
    let marginals = log_weights.iter().zip(without);
    Ok(marginals
        .map(|(z, [km1, _])| (log_p(z) + (km1 / p_k).ln()).min(0.0))
        .collect())
}

/// 2 to the power of [`HUGE_EXPONENT`].
const HUGE: f64 = 3.273_390_607_896_142e150;
const HUGE_EXPONENT: i32 = 500;

/// Those of positive weight, from the largest down.
fn sorted(log_weights: &[f64]) -> Result<Vec<f64>, LossError> {
    let bad = |&(_, z): &(usize, f64)| z.is_nan() || z == f64::INFINITY;
    if let Some((element, log_weight)) = log_weights.iter().copied().enumerate().find(bad) {
        return Err(LossError::LogWeight {
            element,
            log_weight,
        });
    }
    let positive = log_weights.iter().copied().filter(|z| z.is_finite());
    let mut sorted: Vec<f64> = positive.collect();
    sorted.sort_unstable_by(|a, b| b.total_cmp(a));
    Ok(sorted)
}

/// Sizes of random subsets of weighted elements. Keeps its buffers from one use to the next.
#[derive(Debug, Default)]
pub(crate) struct Esf {
    k: usize,
    /// exp of the shift t.
    tilt: f64,
    /// exp(−z_i), and then 1 − p_i.
    q: Vec<LanesF64>,
    /// p_i.
    p: Vec<LanesF64>,
    /// Number of elements.
    elements: usize,
    /// P_0, …, P_k among the first i elements, for i = 0, …, n; see [`simd::add_elements`].
    rows: Vec<LanesF64>,
    after: Vec<LanesF64>,
    /// P_{k−1} and P_{k−2} without each element, if they were asked for.
    without: Vec<[f64; 2]>,
}

impl Esf {
    /// Prepares for subsets of `k` and `k − 1` elements, where 1 ≤ `k` ≤ number of elements.
    ///
    /// `offsets` are the log-weights z less the k-th largest of them, so that the caller can
    /// subtract before scaling and lose no digits. ±∞ stands for a difference beyond the range of
    /// `f64`.
    pub(crate) fn set(&mut self, k: usize, offsets: impl IntoIterator<Item = f64>) {
        self.set_elements(k, offsets);
        let tilt = self.balanced_shift().exp();
        self.convolve(tilt, &[1.0]);
    }

    /// Prepares likewise, where the elements of `offsets` (at least k) are only some, and `tail` are
    /// the polynomials e_0, …, e_k of exp(z_i)/`tilt` over all others, with z relative to the k-th
    /// largest log-weight; those that are missing are 0.
    pub(crate) fn set_with_tail(
        &mut self,
        k: usize,
        offsets: impl IntoIterator<Item = f64>,
        tilt: f64,
        tail: &[f64],
    ) {
        debug_assert!(tail.len() <= k + 1);
        self.set_elements(k, offsets);
        self.convolve(tilt, tail);
    }

    /// Takes in the elements as exp(−z_i).
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
        simd::exp(&mut self.q);
    }

    /// Turns reciprocal weights into probabilities and adds the elements one by one to those of
    /// `first`.
    fn convolve(&mut self, tilt: f64, first: &[f64]) {
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
        self.rows
            .resize((self.elements + 1) * width, [0.0; LANES_F64]);
        let (given, rest) = self.rows[..width]
            .as_flattened_mut()
            .split_at_mut(first.len());
        given.copy_from_slice(first);
        rest.fill(0.0);
        let (p, q) = (self.p.as_flattened(), self.q.as_flattened());
        let n = self.elements;
        simd::add_elements(&p[..n], &q[..n], width, &mut self.rows);
    }

    /// Vectors that hold P_0, …, P_k.
    fn width(&self) -> usize {
        self.k / LANES_F64 + 1
    }

    /// P_0, …, P_k among all elements; with a tail that is not scaled to probabilities, only their
    /// ratios mean something.
    pub(crate) fn sizes(&self) -> &[f64] {
        &self.rows[self.elements * self.width()..].as_flattened()[..=self.k]
    }

    /// ln σ_k − ln σ_{k−1}, less the k-th largest log-weight.
    pub(crate) fn log_ratio(&self) -> f64 {
        let [km1, k] = self.probabilities();
        (self.tilt * (k / km1)).ln()
    }

    /// P_{k−1} and P_{k−2} without each element.
    fn without_each(&mut self) -> &[[f64; 2]] {
        let n = self.elements;
        let (p, q) = (self.p.as_flattened(), self.q.as_flattened());
        self.without.resize(n, [0.0; 2]);
        simd::remove_each(
            &p[..n],
            &q[..n],
            self.k,
            &self.rows,
            &mut self.after,
            &mut self.without,
        );
        &self.without
    }

    /// π⁽ᵏ⁾_i − π⁽ᵏ⁻¹⁾_i of each element.
    pub(crate) fn marginal_differences(&mut self) -> impl Iterator<Item = f64> {
        self.without_each();
        let [p_km1, p_k] = self.probabilities();
        let (over_k, over_km1) = (1.0 / p_k, 1.0 / p_km1);
        self.p
            .as_flattened()
            .iter()
            .zip(&self.without)
            .map(move |(p, [km1, km2])| p * (km1 * over_k - km2 * over_km1))
    }

    /// P_{k−1} and P_k among all elements.
    fn probabilities(&self) -> [f64; 2] {
        let sizes = self.sizes();
        [sizes[self.k - 1], sizes[self.k]]
    }

    /// A shift that brings the expected size Σ p_i to within 0.2 of k − ½, relative to the k-th
    /// largest log-weight.
    ///
    /// Newton's method, kept in a bracket: the k largest elements alone are expected k − ½ times
    /// at the lower end, and the others share ½ at the upper end.
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
            let excess = mean - (k - 0.5);
            // The width guards against rounding in a mean over very many elements.
            if excess.abs() <= 0.2 || high - low < 1e-9 {
                return shift;
            }
            if excess > 0.0 {
                low = shift;
            } else {
                high = shift;
            }
            let newton = shift + excess / variance;
            shift = if low < newton && newton < high {
                newton
            } else {
                0.5 * (low + high)
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// e_0, …, e_k by summation over all subsets, for a few elements.
    fn by_enumeration(weights: &[f64], k: usize) -> Vec<f64> {
        let mut e = vec![0.0; k + 1];
        for subset in 0u32..1 << weights.len() {
            let size = subset.count_ones() as usize;
            if size <= k {
                e[size] += weights
                    .iter()
                    .enumerate()
                    .filter(|(i, _)| subset >> i & 1 == 1)
                    .map(|(_, w)| w)
                    .product::<f64>();
            }
        }
        e
    }

    #[test]
    fn ratio_and_marginals_agree_with_enumeration() {
        let mut esf = Esf::default();
        for n in 1..=9 {
            let z: Vec<f64> = (0..n).map(|i| 3.0 * f64::sin(7.1 * i as f64)).collect();
            for k in 1..=n {
                let mut sorted = z.clone();
                sorted.sort_by(|a, b| b.total_cmp(a));
                let kth = sorted[k - 1];
                esf.set(k, z.iter().map(|z| z - kth));

                let weights: Vec<f64> = z.iter().map(|z| z.exp()).collect();
                let e = by_enumeration(&weights, k);
                let expected = (e[k] / e[k - 1]).ln();
                assert!(
                    (esf.log_ratio() + kth - expected).abs() < 1e-13,
                    "n={n} k={k}"
                );

                for (i, difference) in esf.marginal_differences().enumerate() {
                    let mut others = weights.clone();
                    let w = others.remove(i);
                    let without = by_enumeration(&others, k);
                    let below = if k > 1 {
                        w * without[k - 2] / e[k - 1]
                    } else {
                        0.0
                    };
                    let expected = w * without[k - 1] / e[k] - below;
                    assert!((difference - expected).abs() < 1e-13, "n={n} k={k} i={i}");
                }
            }
        }
    }

    #[test]
    fn logarithms_agree_with_enumeration() {
        for n in 0..=9 {
            let z: Vec<f64> = (0..n).map(|i| 3.0 * f64::sin(7.1 * i as f64)).collect();
            let weights: Vec<f64> = z.iter().map(|z| z.exp()).collect();
            let e = by_enumeration(&weights, n + 2);
            let found = log_esf(&z, n + 2).unwrap();
            for (found, e) in found.iter().zip(&e) {
                assert!(*found == e.ln() || (found - e.ln()).abs() < 1e-14, "{n}");
            }
            for (k, e_k) in e.iter().enumerate().take(n + 1).skip(1) {
                let found = log_marginals(&z, k).unwrap();
                for (i, found) in found.iter().enumerate() {
                    let mut others = weights.clone();
                    let w = others.remove(i);
                    let expected = (w * by_enumeration(&others, k)[k - 1] / e_k).ln();
                    assert!((found - expected).abs() < 1e-13, "n={n} k={k} i={i}");
                }
            }
        }
    }

    #[test]
    fn logarithms_of_what_no_number_holds() {
        // ln C(n, j) of equal weights, beyond the range of f64.
        let (n, k) = (4000, 1500);
        let found = log_esf(&vec![-700.0; n], k).unwrap();
        let mut expected = 0.0;
        for (j, found) in found.iter().enumerate().skip(1) {
            expected += ((n - j + 1) as f64 / j as f64).ln() - 700.0;
            assert!((found / expected - 1.0).abs() < 1e-12, "{j}");
        }
        let marginals = log_marginals(&vec![-700.0; n], k).unwrap();
        let expected = (k as f64 / n as f64).ln();
        assert!(marginals.iter().all(|m| (m - expected).abs() < 1e-12));

        // One element stands far above, one far below.
        let nothing = f64::NEG_INFINITY;
        let z = [5000.0, nothing, 0.0, -5000.0, nothing];
        let log_e = log_esf(&z, 5).unwrap();
        assert_eq!(log_e, [0.0, 5000.0, 5000.0, 0.0, nothing, nothing]);
        let marginals = log_marginals(&z, 2).unwrap();
        for (found, expected) in marginals.iter().zip([0.0, nothing, 0.0, -5000.0, nothing]) {
            assert!(
                *found == expected || (found - expected).abs() < 1e-12,
                "{marginals:?}"
            );
        }
    }

    #[test]
    fn bad_log_weights_are_named() {
        assert_eq!(
            log_esf(&[0.0, f64::INFINITY], 1).unwrap_err().to_string(),
            "log-weight inf of element 1 is not a number below infinity"
        );
        let nothing = f64::NEG_INFINITY;
        assert_eq!(
            log_marginals(&[0.0, nothing, 0.0], 3)
                .unwrap_err()
                .to_string(),
            "sets of 3 need as many elements of positive weight, got 2"
        );
        assert_eq!(log_marginals(&[0.0], 0), Err(LossError::ZeroK));
    }

    #[test]
    fn extreme_offsets_pick_the_kth_element() {
        let mut esf = Esf::default();
        esf.set(2, [f64::INFINITY, 0.0, -1e300, f64::NEG_INFINITY]);
        assert!(esf.log_ratio().abs() < 1e-15);
        let found: Vec<f64> = esf.marginal_differences().collect();
        for (found, expected) in found.into_iter().zip([0.0, 1.0, 0.0, 0.0]) {
            assert!((found - expected).abs() < 1e-15);
        }
    }

    #[test]
    fn very_many_equal_elements_at_large_k() {
        // e_k / e_{k−1} = (n − k + 1) / k for n equal weights.
        let (n, k) = (4000, 1500);
        let mut esf = Esf::default();
        esf.set(k, vec![0.0; n]);
        let expected = ((n - k + 1) as f64 / k as f64).ln();
        assert!((esf.log_ratio() - expected).abs() < 1e-12);
    }
}
