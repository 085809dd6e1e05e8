//! How many runs a measurement has.

use std::time::{Duration, Instant};

/// The least number of runs of a measurement that has a duration.
const LEAST_RUNS: usize = 10;
/// The largest number of runs of a measurement that has a duration.
const MOST_RUNS: usize = 100_000;

/// The length of a measurement.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Length {
    /// This number of runs.
    Runs(usize),
    /// Runs for this time, but from 10 to 100,000.
    Duration(Duration),
}

impl Length {
    /// The times of the runs of a measurement in seconds; `run` returns its own. Memory for them is allocated before.
    ///
    /// # Errors
    /// The error of a run.
    pub(crate) fn times<E>(
        self,
        mut run: impl FnMut() -> Result<Duration, E>,
    ) -> Result<Vec<f64>, E> {
        let (most, duration) = match self {
            Self::Runs(runs) => (runs, Duration::MAX),
            Self::Duration(duration) => (MOST_RUNS, duration),
        };
        let mut seconds = Vec::with_capacity(most);
        let start = Instant::now();
        while seconds.len() < most && (seconds.len() < LEAST_RUNS || start.elapsed() < duration) {
            seconds.push(run()?.as_secs_f64());
        }
        Ok(seconds)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_measurement_has_the_requested_runs() {
        let runs = |length: Length| {
            let mut count = 0;
            let times = length.times(|| -> Result<_, ()> {
                count += 1;
                Ok(Duration::from_millis(count))
            });
            times.unwrap()
        };
        assert_eq!(runs(Length::Runs(3)), [0.001, 0.002, 0.003]);
        assert_eq!(runs(Length::Duration(Duration::ZERO)).len(), LEAST_RUNS);
        assert!(runs(Length::Duration(Duration::from_millis(5))).len() >= LEAST_RUNS);
        let failed = Length::Runs(3).times(|| Err::<Duration, _>("no"));
        assert_eq!(failed, Err("no"));
    }
}
