use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use atomic_write_file::AtomicWriteFile;
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use safetensors::{SafeTensorError, serialize};
use thiserror::Error;
use topk_onnx::ModelCard;

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

/// Writes a file whole or not at all.
pub(crate) fn write_file(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = AtomicWriteFile::open(path)?;
    file.write_all(bytes)?;
    file.commit()
}

impl Checkpoint {
    /// Writes the file, whole or not at all.
    ///
    /// # Errors
    /// If the shapes do not fit the values, or the file cannot be written.
    pub fn save(&self, path: &Path) -> Result<(), CheckpointError> {
        let bytes = self
            .to_safetensors()
            .map_err(|error| CheckpointError::Format {
                path: path.to_owned(),
                reason: error.to_string(),
            })?;
        write_file(path, &bytes).map_err(|error| CheckpointError::Write {
            path: path.to_owned(),
            error,
        })
    }

    fn to_safetensors(&self) -> Result<Vec<u8>, SafeTensorError> {
        let bytes: Vec<Vec<u8>> = self
            .weights
            .values()
            .map(|weight| {
                weight
                    .values
                    .iter()
                    .flat_map(|value| value.to_le_bytes())
                    .collect()
            })
            .collect();
        let views = self
            .weights
            .iter()
            .zip(&bytes)
            .map(|((name, weight), bytes)| {
                Ok((
                    name,
                    TensorView::new(Dtype::F32, weight.shape.clone(), bytes)?,
                ))
            })
            .collect::<Result<Vec<_>, SafeTensorError>>()?;
        // One key: the order of several would differ from run to run.
        let card = serde_json::to_string(&self.card).expect("a struct of plain fields is JSON");
        serialize(views, Some(HashMap::from([(CARD_KEY.to_owned(), card)])))
    }

    /// Reads a file that [`save`](Self::save) wrote.
    ///
    /// # Errors
    /// If it cannot be read, or is something else.
    pub fn load(path: &Path) -> Result<Self, CheckpointError> {
        let format = |reason| CheckpointError::Format {
            path: path.to_owned(),
            reason,
        };
        let bytes = fs::read(path).map_err(|error| CheckpointError::Read {
            path: path.to_owned(),
            error,
        })?;
        let (_, metadata) =
            SafeTensors::read_metadata(&bytes).map_err(|error| format(error.to_string()))?;
        let tensors =
            SafeTensors::deserialize(&bytes).map_err(|error| format(error.to_string()))?;
        let card = metadata
            .metadata()
            .as_ref()
            .and_then(|metadata| metadata.get(CARD_KEY))
            .ok_or_else(|| format(format!("it has no metadata key `{CARD_KEY}`")))?;
        let card = serde_json::from_str(card)
            .map_err(|error| format(format!("metadata key `{CARD_KEY}`: {error}")))?;
        let mut weights = BTreeMap::new();
        for (name, view) in tensors.tensors() {
            if view.dtype() != Dtype::F32 {
                return Err(format(format!(
                    "{name} is {:?}, expected F32",
                    view.dtype()
                )));
            }
            let (values, _) = view.data().as_chunks();
            let values = values
                .iter()
                .map(|&bytes| f32::from_le_bytes(bytes))
                .collect();
            weights.insert(
                name,
                Weight {
                    shape: view.shape().to_vec(),
                    values,
                },
            );
        }
        Ok(Self { card, weights })
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
