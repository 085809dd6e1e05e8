//! Elementary symmetric polynomials of exponentials, and the marginals of subsets drawn by weight.
//!
//! For log-weights z ∈ Rⁿ and x_i = exp z_i, e_j(x) is the sum, over all sets of j elements, of the
//! product of their x. If a set of k elements is drawn with a probability proportional to its product
//! (conditional Bernoulli sampling), it contains element i with probability
//! π⁽ᵏ⁾_i = x_i e_{k−1}(x without i) / e_k(x) = ∂ ln e_k / ∂z_i.
//!
//! ```
//! // Three elements of weight 1, 2 and 4: e_2 = 1·2 + 1·4 + 2·4.
//! let z = [1f64.ln(), 2f64.ln(), 4f64.ln()];
//! let log_e = topk_ops::elementary_symmetric::log_esf(&z, 2)?;
//! assert!((log_e[2] - 14f64.ln()).abs() < 1e-15);
//!
//! let log_marginals = topk_ops::elementary_symmetric::log_marginals(&z, 2)?;
//! assert!((log_marginals[0] - (6f64 / 14.0).ln()).abs() < 1e-15);
//! # Ok::<(), topk_ops::LossError>(())
//! ```
//!
//! # Method
//!
//! The polynomials e_j = e_j(exp z_1, …, exp z_n) overflow and underflow every floating-point type.
//! But let each element belong to a random subset independently of the others, element i with
//! probability
//!
//! ```text
//! p_i = x_i / (1 + x_i),    x_i = exp(z_i − t)
//! ```
//!
//! The subset has j elements with probability P_j = e_j(x) ∏ 1/(1 + x_i): the P_j are the polynomials
//! up to a common factor and a power of exp t, so that for every shift t
//!
//! ```text
//! ln e_j − ln e_{j−1} = t + ln P_j − ln P_{j−1}
//! ```
//!
//! where the e_j are those of exp z. The shift tilts the distribution and does not change the ratio of
//! the polynomials. With t such that the expected size is near k − ½, P_{k−1} and P_k are the largest
//! of all P_j, of order 1/√k or more. The recursion for P only adds products of numbers in [0, 1]: it
//! neither cancels nor overflows at any n, k or spread of z, and only probabilities below 1e-308
//! underflow.
//!
//! Given that the subset has j elements, it contains i with probability
//! π⁽ʲ⁾_i = ∂ ln e_j / ∂z_i = p_i P_{j−1}(without i) / P_j. This is conditional Bernoulli sampling: Chen
//! and Liu, "Statistical applications of the Poisson-binomial and conditional Bernoulli
//! distributions", Statistica Sinica 7 (1997). P(without i) is the convolution of the sizes among the
//! elements before i and among those after it, again a sum of positive terms.

pub(crate) mod power_sums;
pub(crate) mod side_by_side;
pub(crate) mod subset_sizes;
pub(crate) mod tail;

use std::f64::consts::LN_2;

use crate::LossError;
use crate::elementary_symmetric::subset_sizes::SubsetSizes;

/// Computes ln e_0, …, ln e_k of exp(z_i), for log-weights z of any size and sign. A log-weight of −∞
/// denotes an element of weight 0; ln e_j is −∞ where j exceeds the number of elements.
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

/// Computes ln π⁽ᵏ⁾_i for each element: the logarithm of the probability that a set of `k` contains it.
///
/// Exact to rounding, even where the probability is too small for an `f64`. Time and memory are O(n·k).
///
/// # Errors
/// [`LossError::ZeroK`], [`LossError::TooFewElements`] if there are fewer than `k` elements of positive
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
    let mut sizes = SubsetSizes::default();
    sizes.set(k, log_weights.iter().map(|z| z - kth));
    let log_tilt = sizes.tilt.ln();
    let [_, p_k] = sizes.probabilities();
    let without = sizes.leave_one_out();
    // π = p P_{k−1}(without i) / P_k, where only p can be below the range of f64.
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

/// The finite log-weights in descending order.
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
        let mut esf = SubsetSizes::default();
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
    fn logarithms_of_polynomials_beyond_the_range_of_f64() {
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

        // One element far above the others, one far below.
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
            "log-weight inf of element 1 is not below infinity"
        );
        let nothing = f64::NEG_INFINITY;
        assert_eq!(
            log_marginals(&[0.0, nothing, 0.0], 3)
                .unwrap_err()
                .to_string(),
            "sets of 3 elements need at least 3 elements of positive weight, got 2"
        );
        assert_eq!(log_marginals(&[0.0], 0), Err(LossError::ZeroK));
    }

    #[test]
    fn extreme_offsets_pick_the_kth_element() {
        let mut esf = SubsetSizes::default();
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
        let mut esf = SubsetSizes::default();
        esf.set(k, vec![0.0; n]);
        let expected = ((n - k + 1) as f64 / k as f64).ln();
        assert!((esf.log_ratio() - expected).abs() < 1e-12);
    }
}
