use std::io;
use std::path::PathBuf;

use thiserror::Error;
use topk_preprocessing::Preset;

/// A preset that does not exist or cannot be reproduced.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum PresetError {
    /// Neither a preset nor a file has this name.
    #[error(
        "unknown preset `{name}`: expected {}, weights of torchvision such as ResNet50_Weights.IMAGENET1K_V2, or a \
         file (timm's config.json, or a preprocessor_config.json of Hugging Face)",
        Preset::names().join(", ")
    )]
    Unknown {
        /// The requested name.
        name: String,
    },
    /// The file cannot be read.
    #[error("cannot read {}: {error}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The cause.
        error: io::Error,
    },
    /// The file is too large for a configuration.
    #[error("{} is larger than {limit} bytes, the limit for configuration files", path.display())]
    Large {
        /// The file.
        path: PathBuf,
        /// The limit.
        limit: u64,
    },
    /// The file is not JSON.
    #[error("{} is not valid JSON: {error}", path.display())]
    Json {
        /// The file.
        path: PathBuf,
        /// The cause.
        error: serde_json::Error,
    },
    /// The file is something else.
    #[error(
        "{} has no preprocessing: expected timm's config.json with `pretrained_cfg`, or a preprocessor_config.json of \
         Hugging Face",
        path.display()
    )]
    NoPreprocessing {
        /// The file.
        path: PathBuf,
    },
    /// A setting is invalid, or cannot be reproduced.
    #[error("{}: `{key}` {reason}", path.display())]
    Key {
        /// The file.
        path: PathBuf,
        /// The key of the setting.
        key: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A file that was found beside a model cannot be used.
    #[error("{reason}; it is beside the model: to ignore it, pass --preset, or --mean and --std")]
    Beside {
        /// The cause, with the name of the file.
        reason: String,
    },
    /// Two files beside a model differ.
    #[error(
        "{} and {} prescribe different preprocessing: choose one with --preset",
        first.display(), second.display()
    )]
    Ambiguous {
        /// One file.
        first: PathBuf,
        /// The other.
        second: PathBuf,
    },
}
