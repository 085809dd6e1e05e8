use serde::{Deserialize, Serialize};

use crate::validation::Metric;

/// An epoch whose checkpoint is among the best.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub(crate) struct Kept {
    pub(crate) epoch: usize,
    /// Its value of the metric.
    pub(crate) value: f64,
}

impl Kept {
    /// Adds an epoch to the best ones, the best first, of which at most `most` are kept; returns the epochs that are not
    /// kept any more. As in timm's `CheckpointSaver`, the earlier one of equal epochs is better.
    pub(crate) fn add(kept: &mut Vec<Self>, new: Self, most: usize, metric: Metric) -> Vec<usize> {
        let new = Self {
            value: metric.finite(new.value),
            ..new
        };
        let worse = |one: &Self| metric.is_better(new.value, one.value, 0.0);
        let at = kept.iter().position(worse).unwrap_or(kept.len());
        kept.insert(at, new);
        kept.split_off(most.min(kept.len()))
            .into_iter()
            .map(|dropped| dropped.epoch)
            .collect()
    }
}
