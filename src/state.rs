use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value as Json};
use tch::no_grad;
use thiserror::Error;
use topk_history::Accuracy;
use topk_models::Checkpoint;
use topk_models_tch::{LoadError, tensor_of, weight_of};
use topk_onnx::ModelCard;
use topk_weights::{
    STATE_EMA as EMA, STATE_WEIGHTS as WEIGHTS, StateDict, TRAINING_STATE, Tensor, TensorError,
    Value, WeightsError,
};

use crate::checkpoints::Kept;
use crate::config::Config;
use crate::data_record::DataRecord;
use crate::logging::Logged;
use crate::schedule::Plateau;
use crate::step::Learner;
use crate::validation::Watch;

/// File name of the state from which a run is resumed.
pub(crate) const STATE: &str = "state.safetensors";

/// Key of the file's metadata that holds the [`Position`], as JSON.
const KEY: &str = TRAINING_STATE;

/// Version of the file's layout.
const FORMAT: u32 = 1;

/// Prefixes of the tensors' names in the file, beside those of [`topk_weights`].
const MOMENTUM_BUFFERS: &str = "velocities/";
/// Prefix of the other states of the optimizer, before PyTorch's name of the state.
const OPTIMIZER: &str = "optimizer/";
/// Number of the optimizer's steps for each parameter.
const OPTIMIZER_STEPS: &str = "optimizer/steps";
const RUNNING_METRICS: &str = "sums";
/// The scale of the loss in float16 by its bits, and the number of steps since it changed.
const LOSS_SCALE: &str = "loss-scale";

/// Progress of a run.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub(crate) struct Position {
    format: u32,
    /// The run's settings.
    pub(crate) config: Map<String, Json>,
    /// The current epoch, from 1.
    pub(crate) epoch: usize,
    /// Number of its batches that are done.
    pub(crate) batch: usize,
    /// Number of images in these batches.
    pub(crate) images: usize,
    /// Images that could not be read.
    pub(crate) skipped_images: usize,
    /// Skipped steps of the epoch.
    pub(crate) skipped_steps: usize,
    /// Duration of the epoch so far, and the part of it spent waiting for images.
    pub(crate) seconds: f64,
    pub(crate) waiting_seconds: f64,
    /// Lengths in bytes of the log and of the file of times at this position.
    pub(crate) log_bytes: u64,
    pub(crate) times_bytes: u64,
    /// The best epochs so far.
    pub(crate) best: Vec<BestSoFar>,
    /// Whether the run is finished.
    pub(crate) finished: bool,
    /// Number of ranks that train it.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub(crate) ranks: usize,
    /// The images; unknown in the states of earlier versions.
    #[serde(default)]
    pub(crate) data: Option<DataRecord>,
    /// The weights of the classes in the loss, if there are any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) class_weights: Option<Vec<f64>>,
    /// SHA-256 of the teacher, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) teacher: Option<String>,
    /// What --sched plateau has found so far.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) plateau: Option<Plateau>,
    /// The run that this one continues, as given by --resume-from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) resume_from: Option<String>,
    /// Length in bytes of the log of steps, and what it has of the epoch.
    #[serde(default)]
    pub(crate) steps_bytes: u64,
    #[serde(default)]
    pub(crate) logged: Logged,
    /// The last validated epoch.
    #[serde(default)]
    pub(crate) last: Option<ValidatedEpoch>,
    /// How long validation has not become better.
    #[serde(default)]
    pub(crate) watch: Watch,
    /// The epochs whose checkpoints --checkpoint-hist keeps, the best first.
    #[serde(default)]
    pub(crate) kept: Vec<Kept>,
    /// The epochs whose checkpoints the last validated epoch replaced.
    #[serde(default)]
    pub(crate) dropped: Vec<usize>,
}

fn one() -> usize {
    1
}

fn is_one(number: &usize) -> bool {
    *number == 1
}

/// A validated epoch.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub(crate) struct ValidatedEpoch {
    pub(crate) epoch: usize,
    pub(crate) val: Accuracy,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) val_loss: Option<f64>,
    /// Temperature and margin of the loss in that epoch, if the loss has them. They do not follow from the settings,
    /// because a run may be continued with more epochs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) tau: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) alpha: Option<f64>,
}

/// The epoch with the best validation result of one kind.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub(crate) struct BestSoFar {
    pub(crate) name: String,
    #[serde(flatten)]
    pub(crate) of: ValidatedEpoch,
    /// The result, unless it is the accuracy for 1 or the k of the loss.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) value: Option<f64>,
    /// Whether its checkpoint was copied from the run that this one continues; then the state does not have its
    /// weights.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) copied: bool,
}

/// The state of a run cannot be read or written.
#[derive(Debug, Error)]
#[non_exhaustive]
pub(crate) enum StateError {
    /// The file cannot be read or written.
    #[error(transparent)]
    File(#[from] WeightsError),
    /// The contents are invalid.
    #[error(
        "cannot resume from {}: {reason}. Remove this file and the log beside it to start again",
        path.display()
    )]
    Contents {
        /// The file.
        path: PathBuf,
        /// What is invalid.
        reason: String,
    },
}

impl Position {
    /// The start of a run.
    pub(crate) fn start(config: Map<String, Json>) -> Self {
        Self {
            format: FORMAT,
            config,
            epoch: 1,
            batch: 0,
            images: 0,
            skipped_images: 0,
            skipped_steps: 0,
            seconds: 0.0,
            waiting_seconds: 0.0,
            log_bytes: 0,
            times_bytes: 0,
            best: Vec::new(),
            finished: false,
            ranks: 1,
            data: None,
            class_weights: None,
            teacher: None,
            plateau: None,
            resume_from: None,
            steps_bytes: 0,
            logged: Logged::default(),
            last: None,
            watch: Watch::default(),
            kept: Vec::new(),
            dropped: Vec::new(),
        }
    }

    /// The position as a value of the file's metadata.
    fn to_value(&self) -> Value {
        Value::Text(serde_json::to_string(self).expect("a position is serialisable"))
    }

    /// Why training ends before its last epoch with these settings, if it does.
    pub(crate) fn stopped_early(&self, config: &Config) -> Option<String> {
        let patience = config.validation.patience;
        self.watch.exhausted(config.eval_metric(), patience)
    }

    /// Number of epochs that have begun.
    pub(crate) fn begun(&self) -> usize {
        self.epoch - usize::from(self.batch == 0)
    }

    /// Goes back to the start of the current epoch.
    pub(crate) fn restart_epoch(&mut self) {
        self.epoch -= 1;
        self.next_epoch();
    }

    /// Moves to the start of the next epoch.
    pub(crate) fn next_epoch(&mut self) {
        *self = Self {
            epoch: self.epoch + 1,
            log_bytes: self.log_bytes,
            times_bytes: self.times_bytes,
            best: std::mem::take(&mut self.best),
            ranks: self.ranks,
            data: self.data.take(),
            class_weights: self.class_weights.take(),
            teacher: self.teacher.take(),
            plateau: self.plateau.take(),
            resume_from: self.resume_from.take(),
            steps_bytes: self.steps_bytes,
            last: self.last.take(),
            watch: std::mem::take(&mut self.watch),
            kept: std::mem::take(&mut self.kept),
            dropped: std::mem::take(&mut self.dropped),
            ..Self::start(std::mem::take(&mut self.config))
        };
    }
}

/// Saved state of a run.
#[derive(Debug)]
pub(crate) struct State {
    path: PathBuf,
    pub(crate) position: Position,
    tensors: BTreeMap<String, Tensor>,
    /// Whether the state of the optimizer is restored.
    has_optimizer: bool,
}

/// The name of a state of the optimizer in the file, given PyTorch's name of the state and the parameter.
fn state_key(state: &str, parameter: &str) -> String {
    match state {
        "momentum_buffer" => format!("{MOMENTUM_BUFFERS}{parameter}"),
        _ => format!("{OPTIMIZER}{state}/{parameter}"),
    }
}

impl State {
    /// Writes the state of a run atomically; the card describes its weights.
    pub(crate) fn save(
        folder: &Path,
        position: &Position,
        learner: &Learner,
        card: &ModelCard,
    ) -> Result<(), StateError> {
        let mut tensors = BTreeMap::new();
        for (name, weight) in learner.network().weights() {
            tensors.insert(format!("{WEIGHTS}{name}"), weight);
        }
        for (state, name, tensor) in learner.optimizer_state() {
            tensors.insert(state_key(state, name), weight_of(tensor));
        }
        if let Some(steps) = learner.optimizer_steps() {
            tensors.insert(OPTIMIZER_STEPS.to_owned(), weight_of(steps));
        }
        for (name, weight) in learner
            .ema()
            .map(|network| network.weights())
            .into_iter()
            .flatten()
        {
            tensors.insert(format!("{EMA}{name}"), weight);
        }
        // The bits of the numbers: exact, and allowed to be infinite, unlike floating-point tensors.
        let metrics = learner.running_metrics().map(|sum| sum.to_bits() as i64);
        let metrics =
            Tensor::from_i64(&[metrics.len()], &metrics).expect("the shape has its length");
        tensors.insert(RUNNING_METRICS.to_owned(), metrics);
        if let Some(scaler) = learner.scaler() {
            let (scale, steps) = scaler.state();
            let state = [i64::from(scale.to_bits()), i64::from(steps)];
            let state = Tensor::from_i64(&[2], &state).expect("the shape has its length");
            tensors.insert(LOSS_SCALE.to_owned(), state);
        }
        let file = StateDict {
            tensors,
            metadata: BTreeMap::from([
                (KEY.to_owned(), position.to_value()),
                Checkpoint::card_entry(card),
            ]),
        };
        Ok(file.save(&folder.join(STATE))?)
    }

    /// Replaces the position in the saved state.
    pub(crate) fn save_position(folder: &Path, position: &Position) -> Result<(), StateError> {
        let path = folder.join(STATE);
        let mut file = StateDict::read(&path)?;
        file.metadata.insert(KEY.to_owned(), position.to_value());
        Ok(file.save(&path)?)
    }

    /// Reads the state in a folder, if there is one.
    pub(crate) fn read(folder: &Path) -> Result<Option<Self>, StateError> {
        let path = folder.join(STATE);
        if !path.exists() {
            return Ok(None);
        }
        let StateDict { tensors, metadata } = StateDict::read(&path)?;
        let fail = |reason: String| StateError::Contents {
            path: path.clone(),
            reason,
        };
        let Some(Value::Text(text)) = metadata.get(KEY) else {
            return Err(fail(format!("the metadata key `{KEY}` is missing")));
        };
        let position: Position =
            serde_json::from_str(text).map_err(|error| fail(error.to_string()))?;
        if position.format != FORMAT {
            let format = position.format;
            return Err(fail(format!(
                "it has format version {format}, and this program reads version {FORMAT}"
            )));
        }
        Ok(Some(Self {
            path,
            position,
            tensors,
            has_optimizer: true,
        }))
    }

    /// Whether an EMA is saved.
    pub(crate) fn has_ema(&self) -> bool {
        self.tensors.keys().any(|name| name.starts_with(EMA))
    }

    /// Leaves out the state of the optimizer, so that another one starts without.
    pub(crate) fn forget_optimizer(&mut self) {
        self.has_optimizer = false;
    }

    /// Starts an EMA at the weights.
    pub(crate) fn add_ema(&mut self) {
        let weights = self.tensors.iter();
        let copies: Vec<(String, Tensor)> = weights
            .filter_map(|(name, tensor)| {
                let name = name.strip_prefix(WEIGHTS)?;
                Some((format!("{EMA}{name}"), tensor.clone()))
            })
            .collect();
        self.tensors.extend(copies);
    }

    /// Restores weights, the optimizer's state, EMA, running metrics and loss scale; returns the position.
    pub(crate) fn restore(self, learner: &mut Learner) -> Result<Position, StateError> {
        let Self {
            path,
            position,
            tensors,
            has_optimizer,
        } = self;
        let fail = |reason: String| StateError::Contents {
            path: path.clone(),
            reason,
        };
        let mut weights = BTreeMap::new();
        let mut optimizer = BTreeMap::new();
        let mut ema = BTreeMap::new();
        let mut metrics = None;
        let mut loss_scale = None;
        for (name, tensor) in tensors {
            if let Some(name) = name.strip_prefix(WEIGHTS) {
                weights.insert(name.to_owned(), tensor);
            } else if name.starts_with(MOMENTUM_BUFFERS) || name.starts_with(OPTIMIZER) {
                optimizer.insert(name, tensor);
            } else if let Some(name) = name.strip_prefix(EMA) {
                ema.insert(name.to_owned(), tensor);
            } else if name == RUNNING_METRICS {
                let read = |tensor: &Tensor| -> Result<[i64; 3], TensorError> {
                    Ok(tensor.to_i64()?.try_into().unwrap_or_default())
                };
                metrics = Some(read(&tensor).map_err(|error| fail(error.to_string()))?);
            } else if name == LOSS_SCALE {
                let state = tensor.to_i64().map_err(|error| fail(error.to_string()))?;
                let [bits, steps] = state[..] else {
                    let found = state.len();
                    return Err(fail(format!(
                        "the loss scale has {found} numbers, expected 2"
                    )));
                };
                loss_scale = Some((f32::from_bits(bits as u32), steps as i32));
            }
        }
        let expected = learner.network().tensors().len();
        for (what, found) in [("weights", &weights), ("EMA weights", &ema)] {
            let required = what == "weights" || learner.ema().is_some();
            if required && found.len() != expected {
                let found = found.len();
                return Err(fail(format!("it has {found} {what}, expected {expected}")));
            }
        }
        let wrong = |error: LoadError| fail(error.to_string());
        learner.load(&weights, &ema).map_err(wrong)?;
        if has_optimizer {
            let restore = |key: &str, what: &str, tensor: &tch::Tensor| {
                let saved = optimizer.get(key);
                let saved = saved.ok_or_else(|| fail(format!("{what} is missing")))?;
                let shape: Vec<usize> = tensor.size().iter().map(|&dim| dim as usize).collect();
                if saved.shape() != shape {
                    return Err(fail(format!("{what} has the wrong shape")));
                }
                no_grad(|| tensor.shallow_clone().copy_(&tensor_of(saved)));
                Ok(())
            };
            for (state, name, tensor) in learner.optimizer_state() {
                let what = format!("the {} of {name}", state.replace('_', " "));
                restore(&state_key(state, name), &what, tensor)?;
            }
            if let Some(steps) = learner.optimizer_steps() {
                restore(
                    OPTIMIZER_STEPS,
                    "the number of the optimizer's steps",
                    steps,
                )?;
            }
        }
        let metrics = metrics.ok_or_else(|| fail("the running metrics are missing".to_owned()))?;
        learner.set_running_metrics(metrics.map(|bits| f64::from_bits(bits as u64)));
        // A continuation of a run in another precision starts at the initial scale.
        if let (Some(scaler), Some(state)) = (learner.scaler_mut(), loss_scale) {
            scaler.set_state(state);
        }
        Ok(position)
    }
}
