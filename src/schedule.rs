use serde::Serialize;

/// How the learning rate falls after the warm-up.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Scheduler {
    /// Divide by ten at each of the --decay-milestones
    Step,
    /// Cosine decay per step, to 0 after the last step
    Cosine,
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
    /// The milestones of the authors' code: after one half and three quarters of the epochs.
    pub(crate) fn default_milestones(epochs: usize) -> Vec<usize> {
        vec![epochs / 2 + 1, epochs * 3 / 4 + 1]
    }

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
            milestones: LrSchedule::default_milestones(300),
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
