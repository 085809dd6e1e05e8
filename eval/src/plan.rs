use topk_data::{DataError, ImageSet};
use topk_image::Limits;
use topk_labels::ClassNames;
use topk_results::{CropAveraging, DataInfo, FailurePolicy, LossSettings, Shard};

use crate::recipe::Wishes;

/// The right classes of each image of a data set.
pub type Labels = Vec<Vec<u32>>;

/// What becomes of images that cannot be read.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum OnError {
    /// There are no results then.
    Fail,
    /// There are, and they say so.
    Report(FailurePolicy),
}

/// What is decided for all models.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The data set, as results name it.
    pub data: DataInfo,
    /// Each k of top-k accuracy, ascending.
    pub topk: Vec<usize>,
    /// Names of the classes in results; those of the data or the first model, if not given.
    pub class_names: Option<ClassNames>,
    /// Classes that are chosen from, ascending; all if none are named.
    pub valid_classes: Option<Vec<u32>>,
    /// What becomes of images that cannot be read.
    pub on_error: OnError,
    /// The loss that is computed besides cross-entropy.
    pub loss: Option<LossSettings>,
    /// How crops are averaged; what a model was trained for, if not said.
    pub averaging: Option<CropAveraging>,
    /// What is said of preprocessing.
    pub wishes: Wishes,
    /// What may be decoded.
    pub limits: Limits,
    /// Crops that a model gets at once.
    pub batch_size: usize,
    /// The part of the data that is run.
    pub shard: Option<Shard>,
}

impl Plan {
    /// Top-1 and top-5 accuracy of the centre crops of all images, or as many as there are classes; an
    /// image that cannot be read ends the run.
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
                real_labels: None,
                valid_labels: None,
                images: description.images,
                classes: description.classes,
                sha256: set.sha256()?,
            },
            topk,
            class_names: None,
            valid_classes: None,
            on_error: OnError::Fail,
            loss: None,
            averaging: None,
            wishes: Wishes::default(),
            limits: Limits::default(),
            batch_size: 8,
            shard: None,
        })
    }
}

/// The labels of a data set; none for images that have none, which do not count.
pub fn labels_of(set: &ImageSet) -> Labels {
    let labels = set.samples().iter().map(|sample| sample.label);
    labels.map(|label| label.into_iter().collect()).collect()
}
