//! One model of an evaluation, and how its scores are evaluated.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use topk_results::{CropAveraging, ModelInfo, Outcome, ScoreError, Scorer};

use crate::error::EvaluationError;
use crate::input::InputKind;
use crate::model::{Execution, Model, ModelError};
use crate::options::EvalOptions;
use crate::pipeline::Batch;
use crate::transform::InputTransform;
use crate::worker::SessionWorker;

/// A model to evaluate.
pub(crate) struct ModelRun {
    pub(crate) model: Model,
    /// Types of its weights.
    pub(crate) precision: String,
    pub(crate) scorer: ModelScorer,
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
    pub(crate) averaging: CropAveraging,
}

/// Outcomes of one model for the images of a batch.
pub(crate) struct BatchScores {
    /// For each image, the outcome if it could be read and has a valid label.
    pub(crate) outcomes: Vec<Option<Outcome>>,
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
            invalid: Vec::new(),
            inference: Duration::ZERO,
        };
        if batch.errors.iter().all(Option::is_some) {
            return Ok(found);
        }
        let start = Instant::now();
        let scores = worker.scores(&batch.inputs[self.transform]);
        let scores = scores.map_err(|reason| ModelError::Run {
            path: self.path.clone(),
            reason,
        })?;
        found.inference = start.elapsed();
        let rows = scores.chunks(scores.len() / count);
        for (at, scores) in rows.enumerate() {
            if batch.errors[at].is_some() {
                continue;
            }
            let (name, labels) = image(batch.indices[at]);
            let scores = self.in_order(scores);
            match self.scorer.score(name, &scores, self.averaging, labels) {
                Ok(outcome) => found.outcomes[at] = outcome,
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

impl ModelRun {
    pub(crate) fn info(&self, transform: &InputTransform, options: &EvalOptions) -> ModelInfo {
        let model = &self.model;
        let Execution { provider, tf32, .. } = model.execution();
        let input = match model.kind() {
            InputKind::F32 => "float32",
            InputKind::F16 => "float16",
            InputKind::U8 => "uint8",
        };
        ModelInfo {
            path: model.path().display().to_string(),
            sha256: model.sha256().to_owned(),
            architecture: model.card().map(|card| card.architecture.clone()),
            provider: provider.to_string(),
            nodes: nodes(model),
            device: provider.to_string(),
            tf32,
            batch_size: options.batch_size,
            precision: self.precision.clone(),
            input: input.to_owned(),
            preprocessing: transform.preprocessing.to_string(),
            preprocessing_settings: serde_json::to_value(transform.preprocessing)
                .expect("a struct of plain fields is JSON"),
            normalization: transform.normalization,
            crops: self.scorer.averaging,
        }
    }
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
