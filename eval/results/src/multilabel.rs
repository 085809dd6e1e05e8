//! Metrics for images with several true classes.

use crate::schema::{Image, MultilabelMetrics, Outcome, RecallAtK, Results};

impl Results {
    /// Metrics over all true classes of the images; none if every image has one.
    pub(crate) fn multilabel(&self, model: usize) -> Option<MultilabelMetrics> {
        let outcomes = || self.models[model].outcomes.iter().flatten();
        let has_several = |image: &Image| {
            let mut labels = image.labels.iter();
            let mut labels = labels.by_ref().filter(|&&label| self.is_valid_class(label));
            labels
                .next()
                .is_some_and(|first| labels.any(|label| label != first))
        };
        let evaluated = self.images.iter().zip(&self.models[model].outcomes);
        let several: Vec<&Outcome> = evaluated
            .filter(|(image, _)| has_several(image))
            .filter_map(|(_, outcome)| outcome.as_ref())
            .collect();
        // Older versions did not keep the ranks.
        if several.is_empty() || several.iter().any(|outcome| outcome.label_ranks.is_empty()) {
            return None;
        }
        let (several, images) = (several.len(), outcomes().count());
        let classes = self.num_valid_classes();
        let mean = |value: &dyn Fn(&[u32]) -> f64| {
            let values = outcomes().map(|outcome| value(ranks(outcome)));
            values.sum::<f64>() / images as f64
        };
        let within = |ranks: &[u32], k: usize| ranks.partition_point(|&rank| (rank as usize) < k);
        Some(MultilabelMetrics {
            several,
            mean_labels: mean(&|ranks| ranks.len() as f64),
            ranking_average_precision: mean(&|ranks| {
                let precisions = (1..).zip(ranks);
                let precisions =
                    precisions.map(|(found, &rank)| f64::from(found) / f64::from(rank + 1));
                precisions.sum::<f64>() / ranks.len() as f64
            }),
            coverage_error: mean(&|ranks| ranks.last().map_or(0.0, |&rank| f64::from(rank + 1))),
            ranking_loss: mean(&|ranks| {
                let wrong = classes - ranks.len();
                let before = (0..)
                    .zip(ranks)
                    .map(|(found, &rank)| f64::from(rank - found));
                match wrong {
                    0 => 0.0,
                    wrong => before.sum::<f64>() / (ranks.len() * wrong) as f64,
                }
            }),
            r_precision: mean(&|ranks| within(ranks, ranks.len()) as f64 / ranks.len() as f64),
            recall: (self.settings.topk.iter())
                .map(|&k| RecallAtK {
                    k,
                    recall: mean(&|ranks| within(ranks, k) as f64 / ranks.len() as f64),
                })
                .collect(),
        })
    }
}

/// The ranks of all true classes, ascending.
fn ranks(outcome: &Outcome) -> &[u32] {
    match &outcome.label_ranks[..] {
        [] => std::slice::from_ref(&outcome.rank),
        ranks => ranks,
    }
}
