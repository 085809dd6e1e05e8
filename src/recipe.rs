//! Files of settings.

use std::fs;
use std::path::{Path, PathBuf};

use thiserror::Error;
use toml::{Table, Value};

use crate::config::ConfigError;
use crate::layers::{Setting, Settings, Source, admitted};

/// A recipe or plan cannot be used.
#[derive(Debug, Error)]
#[non_exhaustive]
pub(crate) enum RecipeError {
    /// The file cannot be read.
    #[error("cannot read {}: {error}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's error.
        error: std::io::Error,
    },
    /// The file is not valid TOML.
    #[error("cannot parse {}: {error}", path.display())]
    Toml {
        /// The file.
        path: PathBuf,
        /// The parser's error.
        error: toml::de::Error,
    },
    /// A key is not the name of a setting.
    #[error(
        "{place}: unknown setting `{key}`. The keys are the flags of topk-train without dashes in front, such as lr"
    )]
    Key {
        /// The file.
        place: String,
        /// The key.
        key: String,
    },
    /// A key is a flag that is not a setting.
    #[error(
        "{place}: `{key}` is not a setting of a run: remove it, and give --{key} on the command line"
    )]
    CommandLineOnly {
        /// The file.
        place: String,
        /// The key.
        key: String,
    },
    /// A value has the wrong type.
    #[error(
        "{place}: `{key}` has type {found}, expected a string, a number, true, false, or an array of these"
    )]
    Value {
        /// The file.
        place: String,
        /// The key.
        key: String,
        /// Its TOML type.
        found: &'static str,
    },
    /// A value is invalid, or settings cannot be used together.
    #[error("{place}: {message}")]
    Setting {
        /// The file.
        place: String,
        /// What is wrong.
        message: String,
    },
    /// Settings contradict each other.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// Settings cannot be combined.
    #[error("{0}")]
    Flags(String),
}

/// Reads a TOML file.
///
/// # Errors
/// If the file cannot be read or parsed.
pub(crate) fn read(path: &Path) -> Result<Table, RecipeError> {
    let text = fs::read_to_string(path).map_err(|error| RecipeError::Read {
        path: path.to_owned(),
        error,
    })?;
    text.parse().map_err(|error| RecipeError::Toml {
        path: path.to_owned(),
        error,
    })
}

/// Flags that are not settings of a run.
const COMMAND_LINE_ONLY: [&str; 7] = [
    "out",
    "recipe",
    "resume-from",
    "dry-run",
    "list-models",
    "help",
    "version",
];

/// The settings of a table in a file; `place` is the file, or a part of it.
///
/// # Errors
/// If a key is not a setting, or a value has the wrong type.
pub(crate) fn settings(place: &str, table: Table) -> Result<Vec<Setting>, RecipeError> {
    let command = Settings::command();
    let setting = |(key, value): (String, Value)| {
        let place = place.to_owned();
        let mut known = command.get_arguments();
        if !known.any(|argument| argument.get_long() == Some(&key)) {
            return Err(match COMMAND_LINE_ONLY.contains(&&*key) {
                true => RecipeError::CommandLineOnly { place, key },
                false => RecipeError::Key { place, key },
            });
        }
        match text_of(&value) {
            Some(text) => match admitted(&key, text.into()) {
                Ok(value) => Ok(Setting {
                    key,
                    value,
                    source: Source::File(place),
                }),
                Err(error) => Err(RecipeError::Setting {
                    place,
                    message: format!("{key}: {error}"),
                }),
            },
            None => Err(RecipeError::Value {
                place,
                key,
                found: value.type_str(),
            }),
        }
    };
    table.into_iter().map(setting).collect()
}

fn text_of(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Integer(number) => Some(number.to_string()),
        Value::Float(number) => Some(number.to_string()),
        Value::Boolean(flag) => Some(flag.to_string()),
        Value::Array(values) => {
            let texts: Option<Vec<String>> = values.iter().map(text_of).collect();
            Some(texts?.join(","))
        }
        Value::Datetime(_) | Value::Table(_) => None,
    }
}
