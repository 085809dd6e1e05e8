use serde_json::{Map, Value};
use thiserror::Error;

use crate::check::InvalidResults;
use crate::file;
use crate::schema::{Results, Timing};

/// Results that cannot be merged.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum MergeError {
    /// There are no results.
    #[error("no result files to merge")]
    Nothing,
    /// The results are of different runs.
    #[error(
        "results {part} are not of the same run as the first: `{what}` is {found}, expected \
         {expected}"
    )]
    Different {
        /// Which results, from 1.
        part: usize,
        /// What differs.
        what: String,
        /// Value in the first.
        expected: String,
        /// Value in these.
        found: String,
    },
    /// Two results have the same image.
    #[error("two of the results contain image `{name}` (index {index})")]
    Overlap {
        /// The image.
        name: String,
        /// Index in the data set.
        index: usize,
    },
    /// Images are missing.
    #[error(
        "{missing} of {images} images are missing, the first at index {first}: evaluate them too, or \
         pass --allow-missing"
    )]
    Missing {
        /// Number of missing images.
        missing: usize,
        /// Index of the first.
        first: usize,
        /// Images of the data set or shard.
        images: usize,
    },
    /// The merged results contradict themselves.
    #[error(transparent)]
    Invalid(#[from] InvalidResults),
}

/// The warning of merged results whose parts had figures that follow from the logits of all images only.
pub const FROM_LOGITS_LEFT_OUT: &str = "the calibration and the mAP that the results have are left out: pass the files of \
                                        --logits to `topk-eval merge --logits` to measure those of all images";

impl Results {
    /// Merges shards, or parts of an interrupted run. The result is byte for byte that of a single run,
    /// except for times, which are summed, and the start, which is the earliest.
    ///
    /// Parts of the same shard give that shard; others give the whole data set.
    ///
    /// # Errors
    /// If the parts are not of the same run, overlap, or lack images (unless `allow_missing`).
    pub fn merge(parts: Vec<Self>, allow_missing: bool) -> Result<Self, MergeError> {
        let mut warnings: Vec<String> = Vec::new();
        for (at, part) in parts.iter().enumerate() {
            let differences = parts[0].check_same_run(part).map_err(|error| match error {
                MergeError::Different {
                    what,
                    expected,
                    found,
                    ..
                } => MergeError::Different {
                    part: at + 1,
                    what,
                    expected,
                    found,
                },
                error => error,
            })?;
            warnings.extend(part.warnings.iter().cloned().chain(differences));
        }
        let mut parts = parts;
        let models = parts.iter_mut().flat_map(|part| &mut part.models);
        let measured = models.map(|model| {
            let calibration = model.calibration.take();
            let average_precision = model.average_precision.take();
            calibration.is_some() || average_precision.is_some()
        });
        if measured.fold(false, |any, of_model| any | of_model) {
            warnings.push(FROM_LOGITS_LEFT_OUT.to_owned());
        }
        // The order of the parts does not matter.
        parts.sort_by_key(|part| part.images.first().map_or(usize::MAX, |image| image.index));
        let mut parts = parts.into_iter();
        let mut merged = parts.next().ok_or(MergeError::Nothing)?;
        for part in parts {
            merged.absorb(part);
        }
        merged.sort()?;
        warnings.sort();
        warnings.dedup();
        merged.warnings = warnings;
        let merged = merged.recompute()?;
        let first = merged.remaining().next();
        if let Some(first) = first.filter(|_| !allow_missing) {
            let images = merged.num_images();
            return Err(MergeError::Missing {
                missing: images - merged.images.len(),
                first,
                images,
            });
        }
        Ok(merged)
    }

    /// Checks that other results are of the same run: the same data, models and settings, by their hashes.
    /// Shards, images, times and machines may differ.
    ///
    /// Returns the other differences, such as of paths, batch sizes, devices and versions: the results can be
    /// merged, but whoever reads them should know.
    ///
    /// # Errors
    /// [`MergeError::Different`] with the first difference that changes the meaning of the results.
    pub fn check_same_run(&self, other: &Self) -> Result<Vec<String>, MergeError> {
        let [(same, described), (other_same, other_described)] = [self, other].map(Self::identity);
        if let Some(Difference { what, a, b }) = differences(&same, &other_same).into_iter().next()
        {
            return Err(MergeError::Different {
                part: 2,
                what,
                expected: a,
                found: b,
            });
        }
        let differences = differences(&described, &other_described).into_iter();
        let differences = differences.map(|Difference { what, a, b }| {
            format!("`{what}` differs between the merged results: {a} and {b}")
        });
        Ok(differences.collect())
    }

    /// What all parts of a run must have in common, and what else describes it.
    fn identity(&self) -> (Value, Value) {
        let (data, data_described) = split(file::to_value(&self.data), &DATA);
        let models = self.models.iter().map(|model| {
            let mut value = file::to_value(&model.model);
            // The index of a GPU says nothing about another machine or rank.
            for member in ["provider", "device"] {
                if let Some(Value::String(text)) = value.get_mut(member) {
                    *text = without_indices(text);
                }
            }
            value
        });
        let (models, models_described): (Vec<Value>, Vec<Value>) =
            models.map(|model| split(model, &MODEL)).unzip();
        let versions = self.environments.iter().map(|machine| &machine.onnxruntime);
        let mut versions: Vec<&String> = versions.collect();
        versions.dedup();
        let subset = self.subset.as_ref();
        let same = serde_json::json!({
            "format": self.format,
            "data": data,
            "settings": file::to_value(&self.settings),
            "subset": subset.map(|subset| serde_json::json!({
                "limit": subset.images,
                "seed": subset.seed,
            })),
            "subset_images": subset.map(|subset| &subset.indices),
            "wnids": self.wnids,
            "models": models,
        });
        let described = serde_json::json!({
            "topk_eval": self.topk_eval,
            "data": data_described,
            "onnxruntime": versions,
            "class_names": self.class_names,
            "models": models_described,
        });
        (same, described)
    }

    fn absorb(&mut self, part: Self) {
        if part.shard != self.shard {
            self.shard = None;
        }
        if part.started < self.started {
            self.started = part.started;
        }
        for environment in part.environments {
            if !self.environments.contains(&environment) {
                self.environments.push(environment);
            }
        }
        self.images.extend(part.images);
        self.failures.extend(part.failures);
        for (model, part) in self.models.iter_mut().zip(part.models) {
            model.outcomes.extend(part.outcomes);
            model.timing = model.timing.plus(&part.timing);
        }
    }

    /// Sorts the images by index.
    fn sort(&mut self) -> Result<(), MergeError> {
        let mut order: Vec<usize> = (0..self.images.len()).collect();
        order.sort_by_key(|&at| self.images[at].index);
        for pair in order.windows(2) {
            let [image, next] = [&self.images[pair[0]], &self.images[pair[1]]];
            if image.index == next.index {
                return Err(MergeError::Overlap {
                    name: image.name.clone(),
                    index: image.index,
                });
            }
        }
        self.images.sort_by_key(|image| image.index);
        self.failures.sort_by_key(|failure| failure.index);
        for model in &mut self.models {
            let outcomes = &mut model.outcomes;
            let taken = order
                .iter()
                .map(|&at| outcomes.get_mut(at).and_then(Option::take));
            let sorted = taken.collect();
            model.outcomes = sorted;
        }
        Ok(())
    }
}

impl Timing {
    fn plus(&self, other: &Self) -> Self {
        Self {
            threads: self.threads.filter(|_| self.threads == other.threads),
            seconds: self.seconds + other.seconds,
            decode_seconds: self.decode_seconds + other.decode_seconds,
            inference_seconds: self.inference_seconds + other.inference_seconds,
            sessions: self.sessions.filter(|_| self.sessions == other.sessions),
            images_per_second: 0.0,
        }
    }
}

/// The fields of a data set that must be the same.
const DATA: [&str; 5] = [
    "images",
    "classes",
    "sha256",
    "labels_sha256",
    "group_names",
];

/// The fields of a model that must be the same.
const MODEL: [&str; 11] = [
    "sha256",
    "preprocessing_settings",
    "normalization",
    "pixel_range",
    "channel_order",
    "crops",
    "tf32",
    "fp16",
    "output",
    "output_kind",
    "label_offset",
];

/// The text of providers, such as `cuda:1`, without the indices of GPUs.
fn without_indices(text: &str) -> String {
    let mut parts = text.split(':');
    let mut kept = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let rest = part.trim_start_matches(|char: char| char.is_ascii_digit());
        if rest.len() == part.len() {
            kept.push(':');
        }
        kept += rest;
    }
    kept
}

/// The members of an object with these names, and the others.
fn split(object: Value, names: &[&str]) -> (Value, Value) {
    let Value::Object(members) = object else {
        return (object, Value::Null);
    };
    let (named, others): (Map<_, _>, Map<_, _>) = members
        .into_iter()
        .partition(|(name, _)| names.contains(&&**name));
    (named.into(), others.into())
}

/// A difference of two values.
struct Difference {
    /// Its path.
    what: String,
    /// The values there.
    a: String,
    b: String,
}

/// All differences of two values.
fn differences(a: &Value, b: &Value) -> Vec<Difference> {
    let mut found = Vec::new();
    add_differences("", a, b, &mut found);
    found
}

fn add_differences(path: &str, a: &Value, b: &Value, found: &mut Vec<Difference>) {
    let mut add = |a: String, b: String| {
        let what = path.to_owned();
        found.push(Difference { what, a, b });
    };
    match (a, b) {
        (Value::Object(a), Value::Object(b)) => {
            let keys = a.keys().chain(b.keys().filter(|key| !a.contains_key(*key)));
            for key in keys {
                let path = if path.is_empty() {
                    key.clone()
                } else {
                    format!("{path}.{key}")
                };
                let of = |map: &Map<String, Value>| map.get(key).cloned().unwrap_or_default();
                add_differences(&path, &of(a), &of(b), found);
            }
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            for (at, (a, b)) in a.iter().zip(b).enumerate() {
                add_differences(&format!("{path}[{at}]"), a, b, found);
            }
        }
        (Value::Array(a), Value::Array(b)) => {
            let entries = |list: &[Value]| format!("a list of {}", list.len());
            add(entries(a), entries(b));
        }
        _ if a == b => {}
        _ => add(a.to_string(), b.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn indices_of_gpus_do_not_count() {
        for (text, expected) in [
            ("cpu", "cpu"),
            ("cuda:0", "cuda"),
            ("cuda:10,cuda:1", "cuda,cuda"),
            (
                "NVIDIA H100 PCIe (tensorrt:3)",
                "NVIDIA H100 PCIe (tensorrt)",
            ),
            ("a: b", "a: b"),
        ] {
            assert_eq!(without_indices(text), expected);
        }
    }
}
