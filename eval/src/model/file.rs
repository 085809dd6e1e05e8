//! A model's files: the file itself, and those beside it with weights.

use std::io;
use std::path::{Component, Path, PathBuf};

use topk_files::{Hasher, Placeholder};
use topk_onnx::proto::ModelProto;
use topk_onnx::{external_files, read_without_weights};

use super::ModelError;

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
    /// Whether the file is in ONNX Runtime's own format.
    pub(crate) is_ort: bool,
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
        let first = Placeholder::first_bytes(path).map_err(read)?;
        if let Some(found) = Placeholder::of(&first) {
            return Err(ModelError::Placeholder {
                path: path.to_owned(),
                found,
            });
        }
        if let Some(found) = other_format(&first) {
            return Err(ModelError::Load {
                path: path.to_owned(),
                reason: format!(
                    "it is {found}: export the model to ONNX, a checkpoint of PyTorch for example with \
                     `topk-export model`"
                ),
            });
        }
        let is_ort = first.get(4..8) == Some(b"ORTM");
        // ONNX Runtime reports what is wrong with a file that is in neither format.
        let graph = read_without_weights(path).ok().filter(|_| !is_ort);
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
            is_ort,
        })
    }
}

/// The format of a model that is not in ONNX's.
fn other_format(first: &[u8]) -> Option<&'static str> {
    if first.starts_with(b"PK\x03\x04") {
        Some("a zip archive, such as a checkpoint of PyTorch or a model of Keras")
    } else if first.starts_with(b"\x89HDF\r\n") {
        Some("an HDF5 file, such as a model of Keras")
    } else if first.get(4..8) == Some(b"TFL3") {
        Some("a model of TensorFlow Lite")
    } else if first.starts_with(b"\x80\x02") {
        Some("a Python pickle, such as an old checkpoint of PyTorch")
    } else {
        None
    }
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
        let first = Placeholder::first_bytes(&found);
        let first = first.map_err(|error| unreadable(path, &file.location, &error))?;
        // Weights may well be zeros.
        let instead = Placeholder::of(&first).filter(|&found| found != Placeholder::Zeros);
        if let Some(found) = instead {
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
pub(crate) fn inside(location: &str) -> Option<String> {
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
    use std::fs;

    use prost::Message;
    use topk_onnx::model;
    use topk_onnx::proto::{
        DataLocation, DataType, GraphProto, StringStringEntryProto, TensorProto,
    };

    use super::*;

    #[test]
    fn all_files_count() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, bytes: &[u8]| {
            let path = folder.path().join(name);
            fs::write(&path, bytes).unwrap();
            path
        };
        let tensor = |location: &str| TensorProto {
            external_data: vec![StringStringEntryProto {
                key: "location".to_owned(),
                value: location.to_owned(),
            }],
            data_location: DataLocation::External.into(),
            ..TensorProto::new("w", DataType::Float, &[1], vec![])
        };
        let of = |locations: &[&str]| {
            let graph = GraphProto {
                initializer: locations.iter().map(|name| tensor(name)).collect(),
                ..GraphProto::default()
            };
            let bytes = model(graph, "", []).encode_to_vec();
            let file = ModelFile::open(&write("m.onnx", &bytes)).unwrap();
            (
                file.bytes - bytes.len() as u64,
                file.sha256,
                file.external_data,
            )
        };
        write("a", &[1; 100]);
        write("b", &[2; 1000]);
        let (bytes, none, _) = of(&[]);
        let alone = topk_files::sha256(&folder.path().join("m.onnx")).unwrap();
        assert_eq!((bytes, &none), (0, &alone.0));
        // The same file under two names is one file.
        let (bytes, both, names) = of(&["b", "a", "./a", "b"]);
        assert_eq!(
            (bytes, &names[..]),
            (1100, &["a".to_owned(), "b".to_owned()][..])
        );
        write("a", &[3; 100]);
        assert_ne!(of(&["b", "a", "./a", "b"]).1, both);
    }

    #[test]
    fn other_formats_are_named() {
        for (first, expected) in [
            (&b"PK\x03\x04\0\0"[..], Some("a zip archive")),
            (b"\x89HDF\r\n\x1a\n", Some("an HDF5 file")),
            (b"\x20\0\0\0TFL3", Some("a model of TensorFlow Lite")),
            (b"\x80\x02}q\0", Some("a Python pickle")),
            (b"\x08\x08\x12\x07pytorch", None),
            (b"\x20\0\0\0ORTM", None),
            (b"", None),
        ] {
            let found = other_format(first).unwrap_or_default();
            let starts = found.starts_with(expected.unwrap_or_default());
            assert_eq!(
                (found.is_empty(), starts),
                (expected.is_none(), true),
                "{found}"
            );
        }
    }

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
