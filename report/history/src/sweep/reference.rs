//! Published numbers to compare with.

use std::io;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::Value;
use thiserror::Error;

use super::Level;

/// The largest file that is read.
const MAX_BYTES: u64 = 1 << 20;

/// A table of published accuracies.
///
/// As JSON:
///
/// ```json
/// {
///   "name": "paper",
///   "values": [
///     { "row": 0.2, "column": ["ce"], "topk": 87.9 },
///     { "row": 0.2, "column": ["svm"], "topk": 90.6 }
///   ]
/// }
/// ```
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reference {
    /// What the numbers are called beside those of the runs, such as `paper`.
    pub name: String,
    /// The numbers.
    pub values: Vec<ReferenceValue>,
}

/// A published accuracy.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReferenceValue {
    /// The value of [`Axes::row`](super::Axes::row) that it is for.
    pub row: Value,
    /// The values of [`Axes::columns`](super::Axes::columns) that it is for.
    pub column: Vec<Value>,
    /// Top-1 accuracy in percent, as papers print it.
    pub top1: Option<f64>,
    /// Top-k accuracy in percent.
    pub topk: Option<f64>,
}

/// Why published numbers cannot be read.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ReferenceError {
    /// The file cannot be read.
    #[error("cannot read {}: {error}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        error: io::Error,
    },
    /// The file is too large.
    #[error("{} has more than the {} MiB that a table of published accuracies may have", path.display(), MAX_BYTES >> 20)]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
    /// It is not a table of the format.
    #[error("{} is not a table of published accuracies: {error}", path.display())]
    Json {
        /// The file.
        path: PathBuf,
        /// What was found instead.
        error: serde_json::Error,
    },
    /// An accuracy is none.
    #[error("{} has the accuracy {value}: it must be a percentage from 0 to 100", path.display())]
    Accuracy {
        /// The file.
        path: PathBuf,
        /// What was found.
        value: f64,
    },
}

impl Reference {
    /// Reads a file of JSON.
    ///
    /// # Errors
    /// If it cannot be read, is not of the format, or has an accuracy that is no percentage.
    pub fn read(path: &Path) -> Result<Self, ReferenceError> {
        let owned = || path.to_owned();
        let cannot_read = |error| ReferenceError::Read {
            path: owned(),
            error,
        };
        let bytes = topk_files::read_limited(path, MAX_BYTES).map_err(cannot_read)?;
        let bytes = bytes.ok_or_else(|| ReferenceError::TooLarge { path: owned() })?;
        let reference: Self = serde_json::from_slice(&bytes).map_err(|error| {
            let path = owned();
            ReferenceError::Json { path, error }
        })?;
        let mut values = reference
            .values
            .iter()
            .flat_map(|value| [value.top1, value.topk])
            .flatten();
        match values.find(|value| !(0.0..=100.0).contains(value)) {
            Some(value) => Err(ReferenceError::Accuracy {
                path: owned(),
                value,
            }),
            None => Ok(reference),
        }
    }

    /// The numbers for a cell.
    pub(super) fn of(&self, row: &Level, column: &[Level]) -> Option<&ReferenceValue> {
        self.values.iter().find(|value| value.is_for(row, column))
    }
}

impl ReferenceValue {
    pub(super) fn is_for(&self, row: &Level, column: &[Level]) -> bool {
        Level::of(&self.row) == *row && self.column.iter().map(Level::of).eq(column.iter().cloned())
    }
}
