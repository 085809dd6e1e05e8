use serde::{Deserialize, Serialize};

use super::metric::Metric;

/// How long a metric has not become better: the count of Lightning's `EarlyStopping`.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub(crate) struct Watch {
    best: Option<Best>,
    /// Validations since the best one.
    #[serde(default)]
    stale: usize,
}

#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
struct Best {
    epoch: usize,
    value: f64,
}

impl Watch {
    /// Notes the value of a validation. It is the best one if it is better than the best so far by more than
    /// `min_delta`.
    pub(crate) fn note(&mut self, metric: Metric, epoch: usize, value: f64, min_delta: f64) {
        let value = metric.finite(value);
        match &self.best {
            Some(best) if !metric.is_better(value, best.value, min_delta) => self.stale += 1,
            _ => {
                self.best = Some(Best { epoch, value });
                self.stale = 0;
            }
        }
    }

    /// Why a run with this patience ends, if it does.
    pub(crate) fn exhausted(&self, metric: Metric, patience: Option<usize>) -> Option<String> {
        let patience = patience.filter(|&patience| self.stale >= patience)?;
        let Best { epoch, value } = self.best.as_ref()?;
        let (value, stale) = (metric.text(*value), self.stale);
        let plural = if stale == 1 { "" } else { "s" };
        Some(format!(
            "validation {value} of epoch {epoch} has not become better in {stale} validation{plural} (--patience {patience})"
        ))
    }
}
