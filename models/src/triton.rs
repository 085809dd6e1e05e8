use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;
use topk_onnx::proto::ModelProto;
use topk_onnx::{TritonError, triton_config};

use crate::export::{LOGITS, write_model};

/// Name of the file of class names.
const LABELS_FILE: &str = "labels.txt";

/// Why a model cannot be put into a model repository of Triton Inference Server.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum TritonRepositoryError {
    /// Triton cannot serve it.
    #[error(transparent)]
    Triton(#[from] TritonError),
    /// Something is there already.
    #[error("{} exists already: remove it, or name another folder", .0.display())]
    Exists(PathBuf),
    /// The folder has no name, which is the model's.
    #[error("{} does not end in a name for the model", .0.display())]
    NoName(PathBuf),
    /// The folder cannot be written.
    #[error("cannot write {}: {error}", path.display())]
    Write {
        /// The folder.
        path: PathBuf,
        /// What the system says.
        error: io::Error,
    },
}

/// Writes a model as a new folder of a model repository of Triton Inference Server, named after the
/// folder: `config.pbtxt`, `labels.txt` with the names of the classes, and `1/model.onnx`.
///
/// # Errors
/// If the folder exists, or cannot be written; nothing is left behind then.
pub fn write_triton(
    model: &ModelProto,
    class_names: &[String],
    max_batch_size: u32,
    folder: &Path,
) -> Result<(), TritonRepositoryError> {
    if folder.exists() {
        return Err(TritonRepositoryError::Exists(folder.to_owned()));
    }
    let name = folder.file_name().and_then(|name| name.to_str());
    let name = name.ok_or_else(|| TritonRepositoryError::NoName(folder.to_owned()))?;
    let graph = model.graph.clone().unwrap_or_default();
    let labels = Some((LOGITS, LABELS_FILE));
    let config = triton_config(&graph, name, max_batch_size, labels)?;

    let partial = folder.with_file_name(format!("{name}.partial"));
    let write = || {
        fs::create_dir_all(partial.join("1"))?;
        write_model(model, &partial.join("1/model.onnx"))?;
        fs::write(partial.join("config.pbtxt"), config)?;
        fs::write(partial.join(LABELS_FILE), class_names.join("\n") + "\n")?;
        fs::rename(&partial, folder)
    };
    write().map_err(|error| {
        // It may not be there at all.
        let _ = fs::remove_dir_all(&partial);
        let path = folder.to_owned();
        TritonRepositoryError::Write { path, error }
    })
}
