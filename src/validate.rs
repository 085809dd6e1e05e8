//! Evaluation of a network on the validation images.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tch::TchError;
use topk_history::Accuracy;
use topk_ops::{AccuracyError, accuracy};

use crate::TrainError;
use crate::config::Config;
use crate::images::{BadImage, BatchError, Images};
use crate::ranks::{Ranks, Signals};
use crate::step::Learner;

/// The results of a validation.
#[derive(Debug)]
pub(crate) struct Validation {
    /// The accuracy on the images that could be read.
    pub(crate) val: Accuracy,
    /// Number of images that could not be read.
    pub(crate) skipped: usize,
    /// The first of them.
    pub(crate) first_bad: Option<BadImage>,
}

impl Validation {
    /// The results of all ranks together.
    pub(crate) fn of_all(self, ranks: &Ranks) -> Result<Self, TrainError> {
        let Accuracy {
            images,
            top1_correct,
            topk_correct,
        } = self.val;
        let counts = [images, top1_correct, topk_correct, self.skipped];
        let [images, top1_correct, topk_correct, skipped] = ranks.sum(counts)?;
        Ok(Self {
            val: Accuracy {
                images,
                top1_correct,
                topk_correct,
            },
            skipped,
            first_bad: self.first_bad,
        })
    }
}

/// Evaluates the learner's [validated network](Learner::validated_network) on this rank's part of the images; stops
/// between batches once `stop` is set on any rank.
///
/// # Errors
/// If an image cannot be read, the scores of one contain a NaN or do not fit its label, or `stop` is set.
pub(crate) fn validate(
    learner: &Learner,
    images: &Arc<Images>,
    config: &Config,
    ranks: &mut Ranks,
    stop: &AtomicBool,
) -> Result<Validation, ValidationError> {
    let mut label_ranks = Vec::new();
    let (mut skipped, mut first_bad) = (0, None);
    let mut failure = None;
    let batch_size = config.validation_batch_size;
    let mut batches = images.in_order(batch_size, ranks.part(1));
    // An error ends the batches, but the other ranks do not know it yet.
    for _ in 0..images.len().div_ceil(batch_size * ranks.world_size()) {
        let signals = ranks.exchange(Signals {
            stop: stop.load(Ordering::Relaxed),
            save: false,
            failed: failure.is_some(),
        });
        let signals = signals.map_err(|error| ValidationError::Ranks(Box::new(error)))?;
        if signals.stop {
            return Err(ValidationError::Interrupted);
        }
        if signals.failed {
            break;
        }
        let Some(batch) = batches.next() else {
            continue;
        };
        let evaluate = || -> Result<(), ValidationError> {
            let batch = batch?;
            skipped += batch.skipped;
            if !batch.labels.is_empty() {
                let scores = learner.scores(&batch)?;
                let found = accuracy::label_ranks(&scores, &batch.labels);
                let before = label_ranks.len();
                label_ranks.extend(found.map_err(|error| match error {
                    AccuracyError::Nan { sample, .. } => {
                        ValidationError::NanScores(ranks.part(1).index_of(before + sample))
                    }
                    error => ValidationError::Accuracy(error),
                })?);
            }
            if first_bad.is_none() {
                first_bad = batch.first_bad;
            }
            Ok(())
        };
        if failure.is_none() {
            failure = evaluate().err();
        }
    }
    match failure {
        Some(error) => Err(error),
        None => Ok(Validation {
            val: Accuracy::of(&label_ranks, config.topk()),
            skipped,
            first_bad,
        }),
    }
}

/// Validation failed.
#[derive(Debug)]
pub(crate) enum ValidationError {
    BadImage(BadImage),
    /// The scores of the image with this index contain a NaN.
    NanScores(usize),
    /// The scores do not fit the labels.
    Accuracy(AccuracyError),
    /// It was stopped.
    Interrupted,
    /// Another rank does not take part.
    Ranks(Box<TrainError>),
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
