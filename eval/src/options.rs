use topk_data::{DataError, ImageSet};
use topk_image::Limits;
use topk_labels::{ClassNames, ImageGroups};
use topk_report::text::{grouped, images};
use topk_results::{CropAveraging, DataInfo, LossSettings, Shard, Subset};

use crate::transform::PreprocessOverrides;

/// The true classes of each image of a data set.
pub type Labels = Vec<Vec<u32>>;

/// What to do with unreadable images.
#[derive(Clone, Copy, Debug, Eq, PartialEq, clap::ValueEnum)]
pub enum OnBadImage {
    /// Fail and list them
    Fail,
    /// Count them as wrong
    CountWrong,
    /// Leave them out
    Skip,
}

/// A random subset of the data: about the same share of the images of each class; see [`Subset::draw`].
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Limit {
    /// Number of images.
    pub images: usize,
    /// Seed of the random numbers.
    pub seed: u64,
}

/// Settings common to all models of an evaluation.
#[derive(Clone, Debug)]
pub struct EvalOptions {
    /// The data set, as described in results.
    pub data: DataInfo,
    /// Values of k for top-k accuracy, ascending.
    pub topk: Vec<usize>,
    /// Class names for results; by default those of the data or the first model.
    pub class_names: Option<ClassNames>,
    /// Class of the models for each class of the data, where neither names nor a class map tell it.
    pub class_indices: Option<Vec<u32>>,
    /// Classes that may be predicted, ascending; all by default.
    pub valid_classes: Option<Vec<u32>>,
    /// Groups of images whose accuracy is reported, too.
    pub groups: Option<ImageGroups>,
    /// What to do with unreadable images.
    pub on_bad_image: OnBadImage,
    /// A loss to report besides cross-entropy.
    pub loss: Option<LossSettings>,
    /// What to average over crops; by default what suits the loss of the model.
    pub crop_averaging: Option<CropAveraging>,
    /// Preprocessing settings that replace those of the models.
    pub overrides: PreprocessOverrides,
    /// Limits for decoding.
    pub limits: Limits,
    /// Batch size, in crops.
    pub batch_size: usize,
    /// How many images to evaluate, drawn at random; all by default.
    pub limit: Option<Limit>,
    /// The part of the data, or of the random subset, to evaluate; all by default.
    pub shard: Option<Shard>,
}

impl EvalOptions {
    /// The defaults: top-1 and top-5 accuracy (or top-k for k classes if there are fewer) of the centre crops
    /// of all images. Unreadable images are errors.
    ///
    /// # Errors
    /// If the data set cannot be read.
    pub fn new(set: &ImageSet) -> Result<Self, DataError> {
        let description = set.description();
        let mut topk = vec![1, set.classes().len().clamp(1, 5)];
        topk.dedup();
        Ok(Self {
            data: DataInfo {
                path: description.path.display().to_string(),
                format: description.format.to_string(),
                labels: description
                    .labels
                    .as_ref()
                    .map(|path| path.display().to_string()),
                preset: None,
                real_labels: None,
                valid_labels: None,
                groups: None,
                group_names: Vec::new(),
                images: description.images,
                classes: description.classes,
                sha256: set.sha256()?,
                labels_sha256: None,
                decisions: set.warnings().lines(),
            },
            topk,
            class_names: None,
            class_indices: None,
            valid_classes: None,
            groups: None,
            on_bad_image: OnBadImage::Fail,
            loss: None,
            crop_averaging: None,
            overrides: PreprocessOverrides::default(),
            limits: Limits::default(),
            batch_size: 8,
            limit: None,
            shard: None,
        })
    }

    /// The random subset of the data, and a line that says what it is, if one is requested. There is none if the data
    /// has no more images than requested.
    ///
    /// It depends on the classes of the data set itself, not on labels that replace them.
    pub(crate) fn subset(&self, set: &ImageSet) -> (Option<Subset>, Option<String>) {
        let Some(limit) = self.limit else {
            return (None, None);
        };
        let classes = set.samples().iter().map(|sample| sample.label);
        let subset = Subset::draw(classes, limit.images, limit.seed);
        let line = match &subset {
            Some(_) => format!(
                "{} of {}, drawn at random from each class (--limit {} --seed {})",
                grouped(limit.images),
                images(set.len()),
                limit.images,
                limit.seed
            ),
            None => format!(
                "--limit {}: the data has no more than {}, all of which are evaluated",
                limit.images,
                images(set.len())
            ),
        };
        (subset, Some(line))
    }

    /// Indices of the images to evaluate: the shard of the subset, or of all.
    pub(crate) fn indices(&self, set: &ImageSet, subset: Option<&Subset>) -> Vec<usize> {
        let all = subset.map_or(set.len(), |subset| subset.indices.len());
        let range = self.shard.map_or(0..all, |shard| shard.indices(all));
        match subset {
            Some(subset) => subset.indices[range].to_vec(),
            None => range.collect(),
        }
    }
}

/// The labels of a data set. Images without a label have an empty list and do not count.
pub fn labels_of(set: &ImageSet) -> Labels {
    let labels = set.samples().iter().map(|sample| sample.label);
    labels.map(|label| label.into_iter().collect()).collect()
}
