use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use clap::Command;
use thiserror::Error;
use toml::{Table, Value};

/// Why a recipe cannot be used.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum RecipeError {
    /// The file cannot be read.
    #[error("cannot read the recipe {}: {error}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        error: std::io::Error,
    },
    /// It is not written as recipes are.
    #[error("the recipe {}: {error}", path.display())]
    Toml {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        error: toml::de::Error,
    },
    /// It has a key that is no setting.
    #[error("the recipe {} has `{key}`, which is no setting: keys are those of --help, such as lr", path.display())]
    Key {
        /// The file.
        path: PathBuf,
        /// The key.
        key: String,
    },
    /// A setting has a value that none has.
    #[error("the recipe {}: `{key}` is {found}, expected a text, a number, true, false, or a list of these", path.display())]
    Value {
        /// The file.
        path: PathBuf,
        /// The key.
        key: String,
        /// What it is.
        found: &'static str,
    },
}

/// Reads a TOML file.
///
/// # Errors
/// If it cannot be read, or is none.
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

/// The flags that the settings of a recipe stand for: those of the command are the keys.
///
/// # Errors
/// If there is something else in it.
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
        Value::Boolean(is) => Some(is.to_string()),
        Value::Array(values) => {
            let texts: Option<Vec<String>> = values.iter().map(text_of).collect();
            Some(texts?.join(","))
        }
        Value::Datetime(_) | Value::Table(_) => None,
    }
}
