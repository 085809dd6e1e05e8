use std::fmt;
use std::str::FromStr;

use serde::Serialize;
use thiserror::Error;

/// How the learning rate falls after the warm-up.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Scheduler {
    /// Divide by ten at each of the --decay-milestones
    Step,
    /// Cosine decay per step, to 0 after the last step
    Cosine,
}

/// Epochs, from 1, at whose start the learning rate is divided by ten.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize)]
pub(crate) struct Milestones(pub(crate) Vec<usize>);

/// A text is not a list of [`Milestones`].
#[derive(Clone, Debug, Error, PartialEq)]
#[error("expected epochs separated by commas, such as 151,226, or none")]
pub(crate) struct ParseMilestonesError;

impl FromStr for Milestones {
    type Err = ParseMilestonesError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if matches!(text, "" | "none") {
            return Ok(Self::default());
        }
        let epochs = text.split(',').map(|epoch| epoch.trim().parse());
        let epochs: Result<_, _> = epochs.collect();
        epochs.map(Self).map_err(|_| ParseMilestonesError)
    }
}

impl fmt::Display for Milestones {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let epochs: Vec<String> = self.0.iter().map(usize::to_string).collect();
        match epochs.is_empty() {
            true => f.write_str("none"),
            false => f.write_str(&epochs.join(",")),
        }
    }
}

impl Milestones {
    /// Those of the authors' code: after one half and three quarters of the epochs. One that would fall on the
    /// first epoch of a short run is left out: no epoch would be trained at the peak learning rate.
    pub(crate) fn default_for(epochs: usize) -> Self {
        let mut milestones = vec![epochs / 2 + 1, epochs * 3 / 4 + 1];
        milestones.dedup();
        milestones.retain(|&first| first > 1);
        Self(milestones)
    }
}

/// The learning rate of every optimizer step.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct LrSchedule {
    pub(crate) scheduler: Scheduler,
    /// Peak learning rate.
    pub(crate) peak: f64,
    /// Epochs, from 1, at whose start the learning rate is divided by ten.
    pub(crate) milestones: Vec<usize>,
    /// Number of epochs of linear warm-up.
    pub(crate) warmup_epochs: usize,
    pub(crate) epochs: usize,
    pub(crate) steps_per_epoch: usize,
}

impl LrSchedule {
    /// The learning rate of a step of an epoch. Steps count from 0, epochs from 1.
    pub(crate) fn learning_rate(&self, epoch: usize, step: usize) -> f64 {
        let done = (epoch - 1) * self.steps_per_epoch + step;
        let warmup = self.warmup_epochs * self.steps_per_epoch;
        if done < warmup {
            return self.peak * (done + 1) as f64 / warmup as f64;
        }
        match self.scheduler {
            Scheduler::Step => {
                let passed = self.milestones.iter().filter(|&&first| epoch >= first);
                self.peak * 0.1f64.powi(passed.count() as i32)
            }
            Scheduler::Cosine => {
                let steps = (self.epochs * self.steps_per_epoch - warmup).max(1);
                let part = (done - warmup) as f64 / steps as f64;
                self.peak * 0.5 * (1.0 + (std::f64::consts::PI * part).cos())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schedule(scheduler: Scheduler, warmup_epochs: usize) -> LrSchedule {
        LrSchedule {
            scheduler,
            peak: 0.1,
            milestones: Milestones::default_for(300).0,
            warmup_epochs,
            epochs: 300,
            steps_per_epoch: 10,
        }
    }

    #[test]
    fn milestones_and_rates_match_the_authors_code() {
        let schedule = schedule(Scheduler::Step, 0);
        assert_eq!(schedule.milestones, [151, 226]);
        for (epoch, rate) in [(1, 0.1), (150, 0.1), (151, 0.01), (225, 0.01), (226, 0.001)] {
            for step in [0, 9] {
                assert!((schedule.learning_rate(epoch, step) - rate).abs() < 1e-12);
            }
        }
    }

    #[test]
    fn a_short_run_is_trained_at_the_peak_first() {
        for (epochs, milestones) in [
            (1, vec![]),
            (2, vec![2]),
            (3, vec![2, 3]),
            (4, vec![3, 4]),
            (5, vec![3, 4]),
        ] {
            assert_eq!(Milestones::default_for(epochs).0, milestones);
        }
    }

    #[test]
    fn milestones_are_read_as_they_are_written() {
        for text in ["none", "3", "151,226"] {
            assert_eq!(text.parse::<Milestones>().unwrap().to_string(), text);
        }
        assert_eq!("".parse(), Ok(Milestones(vec![])));
        for text in ["1.5", "3,", "-1", "a"] {
            assert!(text.parse::<Milestones>().is_err(), "{text}");
        }
    }

    #[test]
    fn cosine_decays_from_peak_to_zero() {
        let schedule = schedule(Scheduler::Cosine, 0);
        assert_eq!(schedule.learning_rate(1, 0), 0.1);
        assert!((schedule.learning_rate(151, 0) - 0.05).abs() < 1e-12);
        assert!(schedule.learning_rate(300, 9) < 1e-7);
    }

    #[test]
    fn warmup_is_linear_and_both_schedulers_follow_it() {
        for scheduler in [Scheduler::Step, Scheduler::Cosine] {
            let schedule = schedule(scheduler, 2);
            assert!((schedule.learning_rate(1, 0) - 0.005).abs() < 1e-12);
            assert!((schedule.learning_rate(1, 9) - 0.05).abs() < 1e-12);
            assert!((schedule.learning_rate(2, 9) - 0.1).abs() < 1e-12);
            assert!((schedule.learning_rate(3, 0) - 0.1).abs() < 1e-12);
        }
        assert!(schedule(Scheduler::Cosine, 2).learning_rate(300, 9) < 1e-7);
    }
}
