//! The metadata of a Hugging Face model card.

use super::{Leaderboard, LeaderboardEntry, distinct};
use crate::schema::DataInfo;

impl Leaderboard {
    /// `model-index` of a model card, as YAML: one entry per model file, with its results on each data set. Accuracies
    /// are fractions, as those of the library `evaluate`. Values have six decimals.
    ///
    /// `dataset` is the identifier of the data set on the hub. Without one it is that of CIFAR-10 or CIFAR-100 where the
    /// format implies them, else `imagefolder`.
    ///
    /// Partial results are left out, because a card has no place to mark them. None if nothing else is there.
    ///
    /// The format is that of <https://github.com/huggingface/hub-docs/blob/main/modelcard.md>.
    pub fn to_model_index(&self, dataset: Option<&str>) -> Option<String> {
        let complete = self.groups.iter().filter(|group| !group.is_partial());
        let entries: Vec<(&str, &LeaderboardEntry)> = complete
            .flat_map(|group| group.names.iter().map(String::as_str).zip(&group.entries))
            .collect();
        if entries.is_empty() {
            return None;
        }
        let mut hashes: Vec<&str> = Vec::new();
        for (_, entry) in &entries {
            if !hashes.contains(&&*entry.model.sha256) {
                hashes.push(&entry.model.sha256);
            }
        }
        let mut yaml = String::from("model-index:\n");
        for hash in hashes {
            let of_model = || {
                entries
                    .iter()
                    .filter(|(_, entry)| entry.model.sha256 == hash)
            };
            let name = of_model().next().map_or("", |(name, _)| name);
            yaml += &format!("- name: {}\n  results:\n", quoted(name));
            for (_, entry) in of_model() {
                yaml += &entry.model_index(dataset);
            }
        }
        Some(yaml)
    }

    /// Number of models in [`to_model_index`](Self::to_model_index).
    pub fn models_in_index(&self) -> usize {
        let complete = self.groups.iter().filter(|group| !group.is_partial());
        let entries = complete.flat_map(|group| &group.entries);
        distinct(entries.map(|entry| &*entry.model.sha256))
    }
}

impl LeaderboardEntry {
    fn model_index(&self, dataset: Option<&str>) -> String {
        let (kind, name) = named(&self.data, dataset);
        let mut yaml = format!(
            "  - task:\n      type: image-classification\n      name: Image Classification\n    dataset:\n      \
             type: {}\n      name: {}\n      args:\n        images: {}\n        classes: {}\n",
            quoted(&kind),
            quoted(&name),
            self.metrics.images,
            self.data.classes
        );
        if let Some(valid) = &self.scope.valid_classes {
            yaml += &format!("        valid_classes: {}\n", valid.len());
        }
        if let Some(labels) = &self.data.real_labels {
            yaml += &format!("        labels: {}\n", quoted(labels));
        }
        yaml += &format!(
            "        sha256: {}\n    metrics:\n",
            quoted(&self.data.sha256)
        );
        let mut metric = |kind: &str, name: &str, value: Option<f64>| {
            if let Some(value) = value {
                // Six decimals distinguish counts of half a million images.
                let value = (1e6 * value).round() / 1e6;
                yaml +=
                    &format!("    - type: {kind}\n      value: {value:?}\n      name: {name}\n");
            }
        };
        let mut topk = self.topk.clone();
        if topk.first() != Some(&1) {
            topk.insert(0, 1);
        }
        for k in topk {
            let accuracy = self.accuracy(k).map(|accuracy| accuracy.value);
            metric("accuracy", &format!("Top-{k} accuracy"), accuracy);
        }
        metric("log_loss", "Cross-entropy", self.metrics.cross_entropy);
        let error = self.metrics.calibration_error;
        metric(
            "expected_calibration_error",
            "Expected calibration error",
            error,
        );
        yaml
    }
}

/// The type and the name of a data set.
fn named(data: &DataInfo, dataset: Option<&str>) -> (String, String) {
    let path = data.path.trim_end_matches(['/', '\\']);
    let folder = path.rsplit(['/', '\\']).next().unwrap_or(path);
    let kind = dataset.unwrap_or(match &*data.format {
        "cifar10" => "cifar10",
        "cifar100" => "cifar100",
        _ => "imagefolder",
    });
    (kind.to_owned(), folder.to_owned())
}

/// A string of YAML: JSON's strings are strings of YAML 1.2 too.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}
