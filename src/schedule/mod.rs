//! The learning rate of every step.

mod plateau;
mod settings;
#[cfg(test)]
mod tests;

use std::f64::consts::PI;

pub(crate) use plateau::Plateau;
pub use settings::{LrScale, Milestones, ParseMilestonesError, ScheduleSettings, Scheduler};

/// PyTorch's defaults of `OneCycleLR`: the part of the steps in which the learning rate rises, and by how much it does.
const RISING: f64 = 0.3;
const RISE: f64 = 25.0;
/// How far below its start the learning rate ends.
const FALL: f64 = 1e4;

/// The learning rate of every optimizer step.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct LrSchedule {
    pub(crate) settings: ScheduleSettings,
    /// Peak learning rate.
    pub(crate) peak: f64,
    pub(crate) epochs: usize,
    pub(crate) steps_per_epoch: usize,
    /// What `--sched plateau` has found so far.
    plateau: Option<Plateau>,
}

impl LrSchedule {
    /// The schedule of a run; `plateau` is what was saved of an earlier part of it.
    pub(crate) fn new(
        settings: ScheduleSettings,
        peak: f64,
        epochs: usize,
        steps_per_epoch: usize,
        plateau: Option<Plateau>,
    ) -> Self {
        let is_plateau = settings.sched == Scheduler::Plateau;
        Self {
            plateau: is_plateau.then(|| plateau.unwrap_or_else(|| Plateau::new(peak))),
            settings,
            peak,
            epochs,
            steps_per_epoch,
        }
    }

    /// The learning rate of a step of an epoch. Steps count from 0, epochs from 1. With `--sched plateau`, the epoch must be
    /// the one after those that have [ended](Self::epoch_ended).
    pub(crate) fn learning_rate(&self, epoch: usize, step: usize) -> f64 {
        let settings = &self.settings;
        let done = (epoch - 1) * self.steps_per_epoch + step;
        if settings.sched == Scheduler::OneCycle {
            return self.one_cycle(done);
        }
        // Time in steps or in epochs.
        let (now, unit) = match settings.sched_on_updates.unwrap_or(true) {
            true => (done, self.steps_per_epoch),
            false => (epoch - 1, 1),
        };
        let warmup = settings.warmup_epochs * unit;
        if now < warmup {
            return match settings.warmup_lr {
                None => self.peak * (now + 1) as f64 / warmup as f64,
                Some(start) => start + now as f64 * ((self.peak - start) / warmup as f64),
            };
        }
        match settings.sched {
            Scheduler::Constant | Scheduler::OneCycle => self.peak,
            Scheduler::Plateau => self.plateau.as_ref().map_or(self.peak, Plateau::lr),
            Scheduler::Step | Scheduler::MultiStep => {
                self.peak * settings.decay_rate().powi(self.decays(epoch, done))
            }
            Scheduler::Cosine | Scheduler::Poly => self.decayed(now, warmup, unit),
        }
    }

    /// How often the learning rate of `--sched step` or `multistep` has fallen.
    fn decays(&self, epoch: usize, done: usize) -> i32 {
        let settings = &self.settings;
        let skipped = match settings.warmup_prefix {
            Some(true) => settings.warmup_epochs,
            _ => 0,
        };
        let Some(every) = settings.decay_epochs else {
            let milestones = settings.decay_milestones.iter().flat_map(|all| &all.0);
            let passed = milestones.filter(|&&first| epoch >= first + skipped);
            return passed.count() as i32;
        };
        let (now, every) = match settings.sched_on_updates {
            Some(true) => {
                let steps = self.steps_per_epoch;
                (done - skipped * steps, every * steps as f64)
            }
            _ => (epoch - 1 - skipped, every),
        };
        // Division as Python rounds it down: 1 / 0.1 is 9 and a rest.
        let now = now as f64;
        ((now - now % every) / every).round() as i32
    }

    /// The learning rate on its way to `--min-lr`.
    fn decayed(&self, now: usize, warmup: usize, unit: usize) -> f64 {
        let settings = &self.settings;
        let least = settings.min_lr.unwrap_or(0.0);
        let total = (self.epochs - settings.cooldown_epochs.unwrap_or(0)) * unit;
        let (now, total) = match settings.warmup_prefix.unwrap_or(true) {
            true => (now - warmup, total.saturating_sub(warmup).max(1)),
            false => (now, total),
        };
        if now >= total {
            return least;
        }
        let part = now as f64 / total as f64;
        least
            + match settings.sched {
                Scheduler::Poly => (self.peak - least) * (1.0 - part).powf(settings.decay_rate()),
                _ => (self.peak - least) * 0.5 * (1.0 + (PI * part).cos()),
            }
    }

    /// PyTorch's `OneCycleLR`: up along a cosine, and down along another one.
    fn one_cycle(&self, done: usize) -> f64 {
        let settings = &self.settings;
        let start = settings.warmup_lr.unwrap_or(self.peak / RISE);
        let end = settings.min_lr.unwrap_or(start / FALL);
        let rising = match settings.warmup_epochs {
            0 => RISING,
            warmup => warmup as f64 / self.epochs as f64,
        };
        let total = (self.epochs * self.steps_per_epoch) as f64;
        let (done, top, last) = (done as f64, rising * total - 1.0, total - 1.0);
        let (from, to, part) = match done <= top {
            true if top > 0.0 => (start, self.peak, done / top),
            true => (start, self.peak, 1.0),
            false => (self.peak, end, (done - top) / (last - top)),
        };
        to + (from - to) / 2.0 * (1.0 + (PI * part).cos())
    }

    /// Notes the validation metric of an epoch, after its last step. Lower values are better of a loss, for example.
    pub(crate) fn epoch_ended(&mut self, epoch: usize, metric: f64, lower_is_better: bool) {
        let settings = &self.settings;
        if let Some(plateau) = &mut self.plateau
            && epoch > settings.warmup_epochs
        {
            plateau.epoch_ended(metric, lower_is_better, settings);
        }
    }

    /// What is saved with the state of a run.
    pub(crate) fn plateau(&self) -> Option<&Plateau> {
        self.plateau.as_ref()
    }
}
