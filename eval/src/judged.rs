use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use topk_results::{CropAveraging, Judge, ModelInfo, Outcome};

use crate::evaluation::EvaluationError;
use crate::input::InputKind;
use crate::lane::Lane;
use crate::model::{Execution, Model, ModelError};
use crate::pipeline::Batch;
use crate::plan::Plan;
use crate::recipe::Recipe;

/// A model, and what it is judged by.
pub(crate) struct Judged {
    pub(crate) model: Model,
    /// The types of its weights, in words.
    pub(crate) precision: String,
    pub(crate) judging: Judging,
}

/// What the scores of a model are judged by.
pub(crate) struct Judging {
    /// The model's file.
    pub(crate) path: PathBuf,
    /// Place of the model's recipe.
    pub(crate) recipe: usize,
    pub(crate) judge: Judge,
    pub(crate) classes: usize,
    pub(crate) averaging: CropAveraging,
}

/// What a model says of the images of a batch.
pub(crate) struct Said {
    /// For each image, if it could be read and counts.
    pub(crate) outcomes: Vec<Option<Outcome>>,
    /// How long the model ran.
    pub(crate) inference: Duration,
}

impl Judging {
    /// Runs the model on a batch; `image` gives the name and the right classes of a place.
    pub(crate) fn judge<'b>(
        &self,
        lane: &mut Lane,
        batch: &Batch,
        image: impl Fn(usize) -> (&'b String, &'b Vec<u32>),
    ) -> Result<Said, EvaluationError> {
        let count = batch.places.len();
        if batch.faults.iter().all(Option::is_some) {
            return Ok(Said {
                outcomes: vec![None; count],
                inference: Duration::ZERO,
            });
        }
        let start = Instant::now();
        let scores = lane.scores(&batch.inputs[self.recipe]);
        let scores = scores.map_err(|reason| ModelError::Run {
            path: self.path.clone(),
            reason,
        })?;
        let inference = start.elapsed();
        let rows = scores.chunks(scores.len() / count);
        let rows = batch.places.iter().zip(&batch.faults).zip(rows);
        let outcomes = rows.map(|((&place, fault), scores)| {
            if fault.is_some() {
                return Ok(None);
            }
            let (name, labels) = image(place);
            let outcome = self.judge.judge(name, scores, self.averaging, labels);
            outcome.map_err(|error| EvaluationError::Judge {
                model: self.path.display().to_string(),
                error,
            })
        });
        Ok(Said {
            outcomes: outcomes.collect::<Result<_, _>>()?,
            inference,
        })
    }
}

impl Judged {
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
            precision: self.precision.clone(),
            input: input.to_owned(),
            preprocessing: recipe.preprocessing.to_string(),
            preprocessing_settings: serde_json::to_value(recipe.preprocessing)
                .expect("a struct of plain fields is JSON"),
            normalization: recipe.normalization,
            crops: self.judging.averaging,
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
