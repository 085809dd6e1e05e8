use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use atomic_write_file::AtomicWriteFile;
use thiserror::Error;
use topk_onnx::ModelCard;
use topk_weights::{Dtype, StateDict, Tensor, TensorError, Value, WeightsError};

use crate::architecture::Architecture;

/// Key of the file's metadata that holds the model card, as JSON.
const CARD_KEY: &str = "topk";

/// Values of one parameter.
#[derive(Clone, Debug, PartialEq)]
pub struct Weight {
    /// Its shape.
    pub shape: Vec<usize>,
    /// The values, row-major.
    pub values: Vec<f32>,
}

/// Weights by PyTorch's parameter names, and what the network says of itself.
///
/// On disk: a safetensors file, the card in its metadata. The same checkpoint always gives the same
/// bytes.
#[derive(Clone, Debug, PartialEq)]
pub struct Checkpoint {
    /// Which network this is and where it comes from.
    pub card: ModelCard,
    /// Parameters and statistics.
    pub weights: BTreeMap<String, Weight>,
}

/// Why a checkpoint cannot be read, written or used. Messages about files name them.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum CheckpointError {
    /// The file cannot be read.
    #[error("cannot read {}: {error}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        error: io::Error,
    },
    /// The file cannot be written.
    #[error("cannot write {}: {error}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system says.
        error: io::Error,
    },
    /// The file is not what it should be.
    #[error("{} is not a checkpoint of topk-train: {reason}", path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// Weights and network do not belong together.
    #[error("the weights are not those of {architecture}: {}", faults.join("; "))]
    Mismatch {
        /// Name of the network.
        architecture: String,
        /// Each missing, unexpected or wrongly shaped parameter.
        faults: Vec<String>,
    },
}

impl Checkpoint {
    /// Writes the file, whole or not at all.
    ///
    /// # Errors
    /// If the shapes do not fit the values, or the file cannot be written.
    pub fn save(&self, path: &Path) -> Result<(), CheckpointError> {
        let weights = self
            .to_state_dict()
            .map_err(|error| CheckpointError::Format {
                path: path.to_owned(),
                reason: error.to_string(),
            })?;
        let write = || {
            let mut file = AtomicWriteFile::open(path)?;
            weights.write_safetensors(&mut file)?;
            file.commit()
        };
        write().map_err(|error| CheckpointError::Write {
            path: path.to_owned(),
            error,
        })
    }

    fn to_state_dict(&self) -> Result<StateDict, TensorError> {
        let tensors = self.weights.iter().map(|(name, weight)| {
            let tensor = Tensor::from_f32(&weight.shape, &weight.values)?;
            Ok((name.clone(), tensor))
        });
        let card = serde_json::to_string(&self.card).expect("a struct of plain fields is JSON");
        Ok(StateDict {
            tensors: tensors.collect::<Result<_, _>>()?,
            metadata: BTreeMap::from([(CARD_KEY.to_owned(), Value::Text(card))]),
        })
    }

    /// Reads a file that [`save`](Self::save) wrote.
    ///
    /// # Errors
    /// If it cannot be read, is something else, or has weights that are not finite.
    pub fn load(path: &Path) -> Result<Self, CheckpointError> {
        let format = |reason| CheckpointError::Format {
            path: path.to_owned(),
            reason,
        };
        let file = StateDict::read(path).map_err(|error| match error {
            WeightsError::Read { path, error } => CheckpointError::Read { path, error },
            WeightsError::Format { error, .. } => format(error.to_string()),
            error => format(error.to_string()),
        })?;
        let Some(Value::Text(card)) = file.metadata.get(CARD_KEY) else {
            return Err(format(format!("it has no metadata key `{CARD_KEY}`")));
        };
        let card = serde_json::from_str(card)
            .map_err(|error| format(format!("metadata key `{CARD_KEY}`: {error}")))?;
        let weights = file.tensors.into_iter().map(|(name, tensor)| {
            if tensor.dtype() != Dtype::F32 {
                let dtype = tensor.dtype();
                return Err(format(format!("{name} is {dtype}, expected F32")));
            }
            let weight = Weight {
                shape: tensor.shape().to_vec(),
                values: tensor.to_f32().expect("they are single precision"),
            };
            Ok((name, weight))
        });
        Ok(Self {
            card,
            weights: weights.collect::<Result<_, _>>()?,
        })
    }

    /// Checks that the weights are exactly the parameters of this network.
    ///
    /// # Errors
    /// [`CheckpointError::Mismatch`], with every fault.
    pub fn check(&self, architecture: &Architecture) -> Result<(), CheckpointError> {
        let mut faults = Vec::new();
        let parameters = architecture.parameters();
        for parameter in &parameters {
            match self.weights.get(&parameter.name) {
                None => faults.push(format!("{} is missing", parameter.name)),
                Some(weight) if weight.shape != parameter.shape => faults.push(format!(
                    "{} has shape {:?}, expected {:?}",
                    parameter.name, weight.shape, parameter.shape
                )),
                Some(_) => {}
            }
        }
        for name in self.weights.keys() {
            if !parameters.iter().any(|parameter| &parameter.name == name) {
                faults.push(format!("{name} is unexpected"));
            }
        }
        if faults.is_empty() {
            Ok(())
        } else {
            Err(CheckpointError::Mismatch {
                architecture: architecture.name().to_owned(),
                faults,
            })
        }
    }
}
