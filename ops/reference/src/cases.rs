use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use thiserror::Error;

/// One sample, with the exact loss and gradient.
#[derive(Clone, Debug, Deserialize)]
pub struct Case {
    /// Name of the case.
    pub name: String,
    /// The k of the loss.
    pub k: usize,
    /// Temperature.
    pub tau: f64,
    /// Margin.
    pub alpha: f64,
    /// The label.
    pub y: i64,
    /// The scores, each of them an `f32`.
    pub scores: Vec<f64>,
    /// The loss.
    pub loss: f64,
    /// Its derivatives with respect to the scores.
    pub grad: Vec<f64>,
}

/// A file of cases cannot be read.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ReadError {
    /// The file cannot be read.
    #[error("cannot read {}: {error}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's error.
        error: io::Error,
    },
    /// A line is not a case.
    #[error("{}:{line}: not a test case: {error}", path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// Line number, from 1.
        line: usize,
        /// The parser's error.
        error: serde_json::Error,
    },
    /// The file is empty.
    #[error("{} contains no test cases", .0.display())]
    Empty(PathBuf),
}

/// Reads a file with one JSON object per line, each with the fields of a [`Case`]; other fields are
/// ignored.
///
/// # Errors
/// If the file cannot be read, is empty, or a line is not a case.
pub fn read_cases(path: &Path) -> Result<Vec<Case>, ReadError> {
    let text = fs::read_to_string(path).map_err(|error| ReadError::Io {
        path: path.to_owned(),
        error,
    })?;
    let cases = text
        .lines()
        .zip(1..)
        .map(|(text, line)| {
            serde_json::from_str(text).map_err(|error| ReadError::Line {
                path: path.to_owned(),
                line,
                error,
            })
        })
        .collect::<Result<Vec<Case>, _>>()?;
    if cases.is_empty() {
        return Err(ReadError::Empty(path.to_owned()));
    }
    Ok(cases)
}
