use serde::Serialize;

/// How the learning rate falls.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum ScheduleKind {
    /// A tenth of it from each of the --milestones on
    Step,
    /// Along half a wave of the cosine, step by step, to 0 after the last
    Cosine,
}

/// The learning rate, step by step.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Schedule {
    pub(crate) kind: ScheduleKind,
    /// Its largest value.
    pub(crate) peak: f64,
    /// Epochs, from 1, at whose start it is divided by ten.
    pub(crate) milestones: Vec<usize>,
    /// Epochs in which it rises in equal steps.
    pub(crate) warmup: usize,
    pub(crate) epochs: usize,
    pub(crate) steps_per_epoch: usize,
}

impl Schedule {
    /// Where the seed code has its milestones: after half and three quarters of the epochs.
    pub(crate) fn halves(epochs: usize) -> Vec<usize> {
        vec![epochs / 2 + 1, epochs * 3 / 4 + 1]
    }

    /// The learning rate of a step, from 0, of an epoch, from 1.
    pub(crate) fn learning_rate(&self, epoch: usize, step: usize) -> f64 {
        let done = (epoch - 1) * self.steps_per_epoch + step;
        let warmup = self.warmup * self.steps_per_epoch;
        if done < warmup {
            return self.peak * (done + 1) as f64 / warmup as f64;
        }
        match self.kind {
            ScheduleKind::Step => {
                let passed = self.milestones.iter().filter(|&&first| epoch >= first);
                self.peak * 0.1f64.powi(passed.count() as i32)
            }
            ScheduleKind::Cosine => {
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

    fn schedule(kind: ScheduleKind, warmup: usize) -> Schedule {
        Schedule {
            kind,
            peak: 0.1,
            milestones: Schedule::halves(300),
            warmup,
            epochs: 300,
            steps_per_epoch: 10,
        }
    }

    #[test]
    fn steps_are_the_seed_codes() {
        let schedule = schedule(ScheduleKind::Step, 0);
        assert_eq!(schedule.milestones, [151, 226]);
        for (epoch, rate) in [(1, 0.1), (150, 0.1), (151, 0.01), (225, 0.01), (226, 0.001)] {
            for step in [0, 9] {
                assert!((schedule.learning_rate(epoch, step) - rate).abs() < 1e-12);
            }
        }
    }

    #[test]
    fn cosine_ends_at_zero() {
        let schedule = schedule(ScheduleKind::Cosine, 0);
        assert_eq!(schedule.learning_rate(1, 0), 0.1);
        assert!((schedule.learning_rate(151, 0) - 0.05).abs() < 1e-12);
        assert!(schedule.learning_rate(300, 9) < 1e-7);
    }

    #[test]
    fn warmup_rises_to_the_peak_and_the_rest_follows() {
        for kind in [ScheduleKind::Step, ScheduleKind::Cosine] {
            let schedule = schedule(kind, 2);
            assert!((schedule.learning_rate(1, 0) - 0.005).abs() < 1e-12);
            assert!((schedule.learning_rate(1, 9) - 0.05).abs() < 1e-12);
            assert!((schedule.learning_rate(2, 9) - 0.1).abs() < 1e-12);
            assert!((schedule.learning_rate(3, 0) - 0.1).abs() < 1e-12);
        }
        assert!(schedule(ScheduleKind::Cosine, 2).learning_rate(300, 9) < 1e-7);
    }
}
