use serde_json::Value;
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

impl Results {
    /// Merges shards, or parts of an interrupted run. The result is byte for byte that of a single run,
    /// except for times, which are summed, and the start, which is the earliest.
    ///
    /// Parts of the same shard give that shard; others give the whole data set.
    ///
    /// # Errors
    /// If the parts are not of the same run, overlap, or lack images (unless `allow_missing`).
    pub fn merge(parts: Vec<Self>, allow_missing: bool) -> Result<Self, MergeError> {
        for (at, part) in parts.iter().enumerate().skip(1) {
            parts[0].check_same_run(part).map_err(|error| match error {
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
        }
        let mut parts = parts;
        // The order of the parts does not matter.
        parts.sort_by_key(|part| part.images.first().map_or(usize::MAX, |image| image.index));
        let mut parts = parts.into_iter();
        let mut merged = parts.next().ok_or(MergeError::Nothing)?;
        for part in parts {
            merged.absorb(part);
        }
        merged.sort()?;
        let merged = merged.recompute()?;
        let first = merged.remaining().next();
        if let Some(first) = first.filter(|_| !allow_missing) {
            let images = merged.indices().len();
            return Err(MergeError::Missing {
                missing: images - merged.images.len(),
                first,
                images,
            });
        }
        Ok(merged)
    }

    /// Checks that other results are of the same run: the same data, models and settings. Shards, images,
    /// times and machines may differ.
    ///
    /// # Errors
    /// [`MergeError::Different`] with the first difference.
    pub fn check_same_run(&self, other: &Self) -> Result<(), MergeError> {
        let difference = difference("", &self.identity(), &other.identity());
        match difference {
            None => Ok(()),
            Some((what, expected, found)) => Err(MergeError::Different {
                part: 2,
                what,
                expected,
                found,
            }),
        }
    }

    /// Everything that all parts of a run have in common.
    fn identity(&self) -> Value {
        let models = self.models.iter().map(|model| file::to_value(&model.model));
        let versions = self.environments.iter().map(|machine| &machine.onnxruntime);
        let mut versions: Vec<&String> = versions.collect();
        versions.dedup();
        serde_json::json!({
            "format": self.format,
            "topk_eval": self.topk_eval,
            "data": file::to_value(&self.data),
            "settings": file::to_value(&self.settings),
            "onnxruntime": versions,
            "class_names": self.class_names,
            "wnids": self.wnids,
            "models": models.collect::<Vec<_>>(),
        })
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
            images_per_second: 0.0,
        }
    }
}

/// Path of the first difference of two values, and the values there.
fn difference(path: &str, a: &Value, b: &Value) -> Option<(String, String, String)> {
    match (a, b) {
        (Value::Object(a), Value::Object(b)) => {
            let keys = a.keys().chain(b.keys().filter(|key| !a.contains_key(*key)));
            let mut differences = keys.filter_map(|key| {
                let path = if path.is_empty() {
                    key.clone()
                } else {
                    format!("{path}.{key}")
                };
                let of = |map: &serde_json::Map<String, Value>| map.get(key).cloned();
                difference(
                    &path,
                    &of(a).unwrap_or_default(),
                    &of(b).unwrap_or_default(),
                )
            });
            differences.next()
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            let pairs = a.iter().zip(b).enumerate();
            let mut differences =
                pairs.filter_map(|(at, (a, b))| difference(&format!("{path}[{at}]"), a, b));
            differences.next()
        }
        (Value::Array(a), Value::Array(b)) => {
            let entries = |list: &[Value]| format!("a list of {}", list.len());
            Some((path.to_owned(), entries(a), entries(b)))
        }
        _ if a == b => None,
        _ => Some((path.to_owned(), a.to_string(), b.to_string())),
    }
}
