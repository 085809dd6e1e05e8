use std::ops::Range;

use serde::{Deserialize, Serialize};

use super::columns;
use super::image::{Failure, Image};
use super::model::ModelResults;
use super::run::{DataInfo, Environment, Settings};
use super::shard::Shard;
use super::subset::Subset;

/// The version of the file format that this crate writes, and the newest that it reads. It increases when the
/// meaning of a field changes. A new field does not change it: readers ignore fields that they do not know, and
/// fields that older files lack have a default.
pub const FORMAT: u32 = 1;

/// An evaluation of one or more models on a data set: the contents of a result file.
///
/// Made by [`Measurements::finish`](crate::Measurements::finish), [`Results::read`] and [`Results::merge`].
/// Whoever changes a field that metrics depend on calls [`Results::recompute`].
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Results {
    /// Version of the file format: [`FORMAT`].
    pub format: u32,
    /// Version of `topk-eval`.
    pub topk_eval: String,
    /// When the evaluation started (RFC 3339); for merged results, the earliest start.
    pub started: String,
    /// Whether all images of the data set, of the subset or of the shard, were evaluated.
    pub complete: bool,
    /// The random subset of the data set that was evaluated, if not all: the numbers are not those of the data set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subset: Option<Subset>,
    /// The part of the data set, or of the subset, that was evaluated, if not all.
    pub shard: Option<Shard>,
    /// The data set.
    pub data: DataInfo,
    /// Settings common to all models.
    pub settings: Settings,
    /// The machines: one, or several for merged results.
    pub environments: Vec<Environment>,
    /// What to know about the results, such as differences between merged parts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
    /// Names of the classes.
    pub class_names: Vec<String>,
    /// WordNet IDs of the classes, if they have any.
    pub wnids: Option<Vec<String>>,
    /// All evaluated images, including unreadable ones, by ascending index.
    #[serde(with = "columns::images")]
    pub images: Vec<Image>,
    /// Unreadable images, by ascending index.
    pub failures: Vec<Failure>,
    /// Results of each model.
    pub models: Vec<ModelResults>,
}

impl Results {
    /// Indices of the images that are not evaluated yet, to resume an interrupted run.
    ///
    /// # Panics
    /// If the shard is invalid.
    pub fn remaining(&self) -> impl Iterator<Item = usize> {
        let mut run = self.images.iter().map(|image| image.index).peekable();
        self.indices()
            .filter(move |&index| run.next_if_eq(&index).is_none())
    }

    /// Indices of the images of which a model of these results has an outcome: those whose logits are kept.
    pub fn evaluated(&self, model: &ModelResults) -> impl Iterator<Item = u64> {
        let images = self.images.iter().zip(&model.outcomes);
        images.filter_map(|(image, outcome)| outcome.as_ref().map(|_| image.index as u64))
    }

    /// Indices of the images to evaluate, ascending.
    pub(crate) fn indices(&self) -> impl Iterator<Item = usize> {
        let subset = self.subset.as_ref();
        self.range()
            .map(move |at| subset.map_or(at, |subset| subset.indices[at]))
    }

    /// Number of images to evaluate.
    pub(crate) fn num_images(&self) -> usize {
        self.range().len()
    }

    /// Whether an image is to be evaluated.
    pub(crate) fn includes(&self, index: usize) -> bool {
        let range = self.range();
        match &self.subset {
            Some(subset) => subset.indices[range].binary_search(&index).is_ok(),
            None => range.contains(&index),
        }
    }

    /// The images to evaluate, as positions in the data set or the subset.
    fn range(&self) -> Range<usize> {
        let subset = self.subset.as_ref();
        let images = subset.map_or(self.data.images, |subset| subset.indices.len());
        match self.shard {
            Some(shard) => shard.indices(images),
            None => 0..images,
        }
    }

    pub(crate) fn is_complete(&self) -> bool {
        self.images.len() == self.num_images()
    }

    /// Number of valid classes.
    pub(crate) fn num_valid_classes(&self) -> usize {
        let valid = self.settings.valid_classes.as_ref();
        valid.map_or(self.data.classes, Vec::len)
    }

    pub(crate) fn is_valid_class(&self, class: u32) -> bool {
        match &self.settings.valid_classes {
            Some(valid) => valid.binary_search(&class).is_ok(),
            None => (class as usize) < self.data.classes,
        }
    }

    /// The class of an image: its first valid label, if any.
    pub(crate) fn class(&self, image: &Image) -> Option<u32> {
        let mut labels = image.labels.iter().copied();
        labels.find(|&label| self.is_valid_class(label))
    }

    /// The first of the names of a class: `tench` of `tench, Tinca tinca`.
    pub(crate) fn class_name(&self, class: u32) -> &str {
        let names = &self.class_names[class as usize];
        names.split(',').next().unwrap_or(names).trim()
    }

    /// The k shown where there is room for only one.
    pub(crate) fn largest_k(&self) -> usize {
        self.settings.topk.last().copied().unwrap_or(1)
    }
}
