//! Mean average precision, which needs the scores of all classes.

use topk_calibration::{AveragePrecision, Logits, LogitsError, RankedBy};

use crate::schema::{OutputKind, Results};

impl Results {
    /// Measures the mean average precision of a model from the logits of [the images with an outcome](Self::evaluated), if
    /// some of them have several true classes.
    ///
    /// Images are ranked by softmax probabilities, or by sigmoids if that is what the model computes.
    ///
    /// # Errors
    /// If the logits cannot be read.
    ///
    /// # Panics
    /// If the logits are of other images or classes.
    pub fn measure_average_precision(
        &mut self,
        model: usize,
        logits: &Logits,
    ) -> Result<(), LogitsError> {
        let measured = &self.models[model];
        if measured.metrics.multilabel.is_none() {
            return Ok(());
        }
        assert!(
            self.evaluated(measured)
                .eq(logits.indices().iter().copied()),
            "the logits are those of the images with an outcome"
        );
        let images = self.images.iter().zip(&measured.outcomes);
        let images = images.filter(|(_, outcome)| outcome.is_some());
        let labels: Vec<Vec<u32>> = images
            .map(|(image, _)| {
                let valid = |&&label: &&u32| self.is_valid_class(label);
                image.labels.iter().filter(valid).copied().collect()
            })
            .collect();
        let ranked_by = match measured.model.output_kind {
            OutputKind::Logits | OutputKind::Probs => RankedBy::Softmax,
            OutputKind::Sigmoid => RankedBy::Sigmoid,
        };
        let found = AveragePrecision::measure(logits, &labels, ranked_by)?;
        self.models[model].average_precision = found;
        Ok(())
    }
}
