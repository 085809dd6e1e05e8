//! Functions of rows of scores, which may be −∞, but not all of them.

use std::cmp::Ordering;

use crate::schema::{CropAveraging, OutputKind};

/// Precision of floating-point scores.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum ScorePrecision {
    /// 32 bits.
    #[default]
    Single,
    /// 16 bits.
    Half,
    /// 16 bits with the exponent range of 32 bits.
    Bfloat16,
}

impl ScorePrecision {
    /// The smallest positive number, and half of the distance between 1 and the number below.
    fn limits(self) -> [f64; 2] {
        let [smallest, below_one] = match self {
            Self::Single => [-149, -25],
            Self::Half => [-24, -12],
            Self::Bfloat16 => [-133, -9],
        };
        [2f64.powi(smallest), 2f64.powi(below_one)]
    }
}

impl OutputKind {
    /// The logit of a score, where probabilities that were rounded to 0 count as the smallest positive number,
    /// and those of a sigmoid that were rounded to 1 as a little less. `None` if it is not a probability.
    ///
    /// Logits before a softmax are known up to a constant of the image: for probabilities, it is the logarithm.
    pub fn logit(self, score: f32, precision: ScorePrecision) -> Option<f64> {
        // Sums of rounded probabilities may be a little above 1.
        const MAX: f64 = 1.01;
        let score = f64::from(score);
        if self == Self::Logits {
            return Some(score);
        }
        let [smallest, below_one] = precision.limits();
        if !(0.0..=MAX).contains(&score) {
            return None;
        }
        let probability = score.max(smallest);
        Some(match self {
            Self::Sigmoid => probability.ln() - (1.0 - probability).max(below_one).ln(),
            _ => probability.ln(),
        })
    }
}

/// Averages the rows of several crops. There must be at least one.
pub(crate) fn average(mut rows: Vec<Vec<f64>>, averaging: CropAveraging) -> Vec<f64> {
    let crops = rows.len() as f64;
    let mut row = vec![0.0; rows[0].len()];
    match averaging {
        CropAveraging::None => return rows.swap_remove(0),
        CropAveraging::Logits => {
            for (class, mean) in row.iter_mut().enumerate() {
                *mean = rows.iter().map(|row| row[class]).sum::<f64>() / crops;
            }
        }
        CropAveraging::Probs => {
            for row in &mut rows {
                let top = top(row);
                let shift = row[top] + log_sum_exp(row, top);
                row.iter_mut().for_each(|score| *score -= shift);
            }
            // Sums instead of means: ranks, probabilities and losses do not change with a constant.
            let mut column = vec![0.0; rows.len()];
            for (class, sum) in row.iter_mut().enumerate() {
                for (entry, row) in column.iter_mut().zip(&rows) {
                    *entry = row[class];
                }
                let top = top(&column);
                *sum = column[top] + log_sum_exp(&column, top);
            }
        }
    }
    row
}

/// Index of the highest score; the first if several are equal.
pub(crate) fn top(scores: &[f64]) -> usize {
    let mut top = 0;
    for (class, score) in scores.iter().enumerate() {
        if *score > scores[top] {
            top = class;
        }
    }
    top
}

/// Sums over all classes but that with the highest score.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Exponentials {
    /// Σ exp(score − highest score).
    pub(crate) sum: f64,
    /// Σ exp(score − highest score)².
    pub(crate) squares: f64,
}

impl Exponentials {
    /// The sums for scores whose highest is at `top`; 0 if all scores are −∞.
    pub(crate) fn of(scores: &[f64], top: usize) -> Self {
        let mut sums = Self::default();
        if scores[top] == f64::NEG_INFINITY {
            return sums;
        }
        for (class, score) in scores.iter().enumerate() {
            if class != top {
                let exponential = (score - scores[top]).exp();
                sums.sum += exponential;
                sums.squares += exponential * exponential;
            }
        }
        sums
    }

    /// ln Σ exp(score − highest score) over all classes. At least 0, and accurate near 0.
    pub(crate) fn log_sum(self) -> f64 {
        self.sum.ln_1p()
    }
}

/// ln Σ exp(score − highest score), as [`Exponentials::log_sum`].
fn log_sum_exp(scores: &[f64], top: usize) -> f64 {
    Exponentials::of(scores, top).log_sum()
}

/// The `count` classes with the highest scores, in descending order; ties by lower class.
pub(crate) fn best(scores: &[f64], count: usize) -> Vec<usize> {
    let count = count.min(scores.len());
    let order = |&a: &usize, &b: &usize| {
        let scores = scores[b].partial_cmp(&scores[a]);
        scores.unwrap_or(Ordering::Equal).then(a.cmp(&b))
    };
    let mut classes: Vec<usize> = (0..scores.len()).collect();
    if count == 0 {
        return Vec::new();
    }
    classes.select_nth_unstable_by(count - 1, order);
    classes.truncate(count);
    classes.sort_unstable_by(order);
    classes
}
