use std::fs;
use std::path::{Path, PathBuf};

use thiserror::Error;
use topk_models::{CLASSES, Checkpoint, LOGITS, Outputs, TritonError, triton_config};

use crate::draft::Draft;
use crate::export::{Export, ExportError, ExportOptions};
use crate::verification::Verification;

/// Name of the file of class names.
const LABELS_FILE: &str = "labels.txt";

/// Why a model cannot be added to a model repository of Triton Inference Server.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum TritonRepositoryError {
    /// Triton cannot serve the model.
    #[error(transparent)]
    Triton(#[from] TritonError),
    /// The folder exists.
    #[error("{} already exists: remove it, or choose another folder", .0.display())]
    Exists(PathBuf),
    /// The path has no final component, which would be the model's name.
    #[error("{} does not end in a name for the model", .0.display())]
    NoName(PathBuf),
    /// The model cannot be exported.
    #[error(transparent)]
    Export(#[from] ExportError),
}

/// Writes the ONNX model of a checkpoint as a new folder of a model repository of Triton Inference Server.
/// The model is named after the folder, which gets `config.pbtxt`, `1/model.onnx` and, if the names of the
/// classes are known, `labels.txt`. Triton itself reads this file for the output with an entry for each class; for the k
/// best classes it is for clients, as a comment in the configuration says. Verifies the model as
/// [`export`](crate::export()) does.
///
/// # Errors
/// If the folder exists or cannot be written, or the model cannot be exported; nothing is left behind.
pub fn export_triton(
    checkpoint: Checkpoint,
    options: &ExportOptions,
    max_batch_size: u32,
    folder: &Path,
) -> Result<Option<Verification>, TritonRepositoryError> {
    if folder.exists() {
        return Err(TritonRepositoryError::Exists(folder.to_owned()));
    }
    let name = folder.file_name().and_then(|name| name.to_str());
    let name = name.ok_or_else(|| TritonRepositoryError::NoName(folder.to_owned()))?;
    let class_names = checkpoint.card().class_names.clone();
    let export = Export::new(checkpoint, options)?;
    let graph = export.model.graph.as_ref();
    let graph = graph.expect("an exported model has a graph");
    let labels = class_names.as_ref().map(|_| (LOGITS, LABELS_FILE));
    let mut config = triton_config(graph, name, max_batch_size, labels)?;
    if let (Some(_), Outputs::TopK(_)) = (&class_names, options.model.outputs) {
        // As `label_filename`, it would name the ranks.
        config += &format!(
            "# {LABELS_FILE} is for clients: line i, counted from 0, is the name of class i in the output \"{CLASSES}\".\n"
        );
    }

    let draft = Draft::beside(folder)?;
    let repository = draft.folder().join(name);
    let version = repository.join("1");
    let write = || {
        fs::create_dir_all(&version)?;
        fs::write(repository.join("config.pbtxt"), config)?;
        match class_names {
            Some(names) => fs::write(repository.join(LABELS_FILE), names.join("\n") + "\n"),
            None => Ok(()),
        }
    };
    write().map_err(|error| draft.error(error))?;
    let verification = export.write(&draft, &version.join("model.onnx"))?;
    fs::rename(repository, folder).map_err(|error| draft.error(error))?;
    Ok(verification)
}
