use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use thiserror::Error;
use topk_onnx::ModelCard;
use topk_weights::{StateDict, Tensor, Value, WeightsError};

use crate::architecture::{Architecture, ArchitectureError, Classifier, MatchError};
use crate::architectures::architecture_of;

/// Key of the file's metadata that holds the model card, as JSON.
const CARD_KEY: &str = "topk";

/// A network's weights in `f32`, under PyTorch's names, and its model card.
///
/// On disk it is a file of weights with the card in its metadata. The same checkpoint always gives the same
/// bytes.
#[derive(Clone, Debug, PartialEq)]
pub struct Checkpoint {
    card: ModelCard,
    architecture: Architecture,
    /// The weights, with the card as metadata.
    file: StateDict,
}

/// Why a checkpoint cannot be read, written or used.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum CheckpointError {
    /// The file cannot be read or written. The message names it.
    #[error(transparent)]
    File(#[from] WeightsError),
    /// The file is not a checkpoint.
    #[error("{}: {error}", path.display())]
    Contents {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        error: Box<CheckpointError>,
    },
    /// The file has no model card.
    #[error("it has no model card, and so was not written by topk-train")]
    NoCard,
    /// The model card is invalid.
    #[error("metadata key `{CARD_KEY}`: {0}")]
    Card(serde_json::Error),
    /// The architecture cannot be built.
    #[error(transparent)]
    Architecture(#[from] ArchitectureError),
    /// The weights do not fit the architecture.
    #[error(transparent)]
    Weights(#[from] MatchError),
    /// The number of class names is not the number of classes.
    #[error("there are {names} class names, but the weights have {classes} classes")]
    ClassNames {
        /// Number of names.
        names: usize,
        /// Number of classes.
        classes: usize,
    },
}

impl Checkpoint {
    /// Combines weights with a card. The number of classes is that of the weights.
    ///
    /// # Errors
    /// If the card's architecture is unknown, or does not fit the weights or the class names.
    pub fn new(card: ModelCard, weights: StateDict) -> Result<Self, CheckpointError> {
        let architecture = architecture_of(&weights, &card.architecture, card.input_size)?;
        let classes = architecture.classes();
        if let Some(names) = &card.class_names
            && names.len() != classes
        {
            let names = names.len();
            return Err(CheckpointError::ClassNames { names, classes });
        }
        let weights = architecture.matched(weights, Classifier::Keep)?.tensors;
        Ok(Self::of(card, architecture, weights))
    }

    /// Combines the weights of a network with a card.
    ///
    /// # Errors
    /// If the tensors are not those of the architecture.
    pub fn of_network(
        card: ModelCard,
        architecture: Architecture,
        tensors: BTreeMap<String, Tensor>,
    ) -> Result<Self, MatchError> {
        let weights = StateDict {
            tensors,
            ..StateDict::default()
        };
        let weights = architecture.matched(weights, Classifier::Keep)?.tensors;
        Ok(Self::of(card, architecture, weights))
    }

    fn of(card: ModelCard, architecture: Architecture, tensors: BTreeMap<String, Tensor>) -> Self {
        let metadata = BTreeMap::from([Self::card_entry(&card)]);
        Self {
            card,
            architecture,
            file: StateDict { tensors, metadata },
        }
    }

    /// The entry of a file's metadata in which [`card_of`](Self::card_of) finds a card.
    pub fn card_entry(card: &ModelCard) -> (String, Value) {
        let text = serde_json::to_string(card).expect("a struct of plain fields is JSON");
        (CARD_KEY.to_owned(), Value::Text(text))
    }

    /// The model card.
    pub fn card(&self) -> &ModelCard {
        &self.card
    }

    /// The architecture.
    pub fn architecture(&self) -> &Architecture {
        &self.architecture
    }

    /// The parameters and statistics, all `f32`.
    pub fn weights(&self) -> &BTreeMap<String, Tensor> {
        &self.file.tensors
    }

    /// The parameters and statistics, all `f32`.
    pub fn into_weights(self) -> BTreeMap<String, Tensor> {
        self.file.tensors
    }

    /// Writes the file atomically, as [`StateDict::save`] does. A PyTorch file cannot hold the card.
    ///
    /// # Errors
    /// If the extension is unknown, or the file cannot be written.
    pub fn save(&self, path: &Path) -> Result<(), WeightsError> {
        self.file.save(path)
    }

    /// Reads a file that [`save`](Self::save) wrote as safetensors.
    ///
    /// # Errors
    /// If the file cannot be read, is not a checkpoint, or has weights that are not finite.
    pub fn load(path: &Path) -> Result<Self, CheckpointError> {
        let file = StateDict::read(path)?;
        let contents = |error| CheckpointError::Contents {
            path: path.to_owned(),
            error: Box::new(error),
        };
        let card = Self::card_of(&file).map_err(contents)?;
        let card = card.ok_or(CheckpointError::NoCard).map_err(contents)?;
        Self::new(card, file).map_err(contents)
    }

    /// The card in a file of weights, if it has one.
    ///
    /// # Errors
    /// [`CheckpointError::Card`] if it is invalid.
    pub fn card_of(file: &StateDict) -> Result<Option<ModelCard>, CheckpointError> {
        let Some(Value::Text(card)) = file.metadata.get(CARD_KEY) else {
            return Ok(None);
        };
        serde_json::from_str(card)
            .map(Some)
            .map_err(CheckpointError::Card)
    }
}
