//! The images that count in the metrics of a model.

use crate::schema::{FailurePolicy, Image, Outcome, Results};

/// An image that counts, and the outcome of a model for it.
pub(crate) struct Counted<'a> {
    pub(crate) image: &'a Image,
    /// The class of the image.
    pub(crate) class: u32,
    /// None if the image could not be evaluated.
    pub(crate) outcome: Option<&'a Outcome>,
}

impl Counted<'_> {
    /// Whether the true class is among the best `k`.
    pub(crate) fn is_correct(&self, k: usize) -> bool {
        self.outcome
            .is_some_and(|outcome| (outcome.rank as usize) < k)
    }
}

impl Results {
    /// The images that count, in ascending order.
    pub(crate) fn counted(&self, model: usize) -> impl Iterator<Item = Counted<'_>> {
        let outcomes = &self.models[model].outcomes;
        self.images
            .iter()
            .zip(outcomes)
            .filter_map(|(image, outcome)| {
                let class = self.class(image)?;
                let outcome = outcome.as_ref();
                let counts =
                    outcome.is_some() || self.settings.failures == FailurePolicy::CountWrong;
                counts.then_some(Counted {
                    image,
                    class,
                    outcome,
                })
            })
    }

    /// Number of counted images that a model classifies correctly at any k.
    pub(crate) fn correct(&self, model: usize, k: usize) -> usize {
        let correct = self.counted(model).filter(|counted| counted.is_correct(k));
        correct.count()
    }
}
