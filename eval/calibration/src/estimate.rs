use serde::{Deserialize, Serialize};

/// The 97.5 % quantile of the standard normal distribution, for 95 % intervals.
pub(crate) const Z: f64 = 1.959_963_984_540_054;

/// A measured value with its 95 % confidence interval.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Serialize)]
pub struct Estimate {
    /// The value.
    pub value: f64,
    /// Lower bound.
    pub low: f64,
    /// Upper bound.
    pub high: f64,
}

impl Estimate {
    /// The mean of at least one value, with the interval of the normal approximation.
    pub(crate) fn mean(values: &[f64]) -> Self {
        let count = values.len() as f64;
        let mean = values.iter().sum::<f64>() / count;
        let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
        let half = match values.len() {
            1 => 0.0,
            _ => Z * (squares / (count - 1.0) / count).sqrt(),
        };
        Self {
            value: mean,
            low: mean - half,
            high: mean + half,
        }
    }

    /// A proportion, with Wilson's interval.
    pub(crate) fn proportion(hits: usize, count: usize) -> Self {
        let (low, high) = wilson(hits, count);
        Self {
            value: hits as f64 / count as f64,
            low,
            high,
        }
    }
}

/// The 95 % interval of Wilson ("Probable inference, the law of succession, and statistical inference",
/// 1927) for `correct` of `images`; 0 to 1 without images.
pub fn wilson(correct: usize, images: usize) -> (f64, f64) {
    if images == 0 {
        return (0.0, 1.0);
    }
    let (n, p) = (images as f64, correct as f64 / images as f64);
    let centre = p + Z * Z / (2.0 * n);
    let half = Z * (p * (1.0 - p) / n + Z * Z / (4.0 * n * n)).sqrt();
    let scale = 1.0 + Z * Z / n;
    // At the ends the formula gives 0 and 1 only up to rounding.
    let low = if correct == 0 {
        0.0
    } else {
        (centre - half) / scale
    };
    let high = if correct == images {
        1.0
    } else {
        (centre + half) / scale
    };
    (low, high)
}
