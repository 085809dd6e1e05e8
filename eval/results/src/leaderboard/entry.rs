//! A model of a result file, without the outcomes of its images.

use topk_files::Hasher;

use crate::schema::{DataInfo, FailurePolicy, Metrics, ModelInfo, Results, Shard, Timing};
use crate::statistics::{Pairs, wilson};

/// A model of a result file.
///
/// Of the outcomes it keeps one bit per image, and the number of images by rank, so that hundreds of files fit into
/// memory.
#[derive(Clone, Debug)]
pub struct LeaderboardEntry {
    /// The result file.
    pub source: String,
    /// Number of the model in the file, from 1, and how many the file has.
    pub number: (usize, usize),
    /// The model, and how it was run.
    pub model: ModelInfo,
    /// Time taken.
    pub timing: Timing,
    /// Its metrics.
    pub metrics: Metrics,
    /// When the evaluation started (RFC 3339).
    pub started: String,
    /// Warnings about the results.
    pub warnings: Vec<String>,
    /// Version of ONNX Runtime, if known.
    pub onnxruntime: Option<String>,
    /// What the metrics cover.
    pub(crate) scope: Scope,
    /// The data set.
    pub(crate) data: DataInfo,
    /// Values of k of the settings.
    pub(crate) topk: Vec<usize>,
    /// Number of images by rank of the true class.
    ranks: Vec<usize>,
    /// Whether the prediction for each image that counts is correct, in words of 64 bits.
    correct: Vec<u64>,
}

/// What metrics cover: models are only ranked among those with the same.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Scope {
    /// Hash of the data set.
    data: String,
    /// Hash of the indices, names and labels of the images that count.
    images: String,
    classes: usize,
    pub(crate) valid_classes: Option<Vec<u32>>,
    pub(crate) failures: FailurePolicy,
    pub(crate) complete: bool,
    /// That the images are a random subset, if so.
    pub(crate) subset: Option<String>,
    /// Name of the test set: the same images may be of several.
    preset: Option<String>,
    pub(crate) shard: Option<Shard>,
}

/// An accuracy and its 95 % interval (Wilson), each 0 to 1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Accuracy {
    pub(crate) value: f64,
    pub(crate) low: f64,
    pub(crate) high: f64,
}

impl LeaderboardEntry {
    /// The models of a result file with this name.
    pub fn of(source: &str, results: &Results) -> Vec<Self> {
        let models = 0..results.models.len();
        models.map(|at| Self::new(source, results, at)).collect()
    }

    fn new(source: &str, results: &Results, at: usize) -> Self {
        let mut hasher = Hasher::default();
        let mut ranks = Vec::new();
        let mut correct = Vec::new();
        for (number, counted) in results.counted(at).enumerate() {
            let image = counted.image;
            hasher.update(format!(
                "{} {:?} {:?}\n",
                image.index, image.labels, image.name
            ));
            if number % 64 == 0 {
                correct.push(0);
            }
            if let (true, Some(word)) = (counted.is_correct(1), correct.last_mut()) {
                *word |= 1 << (number % 64);
            }
            if let Some(outcome) = counted.outcome {
                let rank = outcome.rank as usize;
                if ranks.len() <= rank {
                    ranks.resize(rank + 1, 0);
                }
                ranks[rank] += 1;
            }
        }
        let model = &results.models[at];
        Self {
            source: source.to_owned(),
            number: (at + 1, results.models.len()),
            model: model.model.clone(),
            timing: model.timing,
            metrics: model.metrics.clone(),
            started: results.started.clone(),
            warnings: results.warnings.clone(),
            onnxruntime: results
                .environments
                .first()
                .map(|machine| machine.onnxruntime.clone()),
            scope: Scope {
                data: results.data.sha256.clone(),
                images: hasher.finish(),
                classes: results.data.classes,
                valid_classes: results.settings.valid_classes.clone(),
                failures: results.settings.failures,
                complete: results.complete,
                subset: results.subset_caveat(),
                preset: results.data.preset.clone(),
                shard: results.shard,
            },
            data: results.data.clone(),
            topk: results.settings.topk.clone(),
            ranks,
            correct,
        }
    }

    /// The accuracy at any k; none without images.
    pub(crate) fn accuracy(&self, k: usize) -> Option<Accuracy> {
        let (correct, images) = (self.correct(k), self.metrics.images);
        let (low, high) = wilson(correct, images);
        (images > 0).then(|| Accuracy {
            value: correct as f64 / images as f64,
            low,
            high,
        })
    }

    /// Number of images that are correct at k.
    pub(crate) fn correct(&self, k: usize) -> usize {
        self.ranks.iter().take(k).sum()
    }

    /// Images by which of two models of the same list classifies them correctly.
    pub(crate) fn pairs(&self, other: &Self) -> Pairs {
        let words = || self.correct.iter().zip(&other.correct);
        let count = |both: &dyn Fn(u64, u64) -> u64| -> usize {
            words()
                .map(|(&a, &b)| both(a, b).count_ones() as usize)
                .sum()
        };
        let both = count(&|a, b| a & b);
        let (only_first, only_second) = (count(&|a, b| a & !b), count(&|a, b| b & !a));
        Pairs {
            both,
            only_first,
            only_second,
            neither: self.metrics.images - both - only_first - only_second,
        }
    }

    /// The day of the evaluation.
    pub(crate) fn day(&self) -> &str {
        self.started.split('T').next().unwrap_or_default()
    }

    /// The device, and in which types it may compute.
    pub(crate) fn device(&self) -> String {
        let mut device = self.model.device.clone();
        for (allowed, name) in [(self.model.tf32, "TF32"), (self.model.fp16, "FP16")] {
            if allowed {
                device += &format!(", {name}");
            }
        }
        device
    }

    /// What a reader of its numbers must know.
    pub(crate) fn caveats(&self) -> impl Iterator<Item = &str> {
        let notes = self.model.notes.iter();
        let notes = notes.filter_map(|note| note.strip_prefix("warning: "));
        self.warnings.iter().map(String::as_str).chain(notes)
    }
}
