//! How far wrong predictions are from the truth in WordNet's hierarchy.

use topk_labels::imagenet::class_of_wnid;
use topk_labels::wordnet::lca_height;

use crate::schema::{HierarchicalDistance, Image, Results, Severity};

impl Results {
    /// [`Metrics::severity`](crate::Metrics::severity) of a model; none unless all classes are among the 1,000 of
    /// ImageNet.
    pub(crate) fn severity(&self, model: usize) -> Option<Severity> {
        let classes = self.wnids.as_ref()?.iter();
        let classes: Vec<u32> = classes
            .map(|wnid| class_of_wnid(wnid))
            .collect::<Option<_>>()?;
        // An image has the distance of the nearest of its true classes.
        let distance = |image: &Image, predicted: u32| {
            let labels = image.labels.iter().copied();
            let valid = labels.filter(|&label| self.is_valid_class(label));
            let heights =
                valid.map(|label| lca_height(classes[label as usize], classes[predicted as usize]));
            heights.min().map_or(0, u64::from)
        };
        let evaluated = || {
            self.counted(model)
                .filter_map(|counted| Some((counted.image, counted.outcome?)))
        };
        let images = evaluated().count();
        let mut mistakes = 0;
        let mut total = 0;
        for (image, outcome) in evaluated().filter(|(_, outcome)| outcome.rank > 0) {
            mistakes += 1;
            total += distance(image, outcome.predicted);
        }
        let kept = evaluated()
            .map(|(_, outcome)| outcome.best.len())
            .min()
            .unwrap_or(0);
        let distances = self
            .settings
            .topk
            .iter()
            .filter(|&&k| k == 1 || k <= kept)
            .map(|&k| {
                let sum: u64 = match k {
                    1 => total,
                    _ => evaluated()
                        .flat_map(|(image, outcome)| {
                            outcome.best[..k]
                                .iter()
                                .map(move |best| (image, best.class))
                        })
                        .map(|(image, class)| distance(image, class))
                        .sum(),
                };
                HierarchicalDistance {
                    k,
                    distance: (images > 0).then(|| sum as f64 / (images * k) as f64),
                }
            });
        Some(Severity {
            mistakes,
            mistake_severity: (mistakes > 0).then(|| total as f64 / mistakes as f64),
            hierarchical_distance: distances.collect(),
        })
    }
}
