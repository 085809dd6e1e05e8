use std::collections::BTreeMap;

use rayon::prelude::*;
use topk_results::{CropAveraging, Judge, ModelInfo, Outcome};

use crate::evaluation::EvaluationError;
use crate::model::{Execution, InputKind, Model, ModelError};
use crate::pipeline::Batch;
use crate::plan::Plan;
use crate::recipe::Recipe;

/// A model, and what it is judged by.
pub(crate) struct Judged {
    pub(crate) model: Model,
    /// Place of its recipe.
    pub(crate) recipe: usize,
    pub(crate) judge: Judge,
    pub(crate) classes: usize,
    pub(crate) averaging: CropAveraging,
}

impl Judged {
    pub(crate) fn scores(
        &mut self,
        recipes: &[Recipe],
        batch: &Batch,
    ) -> Result<Vec<f32>, ModelError> {
        if batch.places.is_empty() {
            return Ok(Vec::new());
        }
        let recipe = &recipes[self.recipe];
        let count = batch.places.len() * recipe.crops();
        self.model
            .scores(&batch.inputs[self.recipe], count, recipe.size)
    }

    /// What the scores `[images × crops, classes]` of a batch say, with the images' places.
    pub(crate) fn outcomes<'b>(
        &self,
        scores: &[f32],
        batch: &Batch,
        image: impl Fn(usize) -> (&'b String, &'b Vec<u32>) + Sync,
    ) -> Result<Vec<(usize, Option<Outcome>)>, EvaluationError> {
        let count = batch.places.len();
        if count == 0 {
            return Ok(Vec::new());
        }
        batch
            .places
            .par_iter()
            .zip(scores.par_chunks(scores.len() / count))
            .map(|(&place, scores)| {
                let (name, labels) = image(place);
                let outcome = self.judge.judge(name, scores, self.averaging, labels);
                let outcome = outcome.map_err(|error| EvaluationError::Judge {
                    model: self.model.path().display().to_string(),
                    error,
                })?;
                Ok((place, outcome))
            })
            .collect()
    }

    pub(crate) fn info(&self, recipe: &Recipe, plan: &Plan) -> ModelInfo {
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
            batch_size: plan.batch_size,
            // Within, it may be another: ONNX Runtime does not say.
            precision: format!("{input} input"),
            input: input.to_owned(),
            preprocessing: recipe.preprocessing.to_string(),
            preprocessing_settings: serde_json::to_value(recipe.preprocessing)
                .expect("a struct of plain fields is JSON"),
            normalization: recipe
                .normalization
                .map(|normalization| topk_results::Normalization {
                    mean: normalization.mean,
                    std: normalization.std,
                }),
            crops: self.averaging,
        }
    }
}

/// How many nodes of a model run on each provider.
pub(crate) fn nodes(model: &Model) -> BTreeMap<String, usize> {
    let providers = model.assignment().iter();
    let counted = providers.map(|(name, operators)| (name.clone(), operators.values().sum()));
    counted.collect()
}

/// How the crops of an image are averaged: the paper's code averages scores for networks trained with the
/// smooth SVM, and probabilities for others.
pub(crate) fn averaging(
    model: &Model,
    recipe: &Recipe,
    wish: Option<CropAveraging>,
) -> CropAveraging {
    if recipe.crops() == 1 {
        return CropAveraging::None;
    }
    let training = model.card().and_then(|card| card.training.as_ref());
    wish.unwrap_or(match training {
        Some(training) if training.loss == "svm" => CropAveraging::Scores,
        _ => CropAveraging::Softmax,
    })
}
