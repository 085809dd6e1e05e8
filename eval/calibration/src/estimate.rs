use serde::{Deserialize, Serialize};

/// The 97.5 % quantile of the standard normal distribution.
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
        let (n, p) = (count as f64, hits as f64 / count as f64);
        let centre = p + Z * Z / (2.0 * n);
        let half = Z * (p * (1.0 - p) / n + Z * Z / (4.0 * n * n)).sqrt();
        let scale = 1.0 + Z * Z / n;
        Self {
            value: p,
            low: if hits == 0 {
                0.0
            } else {
                (centre - half) / scale
            },
            high: if hits == count {
                1.0
            } else {
                (centre + half) / scale
            },
        }
    }
}
