use std::collections::BTreeMap;
use std::ops::Range;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use topk_ops::{LossError, SmoothTopkSvm};
use topk_preprocessing::Normalization;

use crate::columns;
use crate::judge::{Judge, JudgeError};
use crate::metrics::Metrics;
use crate::outcome::{CropAveraging, Outcome};

/// The version of the file format that this crate writes, and the newest that it reads.
pub const FORMAT: u32 = 1;

/// A run of one or several models on a data set: what a result file holds.
///
/// Whoever runs the models fills in everything but what [`Results::finish`] computes: `complete`, and
/// `metrics` and `images_per_second` of each model. Tables and reports are of finished results.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Results {
    /// Version of the file format: [`FORMAT`].
    pub format: u32,
    /// Version of `topk-eval`.
    pub topk_eval: String,
    /// When the run began, as in RFC 3339; of a merged file, the first of them.
    pub started: String,
    /// Whether all images of the data set, or of the shard, were run.
    pub complete: bool,
    /// The part of the data set that was run, if not all.
    pub shard: Option<Shard>,
    /// What was measured on.
    pub data: DataInfo,
    /// What was decided for all models alike.
    pub settings: Settings,
    /// The machine; several if the run was shared out.
    pub environments: Vec<Environment>,
    /// Names of the classes.
    pub class_names: Vec<String>,
    /// WordNet ids of the classes, if they have any.
    pub wnids: Option<Vec<String>>,
    /// The images that were run, by ascending place; also those that could not be read.
    #[serde(with = "columns::images")]
    pub images: Vec<Image>,
    /// The images that could not be read, by ascending place.
    pub failures: Vec<Failure>,
    /// What was measured: an entry a model.
    pub models: Vec<ModelResults>,
}

/// A part of a data set: shard `index` of `count`, counted from 1.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Shard {
    /// Which one, from 1.
    pub index: usize,
    /// How many there are.
    pub count: usize,
}

impl Shard {
    /// The places of its images in a data set of `images`: shards are adjacent, and their sizes differ by
    /// at most 1.
    pub fn places(self, images: usize) -> Range<usize> {
        let end = |shards: usize| (shards as u128 * images as u128 / self.count as u128) as usize;
        end(self.index - 1)..end(self.index)
    }

    pub(crate) fn is_valid(self) -> bool {
        (1..=self.count).contains(&self.index)
    }
}

/// A data set.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct DataInfo {
    /// Its folder or file.
    pub path: String,
    /// Its layout, such as `imagenet` or `cifar100`.
    pub format: String,
    /// The file of labels, if they are in one of their own.
    pub labels: Option<String>,
    /// The file of reassessed labels (ReaL), if they replace the data set's.
    pub real_labels: Option<String>,
    /// The file of classes that are chosen from, if not all.
    pub valid_labels: Option<String>,
    /// Images in all, whichever were run.
    pub images: usize,
    /// Number of classes.
    pub classes: usize,
    /// What tells the data set from others.
    pub sha256: String,
}

/// What is decided for all models of a run.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The k of top-k accuracy, ascending, each at most the number of classes that are chosen from.
    pub topk: Vec<usize>,
    /// What becomes of images that cannot be read.
    pub failures: FailurePolicy,
    /// The smooth top-k SVM that is computed, if any.
    pub loss: Option<LossSettings>,
    /// The classes that are chosen from, ascending; all if it is absent.
    pub valid_classes: Option<Vec<u32>>,
}

/// What becomes of images that cannot be read.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum FailurePolicy {
    /// They count as wrong at every k.
    #[default]
    CountWrong,
    /// They do not count.
    Skip,
}

/// Parameters of the smooth top-k SVM.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct LossSettings {
    /// Number of classes among which the label should be.
    pub k: usize,
    /// Temperature.
    pub tau: f64,
    /// Margin.
    pub alpha: f64,
}

/// The machine that the models ran on.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Environment {
    /// Version of ONNX Runtime.
    pub onnxruntime: String,
    /// Model of the processor.
    pub cpu: String,
    /// Its cores.
    pub cores: usize,
    /// Operating system and architecture.
    pub os: String,
}

impl LossSettings {
    /// The loss.
    ///
    /// # Errors
    /// If a parameter is out of its range.
    pub fn loss(self) -> Result<SmoothTopkSvm, LossError> {
        SmoothTopkSvm::new(self.k, self.tau, self.alpha)
    }
}

impl Settings {
    /// What judges models of `classes` classes by these settings.
    ///
    /// # Errors
    /// If they do not fit the classes.
    pub fn judge(&self, classes: usize) -> Result<Judge, JudgeError> {
        let mut judge = Judge::new(classes)?;
        if let Some(valid) = &self.valid_classes {
            judge = judge.with_valid_classes(valid.clone())?;
        }
        match self.loss {
            Some(loss) => judge.with_loss(loss.loss()?),
            None => Ok(judge),
        }
    }
}

/// An image that was run.
#[derive(Clone, Debug, PartialEq)]
pub struct Image {
    /// Its place in the data set, from 0.
    pub place: usize,
    /// Its name in the data set.
    pub name: String,
    /// Right classes. The first valid one is the class of the image in tables of classes; an image
    /// without any does not count.
    pub labels: Vec<u32>,
}

/// An image that could not be read.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Failure {
    /// Its place in the data set.
    pub place: usize,
    /// Its name.
    pub name: String,
    /// What went wrong.
    pub message: String,
}

/// One model of a run.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct ModelResults {
    /// The model, and how it was run.
    pub model: ModelInfo,
    /// How long it took.
    pub timing: Timing,
    /// Computed from the outcomes.
    pub metrics: Metrics,
    /// What the model made of each image; none for images that could not be read or have no right class.
    #[serde(with = "columns::outcomes")]
    pub outcomes: Vec<Option<Outcome>>,
}

/// A model, and how it was run.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct ModelInfo {
    /// Its file.
    pub path: String,
    /// SHA-256 of the file.
    pub sha256: String,
    /// Its architecture, if it is known.
    pub architecture: Option<String>,
    /// The execution provider that was asked for.
    pub provider: String,
    /// How many nodes ran on each execution provider.
    pub nodes: BTreeMap<String, usize>,
    /// Where it ran: `cpu`, or the name of a GPU.
    pub device: String,
    /// Whether matrix products were rounded to TF32.
    pub tf32: bool,
    /// Images at once.
    pub batch_size: usize,
    /// Type of its weights, such as `float32`, or the shares of several, such as `int8 98.7 %, float32 1.3 %`;
    /// `none`, or `unknown` if its file does not say. The provider may compute in a more precise one, and with
    /// `tf32` in a less precise one.
    pub precision: String,
    /// Type of its input, such as `float32` or `uint8`.
    pub input: String,
    /// Decoding, resizing and cropping in words.
    pub preprocessing: String,
    /// The same for programs.
    pub preprocessing_settings: Value,
    /// How pixels were normalised, if they were.
    pub normalization: Option<Normalization>,
    /// How crops were averaged.
    pub crops: CropAveraging,
}

/// How long a model took.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Timing {
    /// Threads of the processor; absent if not known, or if the parts of a merged run had different
    /// numbers.
    pub threads: Option<usize>,
    /// From the first image to the last, in seconds; of a merged run, the sum.
    pub seconds: f64,
    /// Time of all threads that decoded and resized, in seconds.
    pub decode_seconds: f64,
    /// Time in the model, in seconds.
    pub inference_seconds: f64,
    /// Images by `seconds`; 0 if no time was measured.
    pub images_per_second: f64,
}

/// An image that counts, and what a model made of it.
pub(crate) struct Counted<'a> {
    pub(crate) image: &'a Image,
    /// The class of the image.
    pub(crate) class: u32,
    /// None if the image could not be read.
    pub(crate) outcome: Option<&'a Outcome>,
}

impl Counted<'_> {
    /// Whether the right class is among the best `k`.
    pub(crate) fn is_right(&self, k: usize) -> bool {
        self.outcome
            .is_some_and(|outcome| (outcome.rank as usize) < k)
    }
}

impl Results {
    /// Computes what follows from the rest: whether all images were run, and each model's metrics and
    /// speed.
    ///
    /// # Errors
    /// If the parts do not fit each other.
    pub fn finish(mut self) -> Result<Self, crate::InvalidResults> {
        self.check_parts()?;
        self.complete = self.is_complete();
        let metrics: Vec<Metrics> = (0..self.models.len())
            .map(|model| Metrics::of(&self, model))
            .collect();
        let images = self.images.len() as f64;
        for (model, metrics) in self.models.iter_mut().zip(metrics) {
            model.metrics = metrics;
            let timing = &mut model.timing;
            timing.images_per_second = if timing.seconds > 0.0 {
                images / timing.seconds
            } else {
                0.0
            };
        }
        Ok(self)
    }

    /// Places of the images that are still to be run, to resume a run that was cut off.
    ///
    /// # Panics
    /// If the shard is not one.
    pub fn remaining(&self) -> impl Iterator<Item = usize> {
        let mut run = self.images.iter().map(|image| image.place).peekable();
        self.places()
            .filter(move |&place| run.next_if_eq(&place).is_none())
    }

    /// The places that were to be run.
    pub(crate) fn places(&self) -> Range<usize> {
        match self.shard {
            Some(shard) => shard.places(self.data.images),
            None => 0..self.data.images,
        }
    }

    pub(crate) fn is_complete(&self) -> bool {
        self.images.len() == self.places().len()
    }

    /// Number of classes that are chosen from.
    pub(crate) fn choices(&self) -> usize {
        let valid = self.settings.valid_classes.as_ref();
        valid.map_or(self.data.classes, Vec::len)
    }

    pub(crate) fn is_valid_class(&self, class: u32) -> bool {
        match &self.settings.valid_classes {
            Some(valid) => valid.binary_search(&class).is_ok(),
            None => (class as usize) < self.data.classes,
        }
    }

    /// The class of an image; none if no class is right.
    pub(crate) fn class(&self, image: &Image) -> Option<u32> {
        let mut labels = image.labels.iter().copied();
        labels.find(|&label| self.is_valid_class(label))
    }

    /// The images that count, in their order.
    pub(crate) fn counted(&self, model: usize) -> impl Iterator<Item = Counted<'_>> {
        let outcomes = &self.models[model].outcomes;
        self.images
            .iter()
            .zip(outcomes)
            .filter_map(|(image, outcome)| {
                let class = self.class(image)?;
                let outcome = outcome.as_ref();
                let counts =
                    outcome.is_some() || self.settings.failures == FailurePolicy::CountWrong;
                counts.then_some(Counted {
                    image,
                    class,
                    outcome,
                })
            })
    }

    /// The first of the names of a class: `tench` of `tench, Tinca tinca`.
    pub(crate) fn class_name(&self, class: u32) -> &str {
        let names = &self.class_names[class as usize];
        names.split(',').next().unwrap_or(names).trim()
    }

    /// How many of the images that count a model has right, for any k.
    pub(crate) fn correct(&self, model: usize, k: usize) -> usize {
        let right = self.counted(model).filter(|counted| counted.is_right(k));
        right.count()
    }

    /// The k that stands for "top-k" where there is room for one.
    pub(crate) fn largest_k(&self) -> usize {
        self.settings.topk.last().copied().unwrap_or(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_share_out_all_places() {
        for (images, count) in [(10, 3), (2, 5), (0, 1), (50_000, 7)] {
            let mut next = 0;
            for index in 1..=count {
                let places = Shard { index, count }.places(images);
                assert_eq!(places.start, next);
                assert!((images / count..=images.div_ceil(count)).contains(&places.len()));
                next = places.end;
            }
            assert_eq!(next, images);
        }
    }
}
