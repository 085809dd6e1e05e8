use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::ser::Formatter;
use thiserror::Error;

use crate::check::InvalidResults;
use crate::results::{FORMAT, Results};

/// The largest file that is read.
const MAX_BYTES: u64 = 1 << 30;

/// Why a result file cannot be read or written.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum FileError {
    /// It cannot be read.
    #[error("cannot read {path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It cannot be written.
    #[error("cannot write {path}: {source}")]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is too large.
    #[error("{path} has more than {} MiB, the most that a result file may have", MAX_BYTES >> 20)]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
    /// It is not a result file.
    #[error("{path} is not a result file of topk-eval, or is damaged: {source}")]
    Json {
        /// The file.
        path: PathBuf,
        /// What was found instead.
        source: serde_json::Error,
    },
    /// It is of a newer version of the format.
    #[error(
        "{path} has format {format}, this topk-eval reads up to {FORMAT}: read it with the \
         topk-eval that wrote it, or a newer one"
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its format.
        format: u32,
    },
    /// Its parts contradict each other.
    #[error("{path}: {source}")]
    Invalid {
        /// The file.
        path: PathBuf,
        /// The contradiction.
        source: InvalidResults,
    },
}

/// All that is looked at before the format is known.
#[derive(Deserialize)]
struct Version {
    format: u32,
}

impl Results {
    /// Reads a result file, and checks it.
    ///
    /// # Errors
    /// If the file cannot be read, is none, is of a newer format, or contradicts itself.
    pub fn read(path: &Path) -> Result<Self, FileError> {
        let cannot_read = |source| FileError::Read {
            path: path.to_owned(),
            source,
        };
        let not_json = |source| FileError::Json {
            path: path.to_owned(),
            source,
        };
        let bytes = topk_files::read_limited(path, MAX_BYTES).map_err(cannot_read)?;
        let bytes = bytes.ok_or_else(|| FileError::TooLarge {
            path: path.to_owned(),
        })?;
        let Version { format } = serde_json::from_slice(&bytes).map_err(not_json)?;
        if format > FORMAT {
            return Err(FileError::Newer {
                path: path.to_owned(),
                format,
            });
        }
        let results: Self = serde_json::from_slice(&bytes).map_err(not_json)?;
        results.check().map_err(|source| FileError::Invalid {
            path: path.to_owned(),
            source,
        })?;
        Ok(results)
    }

    /// Writes a result file, whole or not at all.
    ///
    /// # Errors
    /// If the results contradict themselves, or the file cannot be written.
    pub fn save(&self, path: &Path) -> Result<(), FileError> {
        self.check().map_err(|source| FileError::Invalid {
            path: path.to_owned(),
            source,
        })?;
        write(path, self.to_json().as_bytes())
    }

    /// What [`Results::save`] writes.
    pub fn to_json(&self) -> String {
        to_json(self)
    }
}

/// Writes a file, whole or not at all.
pub(crate) fn write(path: &Path, bytes: &[u8]) -> Result<(), FileError> {
    topk_files::write(path, bytes).map_err(|source| FileError::Write {
        path: path.to_owned(),
        source,
    })
}

/// JSON with a line for each member of an object, and each array in one.
pub(crate) fn to_json(value: &impl Serialize) -> String {
    let mut json = Vec::new();
    let mut serializer = serde_json::Serializer::with_formatter(&mut json, Lines::default());
    value
        .serialize(&mut serializer)
        .expect("values have names and are written to memory");
    json.push(b'\n');
    String::from_utf8(json).expect("JSON is UTF-8")
}

/// As a value in which `f32` numbers keep their few digits, which `serde_json::to_value` widens.
pub(crate) fn to_value(value: &impl Serialize) -> Value {
    serde_json::from_str(&to_json(value)).expect("it was just written")
}

/// Objects over several lines, arrays in one.
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
    fn arrays_stand_in_one_line() {
        let value = serde_json::json!({ "a": [1, 2.5, null], "b": { "c": [{ "d": "x\n" }] } });
        let expected = "{\n  \"a\": [1,2.5,null],\n  \"b\": {\n    \"c\": [{\n      \"d\": \"x\\n\"\n    }]\n  }\n}\n";
        assert_eq!(to_json(&value), expected);
        let back: Value = serde_json::from_str(expected).unwrap();
        assert_eq!(back, value);
    }
}
