//! A learning rate that falls when validation does not improve.

use serde::{Deserialize, Serialize};

use super::ScheduleSettings;

/// By how much a metric must be better, as a fraction of the best so far: PyTorch's and timm's default.
const THRESHOLD: f64 = 1e-4;
/// A smaller change of the learning rate is not made, as in PyTorch.
const SMALLEST_CHANGE: f64 = 1e-8;

/// What PyTorch's `ReduceLROnPlateau` keeps between epochs.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub(crate) struct Plateau {
    lr: f64,
    best: Option<f64>,
    /// Epochs in a row that were not better.
    worse: usize,
}

impl Plateau {
    /// The start of a run with this learning rate.
    pub(crate) fn new(lr: f64) -> Self {
        Self {
            lr,
            best: None,
            worse: 0,
        }
    }

    /// The learning rate of the next epoch, after the warm-up.
    pub(crate) fn lr(&self) -> f64 {
        self.lr
    }

    pub(super) fn epoch_ended(
        &mut self,
        metric: f64,
        lower_is_better: bool,
        settings: &ScheduleSettings,
    ) {
        let is_better = match (self.best, lower_is_better) {
            (None, _) => !metric.is_nan(),
            (Some(best), false) => metric > best * (1.0 + THRESHOLD),
            (Some(best), true) => metric < best * (1.0 - THRESHOLD),
        };
        if is_better {
            self.best = Some(metric);
            self.worse = 0;
        } else {
            self.worse += 1;
        }
        if self.worse > settings.patience_epochs() {
            let least = settings.min_lr.unwrap_or(0.0);
            let lower = (self.lr * settings.decay_rate()).max(least);
            if self.lr - lower > SMALLEST_CHANGE {
                self.lr = lower;
            }
            self.worse = 0;
        }
    }
}
