//! Metrics of all models as CSV, and as the text table of the paper's code.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;

use topk_calibration::SetMethod;

use crate::file::FileError;
use crate::schema::{COVERAGES, CropAveraging, Results};

impl Results {
    /// CSV (RFC 4180) with a header and one row per model: metrics and how the model was run. Fields that
    /// were not measured are empty.
    pub fn to_csv(&self) -> String {
        let mut header: Vec<String> = ["model", "sha256", "architecture", "images", "judged"]
            .map(str::to_owned)
            .to_vec();
        header.extend(["failed", "excluded", "ties"].map(str::to_owned));
        for k in &self.settings.topk {
            let columns = ["", "_correct", "_low", "_high", "_mean_class"];
            header.extend(columns.map(|column| format!("top{k}{column}")));
        }
        let rest = [
            "cross_entropy",
            "topk_loss",
            "loss_topk",
            "loss_tau",
            "loss_alpha",
            "calibration_error",
            "brier_score",
            "adaptive_calibration_error",
            "aurc",
            "precision_macro",
            "recall_macro",
            "f1_macro",
            "precision_weighted",
            "recall_weighted",
            "f1_weighted",
            "mistake_severity",
            "provider",
            "device",
            "precision",
            "number_format",
            "bytes",
            "tf32",
            "batch_size",
            "threads",
            "crops",
            "preprocessing",
            "seconds",
            "decode_seconds",
            "inference_seconds",
            "images_per_second",
            "data",
            "data_sha256",
            "complete",
            "subset_images",
            "subset_seed",
            "started",
            "onnxruntime",
            "topk_eval",
        ];
        header.extend(rest.map(str::to_owned));
        header.extend(COVERAGES.map(|percent| format!("top1_at_coverage_{percent}")));
        let distances = self.settings.topk.iter();
        header.extend(distances.map(|k| format!("hierarchical_distance_top{k}")));
        let multilabel = [
            "ranking_average_precision",
            "coverage_error",
            "ranking_loss",
            "r_precision",
            "mean_average_precision",
        ];
        header.extend(multilabel.map(str::to_owned));
        let calibration = [
            "temperature",
            "temperature_low",
            "temperature_high",
            "half_nll",
            "half_nll_scaled",
            "half_brier",
            "half_brier_scaled",
            "half_ece",
            "half_ece_scaled",
        ];
        header.extend(calibration.map(str::to_owned));
        header.extend(self.set_columns().iter().flat_map(|(method, target)| {
            let columns = ["threshold", "coverage", "size"];
            columns.map(|column| format!("{}_{target}_{column}", method.name().to_lowercase()))
        }));
        for name in &self.data.group_names {
            header.extend([
                format!("group_{name}_top1"),
                format!("group_{name}_error_ratio"),
            ]);
        }
        let mut rows = vec![header];
        rows.extend((0..self.models.len()).map(|model| self.csv_row(model)));
        write_csv(&rows)
    }

    fn csv_row(&self, model: usize) -> Vec<String> {
        let entry = &self.models[model];
        let (model, timing, metrics) = (&entry.model, &entry.timing, &entry.metrics);
        let counts = [
            metrics.images,
            metrics.evaluated,
            metrics.failed,
            metrics.excluded,
        ];
        let mut row = vec![
            model.path.clone(),
            model.sha256.clone(),
            model.architecture.clone().unwrap_or_default(),
        ];
        row.extend(counts.map(|count| count.to_string()));
        row.push(metrics.ties.to_string());
        for accuracy in &metrics.topk {
            row.extend([
                field(accuracy.accuracy),
                accuracy.correct.to_string(),
                accuracy.low.to_string(),
                accuracy.high.to_string(),
                field(accuracy.mean_class_accuracy),
            ]);
        }
        let loss = self.settings.loss;
        let crops = match model.crops {
            CropAveraging::None => "none",
            CropAveraging::Probs => "probs",
            CropAveraging::Logits => "logits",
        };
        let versions = self.environments.first();
        row.extend([
            field(metrics.cross_entropy),
            field(metrics.topk_loss),
            field(loss.map(|loss| loss.k)),
            field(loss.map(|loss| loss.tau)),
            field(loss.map(|loss| loss.alpha)),
            field(metrics.calibration_error),
            field(metrics.brier_score),
            field(metrics.adaptive_calibration_error),
            field(metrics.aurc),
        ]);
        for average in [&metrics.macro_avg, &metrics.weighted_avg] {
            let average = average.as_ref();
            row.extend([
                field(average.map(|average| average.precision)),
                field(average.map(|average| average.recall)),
                field(average.map(|average| average.f1)),
            ]);
        }
        let severity = metrics.severity.as_ref();
        row.extend([
            field(severity.and_then(|severity| severity.mistake_severity)),
            model.provider.clone(),
            model.device.clone(),
            model.precision.clone(),
            model.number_format(),
            field(model.bytes),
            model.tf32.to_string(),
            model.batch_size.to_string(),
            field(timing.threads),
            crops.to_owned(),
            model.preprocessing.clone(),
            timing.seconds.to_string(),
            timing.decode_seconds.to_string(),
            timing.inference_seconds.to_string(),
            timing.images_per_second.to_string(),
            self.data.path.clone(),
            self.data.sha256.clone(),
            self.complete.to_string(),
            field(self.subset.as_ref().map(|subset| subset.images)),
            field(self.subset.as_ref().map(|subset| subset.seed)),
            self.started.clone(),
            field(versions.map(|machine| &machine.onnxruntime)),
            self.topk_eval.clone(),
        ]);
        let coverage = metrics.coverage.iter();
        row.extend(coverage.map(|coverage| field(coverage.accuracy)));
        let topk = self.settings.topk.iter();
        row.extend(topk.map(|&k| field(metrics.hierarchical_distance(k))));
        let multilabel = metrics.multilabel.as_ref();
        row.extend([
            field(multilabel.map(|metrics| metrics.ranking_average_precision)),
            field(multilabel.map(|metrics| metrics.coverage_error)),
            field(multilabel.map(|metrics| metrics.ranking_loss)),
            field(multilabel.map(|metrics| metrics.r_precision)),
            field(entry.average_precision.map(|found| found.mean)),
        ]);
        let calibration = entry.calibration.as_ref();
        let temperature = calibration.map(|found| found.temperature);
        row.extend([
            field(temperature.map(|temperature| temperature.value)),
            field(temperature.map(|temperature| temperature.low)),
            field(temperature.map(|temperature| temperature.high)),
            field(calibration.map(|found| found.before.nll.value)),
            field(calibration.map(|found| found.after.nll.value)),
            field(calibration.map(|found| found.before.brier.value)),
            field(calibration.map(|found| found.after.brier.value)),
            field(calibration.map(|found| found.before.ece.value)),
            field(calibration.map(|found| found.after.ece.value)),
        ]);
        for column in self.set_columns() {
            let sets = calibration.iter().flat_map(|found| &found.sets);
            let sets = sets
                .into_iter()
                .find(|sets| (sets.method, sets.target) == column);
            row.extend([
                field(sets.and_then(|sets| sets.threshold)),
                field(sets.map(|sets| sets.coverage.value)),
                field(sets.map(|sets| sets.size.value)),
            ]);
        }
        for group in &metrics.groups {
            row.extend([field(group.accuracy), field(group.error_ratio)]);
        }
        row
    }

    /// The methods and targets of the prediction sets of all models.
    fn set_columns(&self) -> Vec<(SetMethod, f64)> {
        let mut columns = Vec::new();
        let calibrations = self
            .models
            .iter()
            .filter_map(|model| model.calibration.as_ref());
        for sets in calibrations.flat_map(|found| &found.sets) {
            if !columns.contains(&(sets.method, sets.target)) {
                columns.push((sets.method, sets.target));
            }
        }
        columns
    }

    /// Appends one row per model to a text file in the format of the paper's code (`dump_results`): name,
    /// top-1 and top-k accuracy (0 to 1) in columns of 60, 12 and 12 characters, where k is the largest of
    /// the settings. A new or empty file gets a header first.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn append_paper_table(&self, path: &Path) -> Result<(), FileError> {
        let append = || {
            let mut file = OpenOptions::new().append(true).create(true).open(path)?;
            let mut text = String::new();
            if file.metadata()?.len() == 0 {
                text = format!(
                    "{:60} {:12} {:12}\n",
                    "Experiment name", "Accuracy@1", "Accuracy@k"
                );
            }
            for (at, model) in self.models.iter().enumerate() {
                let images = model.metrics.images as f64;
                let accuracy = |k| match self.correct(at, k) as f64 / images {
                    none if none.is_nan() => "nan".to_owned(),
                    part => python_float(part),
                };
                let (top1, topk) = (accuracy(1), accuracy(self.largest_k()));
                text += &format!("{:60} {top1:>12} {topk:>12}\n", model.model.path);
            }
            file.write_all(text.as_bytes())
        };
        append().map_err(|error| FileError::Write {
            path: path.to_owned(),
            error,
        })
    }
}

/// Formats a number from 0 to 1 as Python does.
fn python_float(number: f64) -> String {
    let text = format!("{number:?}");
    match text.split_once("e-") {
        // Fewer than one image in 10,000.
        Some((digits, exponent)) => format!("{}e-{exponent:0>2}", digits.trim_end_matches(".0")),
        None => text,
    }
}

pub(crate) fn field(value: Option<impl ToString>) -> String {
    value.map_or_else(String::new, |value| value.to_string())
}

pub(crate) fn write_csv(rows: &[Vec<String>]) -> String {
    let mut writer = ::csv::WriterBuilder::new()
        .terminator(::csv::Terminator::CRLF)
        .from_writer(Vec::new());
    for row in rows {
        let written = writer.write_record(row);
        written.expect("rows have the same length, and writing to memory does not fail");
    }
    let bytes = writer
        .into_inner()
        .expect("writing to memory does not fail");
    String::from_utf8(bytes).expect("fields are UTF-8")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_formatted_as_in_python() {
        let written = [0.0, 1.0, 0.76118, 0.0001, 2e-5, 1.25e-5].map(python_float);
        assert_eq!(
            written,
            ["0.0", "1.0", "0.76118", "0.0001", "2e-05", "1.25e-05"]
        );
    }

    #[test]
    fn fields_are_quoted_where_needed() {
        let rows = [vec!["a".to_owned(), "b,\"c\"\n".to_owned()]];
        assert_eq!(write_csv(&rows), "a,\"b,\"\"c\"\"\n\"\r\n");
    }
}
