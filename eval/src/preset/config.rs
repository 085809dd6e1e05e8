//! Configuration files in JSON.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use super::error::PresetError;

/// Configurations with all class names of a model have a few hundred kilobytes.
const MAX_BYTES: u64 = 64 << 20;

/// A file with a JSON object.
pub(super) struct ConfigFile {
    path: PathBuf,
    members: Map<String, Value>,
}

/// An object in a file. A value of null counts as missing.
#[derive(Clone, Copy)]
pub(super) struct Section<'f> {
    path: &'f Path,
    members: &'f Map<String, Value>,
}

impl ConfigFile {
    pub(super) fn read(path: &Path) -> Result<Self, PresetError> {
        let path = path.to_owned();
        let bytes = match topk_files::read_limited(&path, MAX_BYTES) {
            Ok(Some(bytes)) => bytes,
            Ok(None) => {
                return Err(PresetError::Large {
                    path,
                    limit: MAX_BYTES,
                });
            }
            Err(error) => return Err(PresetError::Read { path, error }),
        };
        match serde_json::from_slice(&bytes) {
            Ok(Value::Object(members)) => Ok(Self { path, members }),
            Ok(_) => Err(PresetError::NoPreprocessing { path }),
            Err(error) => Err(PresetError::Json { path, error }),
        }
    }

    pub(super) fn root(&self) -> Section<'_> {
        Section {
            path: &self.path,
            members: &self.members,
        }
    }

    /// The object with this key.
    pub(super) fn section(&self, key: &str) -> Option<Section<'_>> {
        let members = self.members.get(key)?.as_object()?;
        Some(Section {
            path: &self.path,
            members,
        })
    }
}

impl<'f> Section<'f> {
    pub(super) fn has(&self, key: &str) -> bool {
        self.get(key).is_some()
    }

    pub(super) fn get(&self, key: &str) -> Option<&'f Value> {
        self.members.get(key).filter(|value| !value.is_null())
    }

    pub(super) fn keys(&self) -> impl Iterator<Item = &'f str> {
        self.members.keys().map(String::as_str)
    }

    /// An error about the value of a key.
    pub(super) fn error(&self, key: &str, reason: impl Into<String>) -> PresetError {
        PresetError::Key {
            path: self.path.to_owned(),
            key: key.to_owned(),
            reason: reason.into(),
        }
    }

    /// An error about a value of another kind than expected.
    pub(super) fn unexpected(&self, key: &str, expected: &str) -> PresetError {
        // In JSON, quotes are escaped where they have to be.
        let found = self.get(key).map_or("missing".to_owned(), |value| {
            topk_files::excerpt(&value.to_string()).replace("\\\"", "\"")
        });
        self.error(key, format!("is {found}, expected {expected}"))
    }

    pub(super) fn text(&self, key: &str) -> Result<Option<&'f str>, PresetError> {
        let Some(value) = self.get(key) else {
            return Ok(None);
        };
        let text = value.as_str();
        text.map(Some).ok_or_else(|| self.unexpected(key, "a text"))
    }

    pub(super) fn flag(&self, key: &str) -> Result<Option<bool>, PresetError> {
        let Some(value) = self.get(key) else {
            return Ok(None);
        };
        let flag = value.as_bool();
        flag.map(Some)
            .ok_or_else(|| self.unexpected(key, "true or false"))
    }

    /// A number above 0.
    pub(super) fn positive(&self, key: &str) -> Result<Option<f64>, PresetError> {
        let Some(value) = self.get(key) else {
            return Ok(None);
        };
        let number = value.as_f64().filter(|number| *number > 0.0);
        number
            .map(Some)
            .ok_or_else(|| self.unexpected(key, "a number above 0"))
    }

    /// One number for each of red, green and blue, or one for all.
    pub(super) fn channels(&self, key: &str) -> Result<Option<[f64; 3]>, PresetError> {
        let Some(value) = self.get(key) else {
            return Ok(None);
        };
        let list: Option<Vec<f64>> = match value {
            Value::Array(values) => values.iter().map(Value::as_f64).collect(),
            value => value.as_f64().map(|number| vec![number]),
        };
        let channels = match list.as_deref() {
            Some(&[number]) => Some([number; 3]),
            Some(&[red, green, blue]) => Some([red, green, blue]),
            _ => None,
        };
        channels
            .map(Some)
            .ok_or_else(|| self.unexpected(key, "three numbers"))
    }
}

/// A side in pixels.
pub(super) fn side(value: &Value) -> Option<u32> {
    let side = value.as_u64().and_then(|side| u32::try_from(side).ok());
    side.filter(|&side| side > 0)
}
