use std::time::Duration;

use crate::check::InvalidResults;
use crate::schema::{
    DataInfo, Environment, FORMAT, Failure, Image, Metrics, ModelInfo, ModelResults, Outcome,
    Results, Settings, Shard, Subset, Timing,
};

/// What an evaluation measured, before metrics are computed from it.
#[derive(Clone, Debug)]
pub struct Measurements {
    /// Version of `topk-eval`.
    pub topk_eval: String,
    /// When the evaluation started (RFC 3339).
    pub started: String,
    /// The random subset of the data set that was evaluated, if not all.
    pub subset: Option<Subset>,
    /// The part of the data set, or of the subset, that was evaluated, if not all.
    pub shard: Option<Shard>,
    /// The data set.
    pub data: DataInfo,
    /// Settings common to all models.
    pub settings: Settings,
    /// The machine.
    pub environment: Environment,
    /// Names of the classes.
    pub class_names: Vec<String>,
    /// WordNet IDs of the classes, if they have any.
    pub wnids: Option<Vec<String>>,
    /// All evaluated images, including unreadable ones, by ascending index.
    pub images: Vec<Image>,
    /// Unreadable images, by ascending index.
    pub failures: Vec<Failure>,
    /// Measurements of each model.
    pub models: Vec<ModelMeasurements>,
}

/// What was measured for one model.
#[derive(Clone, Debug)]
pub struct ModelMeasurements {
    /// The model, and how it was run.
    pub model: ModelInfo,
    /// Number of CPU threads.
    pub threads: usize,
    /// Number of sessions that run at the same time.
    pub sessions: usize,
    /// Wall-clock time of the whole run.
    pub elapsed: Duration,
    /// Time for decoding and resizing, summed over threads.
    pub decode: Duration,
    /// Time for inference, summed over sessions.
    pub inference: Duration,
    /// The outcome of each image; none for images that could not be evaluated or have no valid label.
    pub outcomes: Vec<Option<Outcome>>,
}

impl Measurements {
    /// Computes the metrics.
    ///
    /// # Errors
    /// If the measurements contradict each other.
    pub fn finish(self) -> Result<Results, InvalidResults> {
        let models = self.models.into_iter().map(|measured| ModelResults {
            model: measured.model,
            timing: Timing {
                threads: Some(measured.threads),
                seconds: measured.elapsed.as_secs_f64(),
                decode_seconds: measured.decode.as_secs_f64(),
                inference_seconds: measured.inference.as_secs_f64(),
                sessions: Some(measured.sessions),
                images_per_second: 0.0,
            },
            metrics: Metrics::default(),
            calibration: None,
            average_precision: None,
            outcomes: measured.outcomes,
        });
        let results = Results {
            format: FORMAT,
            topk_eval: self.topk_eval,
            started: self.started,
            complete: false,
            subset: self.subset,
            shard: self.shard,
            data: self.data,
            settings: self.settings,
            environments: vec![self.environment],
            warnings: Vec::new(),
            class_names: self.class_names,
            wnids: self.wnids,
            images: self.images,
            failures: self.failures,
            models: models.collect(),
        };
        results.recompute()
    }
}
