//! Measurements as CSV.

use super::schema::{Bench, Measurement, Preparation, TimedRuns};
use crate::csv::{field, write_csv};

impl Bench {
    /// CSV (RFC 4180) with a header and one row per model, provider, number of threads and batch size. Times are in
    /// seconds. Fields that were not measured are empty.
    pub fn to_csv(&self) -> String {
        let header = [
            "model",
            "sha256",
            "provider",
            "device",
            "threads",
            "batch_size",
            "runs",
            "images_per_second",
            "min",
            "mean",
            "std",
            "p50",
            "p90",
            "p99",
            "max",
            "session_seconds",
            "first_run_seconds",
            "resident_bytes",
            "gpu_bytes",
            "read_seconds",
            "decode_seconds",
            "resize_seconds",
            "normalize_seconds",
            "top1",
            "precision",
            "data",
            "started",
            "onnxruntime",
            "topk_eval",
        ];
        let mut rows = vec![header.map(str::to_owned).to_vec()];
        for (at, model) in self.models.iter().enumerate() {
            for measurement in &model.measurements {
                let all = measurement.throughput.iter();
                // The runs for the latency may be those of a batch size too.
                let latency = Some(&measurement.latency).filter(|latency| {
                    all.clone()
                        .all(|runs| runs.batch_size != latency.batch_size)
                });
                let runs = latency.into_iter().chain(all);
                rows.extend(runs.map(|runs| self.csv_row(at, measurement, runs)));
            }
        }
        write_csv(&rows)
    }

    fn csv_row(&self, model: usize, measurement: &Measurement, runs: &TimedRuns) -> Vec<String> {
        let model = &self.models[model];
        let latency = runs.latency;
        let prepared = |time: fn(&Preparation) -> f64| field(model.preparation.as_ref().map(time));
        vec![
            model.path.clone(),
            model.sha256.clone(),
            measurement.provider.clone(),
            measurement.device.clone(),
            measurement.threads.to_string(),
            runs.batch_size.to_string(),
            runs.runs.to_string(),
            runs.images_per_second.to_string(),
            latency.min.to_string(),
            latency.mean.to_string(),
            latency.std.to_string(),
            latency.p50.to_string(),
            latency.p90.to_string(),
            latency.p99.to_string(),
            latency.max.to_string(),
            measurement.session_seconds.to_string(),
            measurement.first_run_seconds.to_string(),
            field(measurement.memory.resident_bytes),
            field(measurement.memory.gpu_bytes),
            prepared(|times| times.read_seconds),
            prepared(|times| times.decode_seconds),
            prepared(|times| times.resize_seconds),
            prepared(|times| times.normalize_seconds),
            field(model.accuracy.as_ref().map(|accuracy| accuracy.top1)),
            model.precision.clone(),
            self.images
                .as_ref()
                .map_or_else(String::new, |images| images.path.clone()),
            self.started.clone(),
            self.environment.onnxruntime.clone(),
            self.topk_eval.clone(),
        ]
    }
}
