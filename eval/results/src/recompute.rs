use crate::check::InvalidResults;
use crate::schema::{Metrics, Results};

impl Results {
    /// Computes again what follows from the rest, after a change: whether the run is complete, and the metrics
    /// and speed of each model.
    ///
    /// # Errors
    /// If the parts contradict each other.
    pub fn recompute(mut self) -> Result<Self, InvalidResults> {
        self.check_parts()?;
        self.complete = self.is_complete();
        let metrics: Vec<Metrics> = (0..self.models.len())
            .map(|model| Metrics::of(&self, model))
            .collect();
        let images = self.images.len() as f64;
        for (model, metrics) in self.models.iter_mut().zip(metrics) {
            model.metrics = metrics;
            let timing = &mut model.timing;
            timing.images_per_second = match timing.sessions {
                Some(sessions) if timing.inference_seconds > 0.0 => {
                    images * sessions as f64 / timing.inference_seconds
                }
                _ => 0.0,
            };
        }
        Ok(self)
    }
}
