//! Files of models, also of those that are too large for one file.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use prost::Message;
use topk_files::{Hasher, OutputFile};

use crate::proto::ModelProto;
use crate::write::{MAX_FILE, write, write_with_external_data};

/// Writes a model to a file, atomically. The weights of a model above 2 GiB, which cannot be one file, go to a
/// second file beside it, whose name has a part of their SHA-256 and `.data` appended. So a model that is replaced keeps
/// its own weights until the moment that it is replaced, and afterwards, in case other models refer to them.
///
/// # Errors
/// If a file cannot be written, or two are needed and `path` is a device or a pipe.
pub fn save(model: &ModelProto, path: &Path) -> io::Result<()> {
    save_within(model, path, MAX_FILE)
}

/// As [`save`], for files of at most this many bytes.
fn save_within(model: &ModelProto, path: &Path, max_file: usize) -> io::Result<()> {
    if model.encoded_len() <= max_file {
        return topk_files::write_with(path, |file| write(model, file));
    }
    if !OutputFile::is_replaced(path) {
        return Err(io::Error::other(
            "the model is larger than 2 GiB and needs a second file beside it; write to a regular file",
        ));
    }
    let (data_path, name) = data_file(model, path)?;
    topk_files::write_with(path, |file| {
        topk_files::write_with(&data_path, |data| {
            write_with_external_data(model, file, data, &name)
        })
    })
}

/// Writes a model to new files with the names that [`save`] would choose, and returns them before the system has stored their
/// contents, as [`topk_files::write_unsynced`] does: the caller can use the model while it waits for [`File::sync_all`].
///
/// # Errors
/// If a file exists or cannot be written.
pub fn save_unsynced(model: &ModelProto, path: &Path) -> io::Result<Vec<File>> {
    save_unsynced_within(model, path, MAX_FILE)
}

/// As [`save_unsynced`], for files of at most this many bytes.
fn save_unsynced_within(model: &ModelProto, path: &Path, max_file: usize) -> io::Result<Vec<File>> {
    if model.encoded_len() <= max_file {
        let file = topk_files::write_unsynced(path, |mut file| write(model, &mut file))?;
        return Ok(vec![file]);
    }
    let (data_path, name) = data_file(model, path)?;
    let mut files = Vec::new();
    let file = topk_files::write_unsynced(path, |mut file| {
        let data = topk_files::write_unsynced(&data_path, |mut data| {
            write_with_external_data(model, &mut file, &mut data, &name)
        })?;
        files.push(data);
        Ok::<_, io::Error>(())
    })?;
    files.push(file);
    Ok(files)
}

/// Path and name of the file of weights that belongs to a model in the file `path`.
fn data_file(model: &ModelProto, path: &Path) -> io::Result<(PathBuf, String)> {
    let mut hashed = Hashed::default();
    write_with_external_data(model, &mut io::sink(), &mut hashed, "")?;
    let mut data_path = path.as_os_str().to_owned();
    data_path.push(format!(".{}.data", &hashed.0.finish()[..16]));
    let data_path = PathBuf::from(data_path);
    let name = data_path.file_name().unwrap_or_default();
    let name = name.to_string_lossy().into_owned();
    Ok((data_path, name))
}

/// Hashes what is written to it.
#[derive(Default)]
struct Hashed(Hasher);

impl Write for Hashed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::fs;

    use super::*;
    use crate::{GraphBuilder, external_files, model, read_without_weights};

    fn weights(value: f32) -> ModelProto {
        let mut graph = GraphBuilder::new("test");
        graph.initializer("w", &[300], &[value; 300]);
        model(graph.finish(), "", [])
    }

    fn files(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
        let files = fs::read_dir(folder)
            .unwrap()
            .map(|file| file.unwrap().path());
        files
            .map(|file| (file.clone(), fs::read(file).unwrap()))
            .collect()
    }

    #[test]
    fn unsynced_files_are_those_that_are_saved() {
        for (max_file, count) in [(1 << 20, 1), (1000, 2)] {
            let [saved, created] = [(); 2].map(|()| tempfile::tempdir().unwrap());
            save_within(&weights(1.0), &saved.path().join("net.onnx"), max_file).unwrap();
            let path = created.path().join("net.onnx");
            let handles = save_unsynced_within(&weights(1.0), &path, max_file).unwrap();
            assert_eq!(handles.len(), count);
            let names = |folder: &Path| -> Vec<_> {
                let files = files(folder).into_iter();
                files
                    .map(|(path, bytes)| (path.file_name().unwrap().to_owned(), bytes))
                    .collect()
            };
            assert_eq!(names(created.path()), names(saved.path()));
        }
    }

    #[test]
    fn a_replaced_model_keeps_its_weights_until_then() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("net.onnx");
        save_within(&weights(1.0), &path, 1000).unwrap();
        let old = files(folder.path());
        assert_eq!(old.len(), 2);
        // The same model has the same files.
        save_within(&weights(1.0), &path, 1000).unwrap();
        assert_eq!(files(folder.path()), old);

        save_within(&weights(2.0), &path, 1000).unwrap();
        let new = files(folder.path());
        assert_eq!(new.len(), 3);
        // Had the process ended just before the model was replaced, it would have found its own weights.
        for (file, bytes) in &old {
            assert!(*file == path || new[file] == *bytes, "{}", file.display());
        }
        let data = external_files(&read_without_weights(&path).unwrap());
        let [data] = &data[..] else {
            panic!("one file")
        };
        let expected: Vec<u8> = [2.0f32; 300]
            .iter()
            .flat_map(|value| value.to_le_bytes())
            .collect();
        assert_eq!(new[&folder.path().join(&data.location)], expected);
        assert!(data.location.starts_with("net.onnx.") && data.location.ends_with(".data"));
    }
}
