//! Further metrics of two models side by side.

use serde::Serialize;

use crate::further_metrics;
use crate::schema::ModelResults;

/// A metric of two models on the same images. All but accuracies: those are compared image by image.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct MetricChange {
    /// Its name in the results of a model.
    pub name: &'static str,
    /// Of the first.
    pub before: f64,
    /// Of the second.
    pub after: f64,
    /// What is compared, with the values of both.
    #[serde(skip)]
    pub(crate) row: [String; 3],
}

impl MetricChange {
    /// The metrics that both models have.
    pub(crate) fn of(before: &ModelResults, after: &ModelResults) -> Vec<Self> {
        let both = further_metrics::ALL.iter().filter_map(|metric| {
            let (before, after) = ((metric.value)(before)?, (metric.value)(after)?);
            Some(Self {
                name: metric.name,
                before,
                after,
                row: [
                    metric.title.to_owned(),
                    metric.text(before),
                    metric.text(after),
                ],
            })
        });
        both.collect()
    }
}
