use rayon::prelude::*;
use thiserror::Error;
use topk_data::Dataset;
use topk_image::{Normalization, NormalizationError, NormalizationTable};
use topk_ops::accuracy;

use crate::model::{Model, ModelError};

/// Why a model cannot be judged on a data set.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum EvaluationError {
    /// Neither the model nor the user says how to normalise.
    #[error(
        "{model} does not say how its input is normalised: give --mean and --std, three numbers \
         each in units of pixels / 255"
    )]
    NoNormalization {
        /// The model's file.
        model: String,
    },
    /// The images are not of the model's size.
    #[error(
        "{model} takes images of {expected:?} (channels, height, width), the data's are {found:?}"
    )]
    ImageSize {
        /// The model's file.
        model: String,
        /// What the model takes.
        expected: [usize; 3],
        /// What the data set has.
        found: [usize; 3],
    },
    /// The model is for another number of classes.
    #[error("{model} has {expected} classes, the data has {found}: they do not belong together")]
    Classes {
        /// The model's file.
        model: String,
        /// Scores of the model.
        expected: usize,
        /// Classes of the data set.
        found: usize,
    },
    /// The model is for other classes.
    #[error(
        "class {class} is `{expected}` to {model} and `{found}` in the data: they do not belong \
         together"
    )]
    ClassName {
        /// The model's file.
        model: String,
        /// Index of the first class that differs.
        class: usize,
        /// The model's name for it.
        expected: String,
        /// The data set's.
        found: String,
    },
    /// k is out of range.
    #[error("--topk {k} is not in 1..={classes}: {model} has {classes} classes")]
    TopK {
        /// The model's file.
        model: String,
        /// The k asked for.
        k: usize,
        /// Number of classes.
        classes: usize,
    },
    /// A score is NaN.
    #[error("{model} gives NaN for image {image}, which has no rank")]
    NanScore {
        /// The model's file.
        model: String,
        /// Index of the image.
        image: usize,
    },
    /// The model, or the user, gives numbers that cannot be normalised with.
    #[error(transparent)]
    Normalization(#[from] NormalizationError),
    /// The model failed.
    #[error(transparent)]
    Model(#[from] ModelError),
}

/// A model and a data set that fit each other, and how the images are normalised.
#[derive(Clone, Debug)]
pub struct Evaluation {
    normalization: Normalization,
    table: NormalizationTable,
}

impl Evaluation {
    /// Checks that `model` can be judged on `dataset` by top-`k` accuracy.
    ///
    /// `normalization` takes precedence over what the model says; it is needed if the model says
    /// nothing.
    ///
    /// # Errors
    /// If image size, classes, k or normalisation do not fit or are not known.
    pub fn new(
        model: &Model,
        dataset: &Dataset,
        k: usize,
        normalization: Option<Normalization>,
    ) -> Result<Self, EvaluationError> {
        let name = || model.path().display().to_string();
        if model.input_size() != dataset.shape {
            return Err(EvaluationError::ImageSize {
                model: name(),
                expected: model.input_size(),
                found: dataset.shape,
            });
        }
        let found = dataset.class_names.len();
        if let Some(expected) = model.classes() {
            check_classes(model, expected, found)?;
        }
        let named = model.card().and_then(|card| card.class_names.as_ref());
        if let Some(class_names) = named {
            check_classes(model, class_names.len(), found)?;
            let pairs = class_names.iter().zip(&dataset.class_names);
            if let Some((class, (expected, found))) = pairs
                .enumerate()
                .find(|(_, (expected, found))| expected != found)
            {
                return Err(EvaluationError::ClassName {
                    model: name(),
                    class,
                    expected: expected.clone(),
                    found: found.clone(),
                });
            }
        }
        if !(1..=found).contains(&k) {
            return Err(EvaluationError::TopK {
                model: name(),
                k,
                classes: found,
            });
        }
        let normalization = normalization
            .or_else(|| {
                model.card().map(|card| Normalization {
                    mean: card.mean,
                    std: card.std,
                })
            })
            .ok_or_else(|| EvaluationError::NoNormalization { model: name() })?
            .check()?;
        Ok(Self {
            normalization,
            table: normalization.table(),
        })
    }

    /// How the images are normalised.
    pub fn normalization(&self) -> Normalization {
        self.normalization
    }

    /// Rank of the label's score for each image (see [`accuracy::label_rank`]), `batch_size` images at a
    /// time. Calls `done` after each batch with all ranks so far.
    ///
    /// # Errors
    /// If the model fails, gives NaN, or another number of scores than there are classes.
    pub fn label_ranks(
        &self,
        model: &mut Model,
        dataset: &Dataset,
        batch_size: usize,
        mut done: impl FnMut(&[usize]),
    ) -> Result<Vec<usize>, EvaluationError> {
        let len = dataset.image_len();
        let mut images = vec![0.0; batch_size.min(dataset.len()) * len];
        let mut ranks = Vec::with_capacity(dataset.len());
        for labels in dataset.labels.chunks(batch_size) {
            let start = ranks.len();
            let images = &mut images[..labels.len() * len];
            images
                .par_chunks_exact_mut(len)
                .enumerate()
                .for_each(|(i, image)| {
                    self.table.normalize(dataset.image(start + i), image);
                });
            let scores = model.scores(images, labels.len())?;
            let classes = scores.len() / labels.len();
            check_classes(model, classes, dataset.class_names.len())?;
            let batch = accuracy::label_ranks(&scores, labels).map_err(|image| {
                EvaluationError::NanScore {
                    model: model.path().display().to_string(),
                    image: start + image,
                }
            })?;
            ranks.extend(batch);
            done(&ranks);
        }
        Ok(ranks)
    }
}

fn check_classes(model: &Model, expected: usize, found: usize) -> Result<(), EvaluationError> {
    if expected == found {
        return Ok(());
    }
    Err(EvaluationError::Classes {
        model: model.path().display().to_string(),
        expected,
        found,
    })
}
