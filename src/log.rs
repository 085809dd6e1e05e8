use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;
use topk_ops::accuracy::Accuracy;

use crate::TrainError;
use crate::config::Config;

/// Name of the log in the folder of a run.
pub(crate) const FILE: &str = "log.jsonl";

/// One line of the log.
#[derive(Debug, Serialize)]
#[serde(tag = "event", rename_all = "lowercase")]
pub(crate) enum Record<'a> {
    Start {
        config: &'a Config,
        /// Device in use, where the configuration may say `auto`.
        device: String,
        classes: usize,
        train_images: usize,
        val_images: usize,
        parameters: usize,
    },
    Epoch(&'a Epoch),
    End {
        seconds: f64,
        checkpoints: Vec<Best>,
    },
}

/// What an epoch gave.
#[derive(Debug, Serialize)]
pub(crate) struct Epoch {
    /// From 1.
    pub(crate) epoch: usize,
    pub(crate) lr: f64,
    /// Mean loss over the training images, while the network changed.
    pub(crate) loss: f64,
    /// Accuracy on the training images and their (noisy) labels, while the network changed.
    pub(crate) train: Accuracy,
    /// Accuracy on the validation images after the epoch.
    pub(crate) val: Accuracy,
    /// Training alone.
    pub(crate) images_per_second: f64,
    pub(crate) seconds: f64,
}

/// A checkpoint that was best on the validation images.
#[derive(Debug, Serialize)]
pub(crate) struct Best {
    /// `best1` or `bestk`.
    pub(crate) name: &'static str,
    pub(crate) epoch: usize,
    pub(crate) k: usize,
    pub(crate) val: Accuracy,
    /// Accuracy on the test images, measured once training was over.
    pub(crate) test: Accuracy,
    pub(crate) checkpoint: PathBuf,
    pub(crate) onnx: PathBuf,
}

/// The log of a run: one JSON object a line.
#[derive(Debug)]
pub(crate) struct Log {
    path: PathBuf,
    file: File,
}

impl Log {
    /// Starts the log of a new run.
    pub(crate) fn create(folder: &Path) -> Result<Self, TrainError> {
        let path = folder.join(FILE);
        match File::create_new(&path) {
            Ok(file) => Ok(Self { path, file }),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                Err(TrainError::OutputExists(folder.to_owned()))
            }
            Err(error) => Err(TrainError::Write { path, error }),
        }
    }

    pub(crate) fn write(&mut self, record: &Record) -> Result<(), TrainError> {
        let mut line = serde_json::to_string(record).expect("records are plain data");
        line.push('\n');
        self.file
            .write_all(line.as_bytes())
            .map_err(|error| TrainError::Write {
                path: self.path.clone(),
                error,
            })
    }
}
