//! Temperature scaling.

use serde::{Deserialize, Serialize};

use crate::estimate::Z;
use crate::logits::{Logits, LogitsError, Row};

/// The temperature T that minimises the mean cross-entropy of softmax(logits / T).
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Serialize)]
pub struct Temperature {
    /// T: above 1 if the probabilities are too high, below 1 if they are too low.
    pub value: f64,
    /// Lower bound of the 95 % confidence interval (Huber's sandwich estimator, on ln T).
    pub low: f64,
    /// Upper bound.
    pub high: f64,
    /// Whether the minimum is outside 0.01 to 100, the limits of the search. For a model that classifies all images
    /// correctly, the best T is 0; for one that is worse than chance, it is infinite.
    pub at_limit: bool,
}

/// The limits of 1 / T.
const LIMITS: [f64; 2] = [0.01, 100.0];

/// Derivatives of the cross-entropy of an image with respect to 1 / T.
#[derive(Clone, Copy, Debug, Default)]
struct Derivatives {
    first: f64,
    second: f64,
}

/// Sums over images.
#[derive(Clone, Copy, Debug, Default)]
struct Sums {
    first: f64,
    second: f64,
    /// Of the squares of the first derivatives.
    squares: f64,
}

impl Temperature {
    /// Fits T on these rows.
    ///
    /// The cross-entropy is convex in 1 / T. Newton's method finds its minimum, with bisection where a step would
    /// leave the interval that is known to hold it.
    pub(crate) fn fit(logits: &Logits, rows: &[usize]) -> Result<Self, LogitsError> {
        const STEPS: usize = 100;
        const PRECISION: f64 = 1e-12;
        let [mut low, mut high] = LIMITS;
        if sums(logits, rows, low)?.first >= 0.0 {
            return Ok(Self::at(low));
        }
        if sums(logits, rows, high)?.first <= 0.0 {
            return Ok(Self::at(high));
        }
        let mut inverse = 1.0;
        let mut sums = sums(logits, rows, inverse)?;
        for _ in 0..STEPS {
            match sums.first < 0.0 {
                true => low = inverse,
                false => high = inverse,
            }
            let newton = inverse - sums.first / sums.second;
            let next = match newton > low && newton < high {
                true => newton,
                // The interval is of orders of magnitude.
                false => (low * high).sqrt(),
            };
            let change = (next / inverse - 1.0).abs();
            inverse = next;
            sums = self::sums(logits, rows, inverse)?;
            if change < PRECISION {
                break;
            }
        }
        // The standard error of 1 / T, relative to it, is that of ln T.
        let half = Z * sums.squares.sqrt() / sums.second / inverse;
        Ok(Self {
            value: 1.0 / inverse,
            low: (-half).exp() / inverse,
            high: half.exp() / inverse,
            at_limit: false,
        })
    }

    /// A limit of the search.
    fn at(inverse: f64) -> Self {
        let value = 1.0 / inverse;
        Self {
            value,
            low: value,
            high: value,
            at_limit: true,
        }
    }
}

fn sums(logits: &Logits, rows: &[usize], inverse: f64) -> Result<Sums, LogitsError> {
    let mut sums = Sums::default();
    let of_row = |row: Row<'_>| Derivatives::of(&row, inverse);
    logits.for_each_block(rows, of_row, |block| {
        for image in block {
            sums.first += image.first;
            sums.second += image.second;
            sums.squares += image.first * image.first;
        }
    })?;
    Ok(sums)
}

impl Derivatives {
    /// With p = softmax(z / T), those of −ln p of the label are the mean of z minus the label's, and the variance of z, both
    /// over p.
    fn of(row: &Row<'_>, inverse: f64) -> Self {
        let top = f64::from(row.logits.iter().copied().fold(f32::NEG_INFINITY, f32::max));
        let (mut total, mut mean, mut square) = (0.0, 0.0, 0.0);
        for &logit in row.logits {
            // A masked class has the probability 0.
            if logit == f32::NEG_INFINITY {
                continue;
            }
            let below = f64::from(logit) - top;
            let weight = (inverse * below).exp();
            total += weight;
            mean += weight * below;
            square += weight * below * below;
        }
        mean /= total;
        Self {
            first: mean - (f64::from(row.logits[row.label]) - top),
            second: (square / total - mean * mean).max(0.0),
        }
    }
}
