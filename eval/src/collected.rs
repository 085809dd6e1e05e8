//! What an evaluation has collected so far.

use std::time::Duration;

use topk_data::ImageSet;
use topk_results::{Failure, Image, InvalidResults, Measurements, Outcome, Results};

use crate::model_run::BatchScores;
use crate::options::{EvalOptions, Labels, OnBadImage};

/// The scores of all models for a batch.
pub(crate) struct EvaluatedBatch {
    /// Indices of the images in the data set.
    pub(crate) indices: Vec<usize>,
    /// For each image, the error if it could not be read.
    pub(crate) errors: Vec<Option<String>>,
    /// Positions of images for which a model returned invalid scores, with the errors.
    pub(crate) invalid: Vec<(usize, String)>,
    /// For each model, its scores; none if the models were not run, because of a bad image here or before.
    pub(crate) scores: Option<Vec<BatchScores>>,
    /// Time for decoding and resizing, summed over threads.
    pub(crate) preparation: Duration,
}

/// The images and outcomes so far.
#[derive(Clone, Default)]
pub(crate) struct Collected {
    pub(crate) images: Vec<Image>,
    pub(crate) failures: Vec<Failure>,
    /// Names and errors of the images that end the run, with [`OnBadImage::Fail`]: the bad images of the first batch
    /// that has any, and those of later batches that cannot be read. The images that are collected precede them.
    pub(crate) bad_images: Vec<(String, String)>,
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
        mut batch: EvaluatedBatch,
        set: &ImageSet,
        labels: &Labels,
        options: &EvalOptions,
    ) {
        let samples = set.samples();
        let ended = !self.bad_images.is_empty();
        if !ended {
            // Some later batches were evaluated before the first bad image was found, others not.
            for (at, error) in batch.invalid {
                batch.errors[at].get_or_insert(error);
            }
        }
        let failed = batch.errors.iter().any(Option::is_some);
        if options.on_bad_image == OnBadImage::Fail && (failed || ended) {
            for (&index, error) in batch.indices.iter().zip(batch.errors) {
                self.bad_images
                    .extend(error.map(|error| (samples[index].name.clone(), error)));
            }
            return;
        }
        let Some(scores) = batch.scores else {
            return;
        };
        self.preparation += batch.preparation;
        for (&index, error) in batch.indices.iter().zip(batch.errors) {
            self.failures.extend(error.map(|message| Failure {
                index,
                name: samples[index].name.clone(),
                message,
            }));
        }
        self.images.extend(batch.indices.iter().map(|&index| {
            Image {
                index,
                name: samples[index].name.clone(),
                labels: labels[index].clone(),
                groups: (options.groups.as_ref())
                    .and_then(|groups| groups.of_image(&samples[index].name))
                    .map(<[u32]>::to_vec),
            }
        }));
        for (model, scores) in scores.into_iter().enumerate() {
            self.inference[model] += scores.inference;
            self.outcomes[model].extend(scores.outcomes);
        }
    }

    /// The results of a run, of which `run` has everything but the images.
    pub(crate) fn into_results(
        self,
        mut run: Measurements,
        elapsed: Duration,
    ) -> Result<Results, InvalidResults> {
        run.images = self.images;
        run.failures = self.failures;
        let models = run.models.iter_mut().zip(self.outcomes).zip(self.inference);
        for ((model, outcomes), inference) in models {
            model.elapsed = elapsed;
            model.decode = self.preparation;
            model.inference = inference;
            model.outcomes = outcomes;
        }
        run.finish()
    }
}
