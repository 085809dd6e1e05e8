//! Reference accuracies to show beside those of a sweep, such as published ones.

use std::io;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::Value;
use thiserror::Error;

use super::AxisValue;

/// Maximum size of a file, in bytes.
const MAX_BYTES: u64 = 1 << 20;

/// A table of reference accuracies.
///
/// As JSON:
///
/// ```json
/// {
///   "name": "made-up",
///   "note": "These numbers only show the format.",
///   "values": [
///     { "row": 0.2, "column": ["ce"], "topk": 70 },
///     { "row": 0.2, "column": ["svm"], "top1": 40, "topk": 71 }
///   ]
/// }
/// ```
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reference {
    /// Name shown beside the numbers, such as `paper`.
    pub name: String,
    /// Source or other remark, shown among the notes.
    pub note: Option<String>,
    /// The accuracies.
    pub values: Vec<ReferenceValue>,
}

/// A reference accuracy.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReferenceValue {
    /// Value of the setting [`Axes::row`](super::Axes::row).
    pub row: Value,
    /// Values of the settings [`Axes::columns`](super::Axes::columns).
    pub column: Vec<Value>,
    /// Top-1 accuracy in percent.
    pub top1: Option<f64>,
    /// Top-k accuracy in percent.
    pub topk: Option<f64>,
}

/// A file of reference accuracies cannot be read.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ReferenceError {
    /// The file cannot be read.
    #[error("cannot read {}: {error}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's error.
        error: io::Error,
    },
    /// The file is too large.
    #[error("{} is larger than {} MiB, the maximum for reference accuracies", path.display(), MAX_BYTES >> 20)]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
    /// The contents are invalid.
    #[error("{} is not a file of reference accuracies: {error}", path.display())]
    Json {
        /// The file.
        path: PathBuf,
        /// The parser's error.
        error: serde_json::Error,
    },
    /// A value is not a percentage.
    #[error("{} has the accuracy {value}; expected a percentage from 0 to 100", path.display())]
    Accuracy {
        /// The file.
        path: PathBuf,
        /// The value.
        value: f64,
    },
}

impl Reference {
    /// Reads a JSON file.
    ///
    /// # Errors
    /// If the file cannot be read or parsed, or an accuracy is not a percentage.
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

    /// The accuracies for a cell.
    pub(super) fn of(&self, row: &AxisValue, column: &[AxisValue]) -> Option<&ReferenceValue> {
        self.values.iter().find(|value| value.is_for(row, column))
    }
}

impl ReferenceValue {
    pub(super) fn is_for(&self, row: &AxisValue, column: &[AxisValue]) -> bool {
        AxisValue::of(&self.row) == *row
            && self
                .column
                .iter()
                .map(AxisValue::of)
                .eq(column.iter().cloned())
    }
}
