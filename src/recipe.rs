use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use clap::Command;
use thiserror::Error;
use toml::{Table, Value};

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
        "{}: unknown setting `{key}`. The keys are the flags of topk-train without dashes in front, such as lr",
        path.display()
    )]
    Key {
        /// The file.
        path: PathBuf,
        /// The key.
        key: String,
    },
    /// A value has the wrong type.
    #[error(
        "{}: `{key}` has type {found}, expected a string, a number, true, false, or an array of these",
        path.display()
    )]
    Value {
        /// The file.
        path: PathBuf,
        /// The key.
        key: String,
        /// Its TOML type.
        found: &'static str,
    },
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

/// Converts the settings of a recipe to flags `--key=value` of the command.
///
/// # Errors
/// If a key is not a flag of the command, or a value has the wrong type.
pub(crate) fn flags(
    path: &Path,
    settings: Table,
    command: &Command,
) -> Result<Vec<OsString>, RecipeError> {
    let mut flags = Vec::new();
    for (key, value) in settings {
        let known = command
            .get_arguments()
            .any(|argument| argument.get_long() == Some(&key) && argument.get_id() != "recipe");
        if !known {
            let path = path.to_owned();
            return Err(RecipeError::Key { path, key });
        }
        let text = text_of(&value).ok_or_else(|| RecipeError::Value {
            path: path.to_owned(),
            key: key.clone(),
            found: value.type_str(),
        })?;
        flags.push(format!("--{key}={text}").into());
    }
    Ok(flags)
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
