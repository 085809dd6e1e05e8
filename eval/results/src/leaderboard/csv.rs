//! The lists as CSV.

use super::{Leaderboard, LeaderboardEntry, LeaderboardGroup};
use crate::csv::{field, write_csv};

impl Leaderboard {
    /// CSV (RFC 4180) with a header and one row per model. `list` numbers the lists from 1: only models of the same
    /// list were evaluated on the same images. Fields that were not measured are empty.
    pub fn to_csv(&self) -> String {
        let topk = self.topk();
        let first = [
            "list",
            "model",
            "path",
            "sha256",
            "architecture",
            "results",
            "data",
            "data_sha256",
            "preset_data",
        ];
        let mut header: Vec<String> = first.map(str::to_owned).to_vec();
        let extent = ["images", "classes", "valid_classes", "complete"];
        header.extend(extent.map(str::to_owned));
        for k in &topk {
            let columns = ["", "_correct", "_low", "_high"];
            header.extend(columns.map(|column| format!("top{k}{column}")));
        }
        let rest = [
            "p_value_against_best",
            "p_value_holm",
            "cross_entropy",
            "calibration_error",
            "images_per_second",
            "device",
            "provider",
            "number_format",
            "precision",
            "bytes",
            "started",
            "onnxruntime",
        ];
        header.extend(rest.map(str::to_owned));
        let mut rows = vec![header];
        for (number, group) in self.groups.iter().enumerate() {
            let entries = group.entries.iter().enumerate();
            rows.extend(entries.map(|(at, entry)| row(number + 1, group, at, entry, &topk)));
        }
        write_csv(&rows)
    }
}

fn row(
    number: usize,
    group: &LeaderboardGroup,
    at: usize,
    entry: &LeaderboardEntry,
    topk: &[usize],
) -> Vec<String> {
    let (model, data, scope) = (&entry.model, &entry.data, &entry.scope);
    let mut row = vec![
        number.to_string(),
        group.names[at].clone(),
        model.path.clone(),
        model.sha256.clone(),
        model.architecture.clone().unwrap_or_default(),
        entry.source.clone(),
        data.path.clone(),
        data.sha256.clone(),
        data.preset.clone().unwrap_or_default(),
        entry.metrics.images.to_string(),
        data.classes.to_string(),
        field(scope.valid_classes.as_ref().map(Vec::len)),
        (!group.is_partial()).to_string(),
    ];
    for k in topk {
        let accuracy = entry.accuracy(*k).filter(|_| group.topk.contains(k));
        row.extend([
            field(accuracy.map(|accuracy| accuracy.value)),
            field(accuracy.map(|_| entry.correct(*k))),
            field(accuracy.map(|accuracy| accuracy.low)),
            field(accuracy.map(|accuracy| accuracy.high)),
        ]);
    }
    let test = group.against_best(at);
    row.extend([
        field(test.map(|test| test.p_value)),
        field(test.map(|test| test.adjusted)),
        field(entry.metrics.cross_entropy),
        field(entry.metrics.calibration_error),
        field(Some(entry.timing.images_per_second).filter(|&speed| speed > 0.0)),
        entry.device(),
        model.provider.clone(),
        model.number_format(),
        model.precision.clone(),
        field(model.bytes),
        entry.started.clone(),
        entry.onnxruntime.clone().unwrap_or_default(),
    ]);
    row
}
