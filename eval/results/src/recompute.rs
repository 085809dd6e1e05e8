use serde_json::Value;

use crate::check::InvalidResults;
use crate::file;
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

impl Results {
    /// Computes metrics that a file lacks, after checking that computed values in it match its outcomes. `written` are
    /// the metrics of each model, as in the file.
    ///
    /// # Errors
    /// If the parts contradict each other.
    pub(crate) fn recompute_missing(self, written: &[Value]) -> Result<Self, InvalidResults> {
        let complete = self.complete;
        let results = self.recompute()?;
        if results.complete != complete {
            return Err(InvalidResults::Computed("`complete`".to_owned()));
        }
        for (model, written) in results.models.iter().zip(written) {
            if !agrees(written, &file::to_value(&model.metrics)) {
                let what = format!("`metrics` of {}", model.model.path);
                return Err(InvalidResults::Computed(what));
            }
        }
        Ok(results)
    }
}

/// Whether a value is equal to a computed one, except for members that only one of them has.
fn agrees(written: &Value, computed: &Value) -> bool {
    match (written, computed) {
        (Value::Object(written), Value::Object(computed)) => written.iter().all(|(name, value)| {
            let computed = computed.get(name);
            computed.is_none_or(|computed| agrees(value, computed))
        }),
        (Value::Array(written), Value::Array(computed)) => {
            let mut pairs = written.iter().zip(computed);
            written.len() == computed.len() && pairs.all(|(a, b)| agrees(a, b))
        }
        _ => written == computed,
    }
}
