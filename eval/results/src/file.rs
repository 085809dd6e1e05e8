use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::ser::Formatter;
use thiserror::Error;
use topk_files::Placeholder;

use crate::check::InvalidResults;
use crate::schema::{FORMAT, Results};

/// The largest file that is read, in bytes.
const MAX_BYTES: u64 = 1 << 34;

/// A result file that cannot be read or written.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum FileError {
    /// Reading failed.
    #[error("cannot read {path}: {error}")]
    Read {
        /// The file.
        path: PathBuf,
        /// The cause.
        error: io::Error,
    },
    /// Writing failed.
    #[error("cannot write {path}: {error}")]
    Write {
        /// The file.
        path: PathBuf,
        /// The cause.
        error: io::Error,
    },
    /// The file is too large.
    #[error("{path} is larger than {} GiB, the limit for result files", MAX_BYTES >> 30)]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
    /// Something else is in the place of the file.
    #[error("{path} is {found}")]
    Placeholder {
        /// The file.
        path: PathBuf,
        /// What it is.
        found: Placeholder,
    },
    /// The file is not a result file.
    #[error("{path} is not a topk-eval result file, or is damaged: {error}")]
    Json {
        /// The file.
        path: PathBuf,
        /// The cause.
        error: serde_json::Error,
    },
    /// The file has a newer version of the format.
    #[error(
        "{path} has format {format}, but this topk-eval reads formats up to {FORMAT}: use a newer \
         topk-eval"
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its format.
        format: u32,
    },
    /// The results contradict themselves.
    #[error("{path}: {error}")]
    Invalid {
        /// The file.
        path: PathBuf,
        /// The contradiction.
        error: InvalidResults,
    },
}

/// What is read before the format is known.
#[derive(Deserialize)]
struct Version {
    format: u32,
}

/// Whether a file begins like a result file, whatever its name; it may still be damaged.
///
/// # Errors
/// If the file cannot be read.
pub fn is_result_file(path: &Path) -> Result<bool, FileError> {
    const BEGINNING: u64 = 4096;
    let read = || -> io::Result<Vec<u8>> {
        let mut beginning = Vec::new();
        File::open(path)?
            .take(BEGINNING)
            .read_to_end(&mut beginning)?;
        Ok(beginning)
    };
    let beginning = read().map_err(|error| FileError::Read {
        path: path.to_owned(),
        error,
    })?;
    let text = String::from_utf8_lossy(&beginning);
    // Measurements of speed are files of their own.
    let is_bench = text.contains("\"kind\": \"bench\"");
    Ok(text.trim_start().starts_with('{') && text.contains("\"topk_eval\"") && !is_bench)
}

/// The metrics of a file, which may lack some that a later `topk-eval` of the same version computes.
#[derive(Deserialize)]
struct Written {
    models: Vec<WrittenModel>,
}

#[derive(Deserialize)]
struct WrittenModel {
    metrics: Value,
}

impl Results {
    /// Reads and checks a result file. Metrics that it lacks are computed, and all of a file that another version of
    /// `topk-eval` wrote.
    ///
    /// # Errors
    /// If the file cannot be read, is not a result file, has a newer format, or contradicts itself.
    pub fn read(path: &Path) -> Result<Self, FileError> {
        let cannot_read = |error| FileError::Read {
            path: path.to_owned(),
            error,
        };
        let not_json = |error| FileError::Json {
            path: path.to_owned(),
            error,
        };
        let bytes = topk_files::read_limited(path, MAX_BYTES).map_err(cannot_read)?;
        let bytes = bytes.ok_or_else(|| FileError::TooLarge {
            path: path.to_owned(),
        })?;
        if let Some(found) = Placeholder::of(&bytes) {
            return Err(FileError::Placeholder {
                path: path.to_owned(),
                found,
            });
        }
        let Version { format } = serde_json::from_slice(&bytes).map_err(not_json)?;
        if format > FORMAT {
            return Err(FileError::Newer {
                path: path.to_owned(),
                format,
            });
        }
        let results: Self = serde_json::from_slice(&bytes).map_err(not_json)?;
        // Another version may compute other metrics from the same outcomes.
        let checked = if results.topk_eval == env!("CARGO_PKG_VERSION") {
            let Written { models } = serde_json::from_slice(&bytes).map_err(not_json)?;
            let written: Vec<Value> = models.into_iter().map(|model| model.metrics).collect();
            results.recompute_missing(&written)
        } else {
            results.recompute()
        };
        checked.map_err(|error| FileError::Invalid {
            path: path.to_owned(),
            error,
        })
    }

    /// Writes a result file atomically.
    ///
    /// # Errors
    /// If the results contradict themselves, or the file cannot be written.
    pub fn save(&self, path: &Path) -> Result<(), FileError> {
        self.check().map_err(|error| FileError::Invalid {
            path: path.to_owned(),
            error,
        })?;
        write(path, self.to_json().as_bytes())
    }

    /// The JSON that [`Results::save`] writes.
    pub fn to_json(&self) -> String {
        to_json(self)
    }
}

/// Writes a file atomically.
pub(crate) fn write(path: &Path, bytes: &[u8]) -> Result<(), FileError> {
    topk_files::write(path, bytes).map_err(|error| FileError::Write {
        path: path.to_owned(),
        error,
    })
}

/// JSON with one line per object member, and arrays on a single line.
pub(crate) fn to_json(value: &impl Serialize) -> String {
    let mut json = Vec::new();
    let mut serializer = serde_json::Serializer::with_formatter(&mut json, Lines::default());
    value
        .serialize(&mut serializer)
        .expect("keys are strings, and writing to memory does not fail");
    json.push(b'\n');
    String::from_utf8(json).expect("JSON is UTF-8")
}

/// A JSON value in which `f32` numbers keep their few digits; `serde_json::to_value` would widen them.
pub(crate) fn to_value(value: &impl Serialize) -> Value {
    serde_json::from_str(&to_json(value)).expect("the JSON was written above")
}

/// Formats objects over several lines, arrays on one.
#[derive(Default)]
struct Lines {
    depth: usize,
}

impl Lines {
    fn line(&self, writer: &mut (impl Write + ?Sized)) -> io::Result<()> {
        write!(writer, "\n{:1$}", "", 2 * self.depth)
    }
}

impl Formatter for Lines {
    fn begin_object<W: Write + ?Sized>(&mut self, writer: &mut W) -> io::Result<()> {
        self.depth += 1;
        writer.write_all(b"{")
    }

    fn end_object<W: Write + ?Sized>(&mut self, writer: &mut W) -> io::Result<()> {
        self.depth -= 1;
        self.line(writer)?;
        writer.write_all(b"}")
    }

    fn begin_object_key<W: Write + ?Sized>(
        &mut self,
        writer: &mut W,
        first: bool,
    ) -> io::Result<()> {
        if !first {
            writer.write_all(b",")?;
        }
        self.line(writer)
    }

    fn begin_object_value<W: Write + ?Sized>(&mut self, writer: &mut W) -> io::Result<()> {
        writer.write_all(b": ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arrays_are_on_one_line() {
        let value = serde_json::json!({ "a": [1, 2.5, null], "b": { "c": [{ "d": "x\n" }] } });
        let expected = "{\n  \"a\": [1,2.5,null],\n  \"b\": {\n    \"c\": [{\n      \"d\": \"x\\n\"\n    }]\n  }\n}\n";
        assert_eq!(to_json(&value), expected);
        let back: Value = serde_json::from_str(expected).unwrap();
        assert_eq!(back, value);
    }
}
