//! One model of an evaluation, and how its scores are evaluated.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use topk_results::{CropAveraging, LabelledLogits, ModelInfo, Outcome, ScoreError, Scorer};

use crate::error::EvaluationError;
use crate::model::{Execution, Model, ModelError};
use crate::options::EvalOptions;
use crate::pipeline::Batch;
use crate::provider::{self, Provider};
use crate::transform::InputTransform;
use crate::worker::SessionWorker;

/// A model to evaluate.
pub(crate) struct ModelRun {
    pub(crate) model: Model,
    pub(crate) scorer: ModelScorer,
    /// Name of the preset or file that its preprocessing is from, if any.
    pub(crate) preset: Option<String>,
}

/// Computes outcomes from the scores of a model.
pub(crate) struct ModelScorer {
    /// The model file.
    pub(crate) path: PathBuf,
    /// Index of the model's input transform.
    pub(crate) transform: usize,
    pub(crate) scorer: Scorer,
    pub(crate) classes: usize,
    /// Output of the model for each class in results, if they differ.
    pub(crate) outputs: Option<Vec<u32>>,
    /// Number of scores before that of class 0.
    pub(crate) label_offset: usize,
    pub(crate) averaging: CropAveraging,
    /// Whether logits are kept.
    pub(crate) keeps_logits: bool,
}

/// Outcomes of one model for the images of a batch.
pub(crate) struct BatchScores {
    /// For each image, the outcome if it could be read and has a valid label.
    pub(crate) outcomes: Vec<Option<Outcome>>,
    /// The logits of each outcome, if they are kept.
    pub(crate) logits: Vec<Option<LabelledLogits>>,
    /// Images of the batch whose scores are invalid, and the reason.
    pub(crate) invalid: Vec<(usize, String)>,
    /// Time for inference.
    pub(crate) inference: Duration,
}

impl ModelScorer {
    /// The scores of the crops of an image in the order of the classes in results.
    fn in_order<'s>(&self, scores: &'s [f32]) -> Cow<'s, [f32]> {
        let Some(outputs) = &self.outputs else {
            return Cow::Borrowed(scores);
        };
        let crops = scores.chunks_exact(outputs.len());
        let ordered = crops.flat_map(|crop| outputs.iter().map(|&output| crop[output as usize]));
        ordered.collect()
    }

    /// Runs the model on a batch; `image` returns the name and labels of the image with an index.
    pub(crate) fn score<'b>(
        &self,
        worker: &mut SessionWorker,
        batch: &Batch,
        image: impl Fn(usize) -> (&'b String, &'b Vec<u32>),
    ) -> Result<BatchScores, EvaluationError> {
        let count = batch.indices.len();
        let mut found = BatchScores {
            outcomes: vec![None; count],
            logits: vec![None; count],
            invalid: Vec::new(),
            inference: Duration::ZERO,
        };
        if batch.errors.iter().all(Option::is_some) {
            return Ok(found);
        }
        let scores = worker.scores(batch.inputs[self.transform].view());
        let scores = scores.map_err(|reason| ModelError::Run {
            path: self.path.clone(),
            reason,
        })?;
        found.inference = worker.take_busy();
        let scores = self.of_classes(scores);
        let rows = scores.chunks(scores.len() / count);
        for (at, scores) in rows.enumerate() {
            if batch.errors[at].is_some() {
                continue;
            }
            let (name, labels) = image(batch.indices[at]);
            let scores = self.in_order(scores);
            let scored = match self.keeps_logits {
                false => {
                    let outcome = self.scorer.score(name, &scores, self.averaging, labels);
                    outcome.map(|outcome| (outcome, None))
                }
                true => {
                    let scored =
                        self.scorer
                            .score_with_logits(name, &scores, self.averaging, labels);
                    scored.map(Option::unzip)
                }
            };
            match scored {
                Ok((outcome, logits)) => {
                    found.outcomes[at] = outcome;
                    found.logits[at] = logits;
                }
                Err(error @ (ScoreError::NotFinite { .. } | ScoreError::AllMasked)) => {
                    let model = self.path.display();
                    found.invalid.push((at, format!("{model}: {error}")));
                }
                Err(error) => {
                    return Err(EvaluationError::Score {
                        model: self.path.display().to_string(),
                        error,
                    });
                }
            }
        }
        Ok(found)
    }
}

impl ModelScorer {
    /// The scores without those before class 0.
    fn of_classes(&self, scores: Vec<f32>) -> Vec<f32> {
        if self.label_offset == 0 {
            return scores;
        }
        let rows = scores.chunks(self.label_offset + self.classes);
        let rows = rows.flat_map(|row| &row[self.label_offset..]);
        rows.copied().collect()
    }
}

impl ModelRun {
    pub(crate) fn info(&self, transform: &InputTransform, options: &EvalOptions) -> ModelInfo {
        let model = &self.model;
        let execution = model.execution();
        let Execution {
            provider,
            tf32,
            fp16,
            ..
        } = execution;
        ModelInfo {
            path: model.path().display().to_string(),
            sha256: model.sha256().to_owned(),
            external_data: model.external_data().to_vec(),
            architecture: model.card().map(|card| card.architecture.clone()),
            provider: model.devices(),
            nodes: nodes(model),
            device: model.device(),
            plugin: model.plugin().cloned(),
            tf32,
            // Other providers compute in the types of the model.
            fp16: fp16 && matches!(provider, Provider::TensorRt(_)),
            provider_options: provider::settings(&execution, model.caches_engines()),
            batch_size: options.batch_size,
            run_size: model.run_size(),
            precision: model.precision().to_owned(),
            quantization: model.quantization().cloned(),
            bytes: Some(model.bytes()),
            input: model.kind().to_string(),
            preprocessing: transform.preprocessing.to_string(),
            preprocessing_settings: serde_json::to_value(transform.preprocessing)
                .expect("a struct of plain fields is JSON"),
            normalization: transform.normalization,
            pixel_range: transform.pixel_range,
            channel_order: transform.channel_order,
            preset: self.preset.clone(),
            crops: self.scorer.averaging,
            output: model.output().to_owned(),
            output_kind: model.output_kind().0,
            label_offset: model.label_offset(),
            notes: model.notes().to_vec(),
        }
    }
}

/// Number of images of a batch with about `batch_size` crops. Where models run a fixed number of crops, it is one
/// for which few or no runs have to be filled up.
///
/// `models` are the number of crops of an image and the fixed number of each model, if it has one.
pub(crate) fn images_per_batch(batch_size: usize, models: &[(usize, Option<usize>)]) -> usize {
    /// Larger batches take much memory.
    const MAX_CROPS: usize = 256;
    let crops = models.iter().map(|(crops, _)| *crops).max().unwrap_or(1);
    let usual = (batch_size / crops).max(1);
    let fixed = models
        .iter()
        .filter_map(|&(crops, fixed)| Some((crops, fixed.filter(|&fixed| fixed > 1)?)));
    let one_run = fixed.clone().map(|(crops, fixed)| fixed.div_ceil(crops));
    let Some(one_run) = one_run.max() else {
        return usual;
    };
    // Crops to run for each that is needed, in thousandths, summed over the models.
    let cost = |images: usize| -> usize {
        let costs = fixed.clone().map(|(crops, fixed)| {
            let needed = images * crops;
            1000 * needed.next_multiple_of(fixed) / needed
        });
        costs.sum()
    };
    let most = usual.max(one_run).max(MAX_CROPS / crops);
    let candidates = || (1..=most).map(|images| (cost(images), images.abs_diff(usual), images));
    let least = candidates().map(|(cost, ..)| cost).min().unwrap_or(0);
    candidates()
        .filter(|(cost, ..)| *cost == least)
        .min_by_key(|&(_, distance, images)| (distance, images))
        .map_or(usual, |(.., images)| images)
}

/// Number of nodes of a model on each execution provider.
pub(crate) fn nodes(model: &Model) -> BTreeMap<String, usize> {
    let providers = model.assignment().iter();
    let counted = providers.map(|(name, operators)| (name.clone(), operators.values().sum()));
    counted.collect()
}

/// What is averaged over the crops of an image: as in the paper's code, logits for networks trained with the
/// smooth top-k SVM loss, probabilities for others.
pub(crate) fn crop_averaging(
    model: &Model,
    transform: &InputTransform,
    requested: Option<CropAveraging>,
) -> CropAveraging {
    if transform.crops() == 1 {
        return CropAveraging::None;
    }
    let training = model.card().and_then(|card| card.training.as_ref());
    requested.unwrap_or(match training {
        Some(training) if training.loss == "svm" => CropAveraging::Logits,
        _ => CropAveraging::Probs,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_are_multiples_of_fixed_numbers() {
        for (batch_size, models, expected) in [
            (8, &[(1, None)][..], 8),
            (8, &[(10, None)], 1),
            (64, &[(10, None), (1, None)], 6),
            (8, &[(1, Some(1))], 8),
            (8, &[(1, Some(32))], 32),
            (8, &[(1, Some(4))], 8),
            (8, &[(1, Some(3))], 9),
            (64, &[(1, Some(32)), (1, None)], 64),
            (8, &[(1, Some(4)), (1, Some(6))], 12),
            // 16 images have the crops of 5 runs.
            (8, &[(10, Some(32))], 16),
            (8, &[(1, Some(500))], 500),
        ] {
            assert_eq!(images_per_batch(batch_size, models), expected, "{models:?}");
        }
        // Two fixed numbers without a small common multiple: little is filled up.
        let images = images_per_batch(8, &[(1, Some(97)), (1, Some(64))]);
        assert!(images <= 256, "{images}");
    }
}
