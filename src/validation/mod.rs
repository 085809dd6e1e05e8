//! Evaluation of a network on the validation images, and what follows from the results.

mod metric;
mod settings;
mod tally;
mod watch;

#[cfg(test)]
mod parity;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tch::TchError;
use topk_history::Confusion;
use topk_ops::{AccuracyError, BatchOutputs, LossError, LossName, Rayon, Reduction, accuracy};

use crate::TrainError;
use crate::config::Config;
use crate::images::{BadImage, BatchError, Images};
use crate::ranks::{Ranks, Signals};
use crate::step::Learner;

pub use metric::{Ks, Metric, ParseKsError, ParseMetricError};
pub use settings::ValidationSettings;
pub(crate) use tally::Tally;
pub(crate) use watch::Watch;

/// The results of a validation.
#[derive(Debug)]
pub(crate) struct Validation {
    /// Of the EMA if there is one, otherwise of the weights.
    pub(crate) tally: Tally,
    /// Of the raw weights beside an EMA, if requested.
    pub(crate) raw: Option<Tally>,
    /// Which classes were taken for which, unless there are very many.
    pub(crate) confusion: Option<Confusion>,
    /// Number of images that could not be read.
    pub(crate) skipped: usize,
    /// The first of them.
    pub(crate) first_bad: Option<BadImage>,
}

impl Validation {
    /// The results of all ranks together.
    pub(crate) fn of_all(self, ranks: &Ranks) -> Result<Self, TrainError> {
        let [skipped] = ranks.sum([self.skipped])?;
        let raw = self.raw.map(|raw| raw.of_all(ranks));
        let mut confusion = self.confusion;
        if let Some(confusion) = &mut confusion {
            ranks.sum_all(confusion.counts_mut())?;
        }
        Ok(Self {
            tally: self.tally.of_all(ranks)?,
            raw: raw.transpose()?,
            confusion,
            skipped,
            first_bad: self.first_bad,
        })
    }
}

/// Evaluates the learner's [validated network](Learner::validated_network) on this rank's part of the images, and if
/// requested its raw weights too; stops between batches once `stop` is set on any rank.
///
/// # Errors
/// If an image cannot be read, the scores of one contain a NaN or do not fit its label, or `stop` is set.
pub(crate) fn validate(
    learner: &Learner,
    images: &Arc<Images>,
    config: &Config,
    epoch: usize,
    ranks: &mut Ranks,
    stop: &AtomicBool,
) -> Result<Validation, ValidationError> {
    let mut networks = vec![learner.validated_network()];
    if config.validation.val_raw {
        networks.push(learner.network());
    }
    let mut tallies = vec![Tally::new(config.topk(), config.further_ks()); networks.len()];
    let losses = Losses { config, epoch };
    let classes = learner.network().architecture().classes();
    let mut confusion = (classes <= Confusion::MAX_CLASSES).then(|| Confusion::new(classes));
    let (mut done, mut skipped, mut first_bad) = (0, 0, None);
    let mut failure = None;
    let batch_size = config.validation_batch_size;
    let part = ranks.part(1);
    let mut batches = images.in_order(batch_size, part);
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
                let index = |sample| part.index_of(done + sample);
                let all = learner.scores(&batch, &networks)?;
                for (scores, tally) in all.iter().zip(&mut tallies) {
                    let found = accuracy::label_ranks(scores, &batch.labels);
                    let found = found.map_err(|error| match error {
                        AccuracyError::Nan { sample, .. } => {
                            ValidationError::NanScores(index(sample))
                        }
                        error => ValidationError::Accuracy(error),
                    })?;
                    tally.add(&found, &losses.of(scores, &batch.labels, index));
                }
                if let (Some(confusion), Some(scores)) = (&mut confusion, all.first()) {
                    confusion.add(scores, &batch.labels);
                }
                done += batch.labels.len();
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
    if let Some(error) = failure {
        return Err(error);
    }
    let mut tallies = tallies.into_iter();
    Ok(Validation {
        tally: tallies.next().expect("a network is always validated"),
        raw: tallies.next(),
        confusion,
        skipped,
        first_bad,
    })
}

/// The loss of validation: that of training in an epoch, without label smoothing and class weights, as timm validates.
struct Losses<'a> {
    config: &'a Config,
    epoch: usize,
}

impl Losses<'_> {
    /// The loss of each image; NaN if scores are too large for it. `index` gives the index of an image among the
    /// validation images, on which the random numbers of a loss depend, so that they are the same in other batches.
    fn of(&self, scores: &[f32], labels: &[i64], index: impl Fn(usize) -> usize) -> Vec<f64> {
        let mut losses = vec![f64::NAN; labels.len()];
        let found = match self.config.loss.name {
            LossName::BalancedNoisedTopk => {
                let rows = scores.chunks_exact(scores.len() / labels.len());
                let rows = rows.zip(labels.chunks(1)).zip(losses.chunks_mut(1));
                rows.enumerate()
                    .try_for_each(|(sample, ((scores, label), loss))| {
                        self.write(scores, label, index(sample) as u64, loss)
                    })
            }
            _ => self.write(scores, labels, 0, &mut losses),
        };
        // The settings of the loss, the labels and the shapes were checked, so this is about scores.
        if found.is_err() {
            losses.fill(f64::NAN);
        }
        losses
    }

    fn write(
        &self,
        scores: &[f32],
        labels: &[i64],
        seed: u64,
        losses: &mut [f64],
    ) -> Result<(), LossError> {
        let seed = u64::from(self.config.seed) << 32 | seed;
        let Config { loss, epochs, .. } = self.config;
        let criterion = loss.plain_criterion(self.config.topk(), self.epoch, *epochs, seed)?;
        let criterion = criterion.with_reduction(Reduction::None);
        let mut rounded = vec![0.0f32; labels.len()];
        let outputs = BatchOutputs {
            losses: Some(losses),
            ..BatchOutputs::new(&mut rounded)
        };
        criterion.compute(&Rayon, scores, labels, outputs)
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
