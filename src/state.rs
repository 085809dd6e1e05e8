use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value as Json};
use tch::no_grad;
use thiserror::Error;
use topk_history::Accuracy;
use topk_models_tch::{LoadError, tensor_of, weight_of};
use topk_weights::{StateDict, Tensor, TensorError, Value, WeightsError};

use crate::learner::Learner;

/// Name of the file in a run's folder from which the run can go on.
pub(crate) const STATE: &str = "state.safetensors";

/// Key of the file's metadata that holds the [`Position`], as JSON.
const KEY: &str = "topk-train";

/// Of this layout.
const FORMAT: u32 = 1;

/// Where the tensors of each kind stand.
const WEIGHTS: &str = "weights/";
const VELOCITIES: &str = "velocities/";
const AVERAGES: &str = "averages/";
const SUMS: &str = "sums";

/// How far a run is, and what it has found.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub(crate) struct Position {
    format: u32,
    /// The run's settings.
    pub(crate) config: Map<String, Json>,
    /// The epoch that comes or goes on, from 1.
    pub(crate) epoch: usize,
    /// Batches of it that are done.
    pub(crate) batch: usize,
    /// Images of these batches.
    pub(crate) images: usize,
    /// Images of these that could not be read.
    pub(crate) skipped_images: usize,
    /// Steps of the epoch that were left out.
    pub(crate) skipped_steps: usize,
    /// Seconds that the epoch has taken, and those of them that went into waiting for images.
    pub(crate) seconds: f64,
    pub(crate) waiting_seconds: f64,
    /// Bytes of the log and of the file of times that belong to this position.
    pub(crate) log_bytes: u64,
    pub(crate) times_bytes: u64,
    /// The best epochs so far.
    pub(crate) best: Vec<BestSoFar>,
    /// Whether nothing is left to do.
    pub(crate) finished: bool,
}

/// The best epoch by one measure.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub(crate) struct BestSoFar {
    pub(crate) name: String,
    pub(crate) epoch: usize,
    pub(crate) val: Accuracy,
}

/// Why a run cannot go on.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum StateError {
    /// The file cannot be read or written.
    #[error(transparent)]
    File(#[from] WeightsError),
    /// It is not what this program writes.
    #[error(
        "{} is not a state that a run can go on from: {reason}. Without it, and the log beside it, the \
         run begins anew",
        path.display()
    )]
    Contents {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
}

impl Position {
    /// Of a run that has not begun.
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
        }
    }

    /// Goes on to the next epoch.
    pub(crate) fn next_epoch(&mut self) {
        *self = Self {
            epoch: self.epoch + 1,
            log_bytes: self.log_bytes,
            times_bytes: self.times_bytes,
            best: std::mem::take(&mut self.best),
            ..Self::start(std::mem::take(&mut self.config))
        };
    }
}

/// Everything that a run goes on from.
#[derive(Debug)]
pub(crate) struct State {
    path: PathBuf,
    pub(crate) position: Position,
    tensors: BTreeMap<String, Tensor>,
}

impl State {
    /// Writes the state of a run, whole or not at all.
    pub(crate) fn save(
        folder: &Path,
        position: &Position,
        learner: &Learner,
    ) -> Result<(), StateError> {
        let mut tensors = BTreeMap::new();
        for (name, weight) in learner.network().weights() {
            tensors.insert(format!("{WEIGHTS}{name}"), weight);
        }
        for (name, velocity) in learner.velocities() {
            tensors.insert(format!("{VELOCITIES}{name}"), weight_of(velocity));
        }
        for (name, average) in learner
            .averaged()
            .map(|n| n.weights())
            .into_iter()
            .flatten()
        {
            tensors.insert(format!("{AVERAGES}{name}"), average);
        }
        // As integers: they are exact so, and may be infinite.
        let sums = learner.sums().map(|sum| sum.to_bits() as i64);
        let sums = Tensor::from_i64(&[sums.len()], &sums).expect("there are as many");
        tensors.insert(SUMS.to_owned(), sums);
        let text = serde_json::to_string(position).expect("a position is plain data");
        let file = StateDict {
            tensors,
            metadata: BTreeMap::from([(KEY.to_owned(), Value::Text(text))]),
        };
        Ok(file.save(&folder.join(STATE))?)
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
            return Err(fail(format!("its metadata has no `{KEY}`")));
        };
        let position: Position =
            serde_json::from_str(text).map_err(|error| fail(error.to_string()))?;
        if position.format != FORMAT {
            let format = position.format;
            return Err(fail(format!(
                "it has format {format}, and this program reads {FORMAT}"
            )));
        }
        Ok(Some(Self {
            path,
            position,
            tensors,
        }))
    }

    /// Puts weights, velocities and sums back, and returns the position.
    pub(crate) fn restore(self, learner: &mut Learner) -> Result<Position, StateError> {
        let Self {
            path,
            position,
            tensors,
        } = self;
        let fail = |reason: String| StateError::Contents {
            path: path.clone(),
            reason,
        };
        let mut weights = BTreeMap::new();
        let mut velocities = BTreeMap::new();
        let mut averages = BTreeMap::new();
        let mut sums = None;
        for (name, tensor) in tensors {
            if let Some(name) = name.strip_prefix(WEIGHTS) {
                weights.insert(name.to_owned(), tensor);
            } else if let Some(name) = name.strip_prefix(VELOCITIES) {
                velocities.insert(name.to_owned(), tensor);
            } else if let Some(name) = name.strip_prefix(AVERAGES) {
                averages.insert(name.to_owned(), tensor);
            } else if name == SUMS {
                let read = |tensor: &Tensor| -> Result<[i64; 3], TensorError> {
                    Ok(tensor.to_i64()?.try_into().unwrap_or_default())
                };
                sums = Some(read(&tensor).map_err(|error| fail(error.to_string()))?);
            }
        }
        let expected = learner.network().tensors().len();
        for (what, found) in [("weights", &weights), ("averages", &averages)] {
            let wanted = what == "weights" || learner.averaged().is_some();
            if wanted && found.len() != expected {
                let found = found.len();
                return Err(fail(format!("it has {found} {what}, expected {expected}")));
            }
        }
        let wrong = |error: LoadError| fail(error.to_string());
        learner.load(&weights, &averages).map_err(wrong)?;
        for (name, velocity) in learner.velocities() {
            let saved = velocities.get(name);
            let saved = saved.ok_or_else(|| fail(format!("it has no velocity of {name}")))?;
            let shape: Vec<usize> = velocity.size().iter().map(|&dim| dim as usize).collect();
            if saved.shape() != shape {
                return Err(fail(format!("the velocity of {name} has another shape")));
            }
            no_grad(|| velocity.shallow_clone().copy_(&tensor_of(saved)));
        }
        let sums = sums.ok_or_else(|| fail("it has no sums".to_owned()))?;
        learner.set_sums(sums.map(|bits| f64::from_bits(bits as u64)));
        Ok(position)
    }
}
