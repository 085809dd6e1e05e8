//! A model's files: the file itself, and those beside it with weights.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Component, Path, PathBuf};

use topk_files::{Hasher, Placeholder};
use topk_onnx::proto::ModelProto;
use topk_onnx::{external_files, read_without_weights};

use crate::model_error::ModelError;

/// What the files of a model are, before ONNX Runtime loads them.
pub(crate) struct ModelFile {
    /// Of a model in one file, the SHA-256 of that file. Otherwise the SHA-256 of the SHA-256s of all files in
    /// hexadecimal, one per line: first that of the model, then those of the other files in the order of their
    /// names.
    pub(crate) sha256: String,
    /// Size of all files in bytes.
    pub(crate) bytes: u64,
    /// Files with weights beside it, relative to its folder, in the order of their names.
    pub(crate) external_data: Vec<String>,
    /// The model without its weights; none if the file is not in ONNX's format.
    pub(crate) graph: Option<ModelProto>,
}

impl ModelFile {
    /// Examines the files of a model.
    ///
    /// # Errors
    /// If a file is missing, cannot be read, or is obviously not what it should be.
    pub(crate) fn open(path: &Path) -> Result<Self, ModelError> {
        let read = |error| ModelError::Read {
            path: path.to_owned(),
            error,
        };
        if let Some(found) = placeholder(path).map_err(read)? {
            return Err(ModelError::Placeholder {
                path: path.to_owned(),
                found,
            });
        }
        // ONNX Runtime also reads its own format. It reports what is wrong with other files.
        let graph = read_without_weights(path).ok();
        let (mut sha256, mut bytes) = topk_files::sha256(path).map_err(read)?;
        let external_data = match &graph {
            Some(graph) => external_data(path, graph)?,
            None => Vec::new(),
        };
        if !external_data.is_empty() {
            let mut all = Hasher::default();
            all.update(format!("{sha256}\n"));
            for (location, file) in &external_data {
                let (hash, size) =
                    topk_files::sha256(file).map_err(|error| unreadable(path, location, &error))?;
                all.update(format!("{hash}\n"));
                bytes += size;
            }
            sha256 = all.finish();
        }
        Ok(Self {
            sha256,
            bytes,
            external_data: external_data.into_iter().map(|(name, _)| name).collect(),
            graph,
        })
    }
}

/// What a file is instead of a model or weights, if that shows in its first bytes.
fn placeholder(path: &Path) -> io::Result<Option<Placeholder>> {
    let mut first = Vec::new();
    File::open(path)?
        .take(Placeholder::FIRST_BYTES as u64)
        .read_to_end(&mut first)?;
    Ok(Placeholder::of(&first))
}

/// The files beside a model, by name.
fn external_data(path: &Path, graph: &ModelProto) -> Result<Vec<(String, PathBuf)>, ModelError> {
    let folder = path.parent().unwrap_or(Path::new(""));
    let mut files: Vec<(String, PathBuf)> = Vec::new();
    for file in external_files(graph) {
        let wrong = |reason: String| ModelError::ExternalData {
            path: path.to_owned(),
            location: file.location.clone(),
            reason,
        };
        let Some(name) = inside(&file.location) else {
            return Err(wrong(
                "is outside the model's folder: store the weights in a file beside the model"
                    .to_owned(),
            ));
        };
        let found = folder.join(&name);
        let metadata = found.metadata();
        let size = metadata.map_err(|error| unreadable(path, &file.location, &error))?;
        if !size.is_file() {
            return Err(wrong("is not a file".to_owned()));
        }
        let size = size.len();
        let first = placeholder(&found);
        let first = first.map_err(|error| unreadable(path, &file.location, &error))?;
        // Weights may well be zeros.
        if let Some(found) = first.filter(|&found| found != Placeholder::Zeros) {
            return Err(wrong(format!("is {found}")));
        }
        if size < file.size {
            return Err(wrong(format!(
                "has {size} bytes, but the model reads {}: it is truncated, or belongs to another model",
                file.size
            )));
        }
        if !files.iter().any(|(other, _)| *other == name) {
            files.push((name, found));
        }
    }
    files.sort();
    Ok(files)
}

fn unreadable(path: &Path, location: &str, error: &io::Error) -> ModelError {
    let reason = match error.kind() {
        io::ErrorKind::NotFound => {
            "is missing: copy it into the model's folder under this name".to_owned()
        }
        _ => format!("cannot be read: {error}"),
    };
    ModelError::ExternalData {
        path: path.to_owned(),
        location: location.to_owned(),
        reason,
    }
}

/// The location without `.`; `None` if it leaves the folder.
fn inside(location: &str) -> Option<String> {
    let mut parts = Vec::new();
    for part in Path::new(location).components() {
        match part {
            Component::Normal(name) => parts.push(name.to_str()?),
            Component::CurDir => {}
            Component::ParentDir | Component::RootDir | Component::Prefix(_) => return None,
        }
    }
    (!parts.is_empty()).then(|| parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn locations_are_inside_the_folder() {
        for (location, expected) in [
            ("w.data", Some("w.data")),
            ("./w.data", Some("w.data")),
            ("weights//a.bin", Some("weights/a.bin")),
            ("../w.data", None),
            ("weights/../../w.data", None),
            ("/etc/passwd", None),
            ("", None),
            (".", None),
        ] {
            assert_eq!(inside(location).as_deref(), expected, "{location}");
        }
    }
}
