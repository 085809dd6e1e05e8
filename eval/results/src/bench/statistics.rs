//! Statistics of the times of runs.

use super::schema::{LatencyStatistics, TimedRuns};

impl TimedRuns {
    /// The statistics of runs of this batch size that took these times, in seconds. Without times, all are 0.
    pub fn new(batch_size: usize, seconds: &[f64]) -> Self {
        let total: f64 = seconds.iter().sum();
        let images = (batch_size * seconds.len()) as f64;
        Self {
            batch_size,
            runs: seconds.len(),
            images_per_second: if total > 0.0 { images / total } else { 0.0 },
            latency: LatencyStatistics::new(seconds),
        }
    }
}

impl LatencyStatistics {
    /// The statistics of times in any order.
    pub fn new(seconds: &[f64]) -> Self {
        let mut sorted = seconds.to_vec();
        sorted.sort_by(f64::total_cmp);
        let count = sorted.len().max(1) as f64;
        let mean = sorted.iter().sum::<f64>() / count;
        let squares = sorted.iter().map(|value| (value - mean).powi(2));
        Self {
            min: sorted.first().copied().unwrap_or_default(),
            mean,
            std: (squares.sum::<f64>() / count).sqrt(),
            p50: percentile(&sorted, 0.5),
            p90: percentile(&sorted, 0.9),
            p99: percentile(&sorted, 0.99),
            max: sorted.last().copied().unwrap_or_default(),
        }
    }
}

/// The percentile of ascending values, interpolated linearly between the two values around rank `part * (n - 1)`: NumPy's
/// method `linear`, its default.
fn percentile(sorted: &[f64], part: f64) -> f64 {
    let Some(last) = sorted.len().checked_sub(1) else {
        return 0.0;
    };
    let rank = part * last as f64;
    let below = rank.floor();
    let (low, high) = (
        sorted[below as usize],
        sorted[(below as usize + 1).min(last)],
    );
    let (step, gap) = (rank - below, high - low);
    // The nearer end is the start, as in NumPy, so that rounding is the same.
    match step >= 0.5 {
        true => high - gap * (1.0 - step),
        false => low + gap * step,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_runs_have_percentiles_too() {
        assert_eq!(LatencyStatistics::new(&[]).p99, 0.0);
        let one = TimedRuns::new(4, &[0.5]);
        assert_eq!((one.runs, one.images_per_second), (1, 8.0));
        assert_eq!((one.latency.p50, one.latency.p99), (0.5, 0.5));
        let two = LatencyStatistics::new(&[3.0, 1.0]);
        assert_eq!((two.min, two.p50, two.max), (1.0, 2.0, 3.0));
        assert_eq!((two.mean, two.std), (2.0, 1.0));
    }
}
