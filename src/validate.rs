//! Evaluation of a network on the validation images.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tch::TchError;
use topk_ops::{AccuracyError, accuracy};

use crate::batching::Part;
use crate::images::{BadImage, BatchError, Images};
use crate::step::Learner;

/// The results of a validation.
#[derive(Debug, Default)]
pub(crate) struct Validation {
    /// For each image, in order, the number of classes with a higher score than the label's, as counted by
    /// [`accuracy::label_ranks`]. Skipped images have no entry.
    pub(crate) ranks: Vec<usize>,
    /// Number of images that could not be read.
    pub(crate) skipped: usize,
    /// The first of them.
    pub(crate) first_bad: Option<BadImage>,
}

/// Evaluates the learner's [validated network](Learner::validated_network); stops between batches once `stop` is set.
///
/// # Errors
/// If an image cannot be read, all images are skipped, the scores of one contain a NaN or do not fit its label, or
/// `stop` is set.
pub(crate) fn validate(
    learner: &Learner,
    images: &Arc<Images>,
    batch_size: usize,
    stop: &AtomicBool,
) -> Result<Validation, ValidationError> {
    let mut found = Validation::default();
    for batch in images.in_order(batch_size, Part::WHOLE) {
        if stop.load(Ordering::Relaxed) {
            return Err(ValidationError::Interrupted);
        }
        let batch = batch?;
        found.skipped += batch.skipped;
        if batch.labels.is_empty() {
            found.first_bad = found.first_bad.or(batch.first_bad);
            continue;
        }
        let scores = learner.scores(&batch)?;
        found.first_bad = found.first_bad.or(batch.first_bad);
        let start = found.ranks.len();
        let ranks = accuracy::label_ranks(&scores, &batch.labels);
        let ranks = ranks.map_err(|error| match error {
            AccuracyError::Nan { sample, .. } => ValidationError::NanScores(start + sample),
            error => ValidationError::Accuracy(error),
        })?;
        found.ranks.extend(ranks);
    }
    if found.ranks.is_empty() {
        let Validation {
            skipped, first_bad, ..
        } = found;
        return Err(ValidationError::AllBad(skipped, first_bad));
    }
    Ok(found)
}

/// Validation failed.
#[derive(Debug)]
pub(crate) enum ValidationError {
    BadImage(BadImage),
    /// No image can be read: their number, and the first of them.
    AllBad(usize, Option<BadImage>),
    /// The scores of the image with this index contain a NaN.
    NanScores(usize),
    /// The scores do not fit the labels.
    Accuracy(AccuracyError),
    /// It was stopped.
    Interrupted,
    Tch(TchError),
}

impl From<BatchError> for ValidationError {
    fn from(error: BatchError) -> Self {
        match error {
            BatchError::BadImage(error) => Self::BadImage(error),
            BatchError::Tch(error) => Self::Tch(error),
        }
    }
}

impl From<TchError> for ValidationError {
    fn from(error: TchError) -> Self {
        Self::Tch(error)
    }
}
