//! What an evaluation has collected so far.

use std::time::Duration;

use topk_data::ImageSet;
use topk_results::{Failure, Image, Outcome};

use crate::model_run::BatchScores;
use crate::options::{EvalOptions, Labels, OnBadImage};

/// The scores of all models for a batch.
pub(crate) struct EvaluatedBatch {
    /// Indices of the images in the data set.
    pub(crate) indices: Vec<usize>,
    /// For each image, the error if it could not be read.
    pub(crate) errors: Vec<Option<String>>,
    /// For each model, its scores.
    pub(crate) scores: Vec<BatchScores>,
    /// Time for decoding and resizing, summed over threads.
    pub(crate) preparation: Duration,
}

/// The images and outcomes so far.
#[derive(Default)]
pub(crate) struct Collected {
    pub(crate) images: Vec<Image>,
    pub(crate) failures: Vec<Failure>,
    /// For each model, the outcomes of `images`.
    pub(crate) outcomes: Vec<Vec<Option<Outcome>>>,
    /// For each model, the time for inference.
    pub(crate) inference: Vec<Duration>,
    pub(crate) preparation: Duration,
}

impl Collected {
    pub(crate) fn new(models: usize) -> Self {
        Self {
            outcomes: vec![Vec::new(); models],
            inference: vec![Duration::ZERO; models],
            ..Self::default()
        }
    }

    pub(crate) fn add(
        &mut self,
        batch: EvaluatedBatch,
        set: &ImageSet,
        labels: &Labels,
        options: &EvalOptions,
    ) {
        let samples = set.samples();
        self.preparation += batch.preparation;
        for (&index, error) in batch.indices.iter().zip(batch.errors) {
            self.failures.extend(error.map(|message| Failure {
                index,
                name: samples[index].name.clone(),
                message,
            }));
        }
        if options.on_bad_image == OnBadImage::Fail && !self.failures.is_empty() {
            // There will be no results; the rest of the run only finds the other unreadable images.
            return;
        }
        self.images.extend(batch.indices.iter().map(|&index| Image {
            index,
            name: samples[index].name.clone(),
            labels: labels[index].clone(),
        }));
        for (model, scores) in batch.scores.into_iter().enumerate() {
            self.inference[model] += scores.inference;
            self.outcomes[model].extend(scores.outcomes);
        }
    }
}
