use std::fs::{self, File};
use std::io;
use std::path::{Component, Path, PathBuf};

use topk_onnx::proto::ModelProto;
use topk_onnx::{append, external_files};

use super::error::AttachError;
use super::host::Host;
use crate::draft::Draft;
use crate::export::ExportError;

/// Name of the model in the draft, where it is verified.
const MODEL: &str = "model.onnx";

/// Name of a model in the draft that is only run.
const PROBE: &str = "probe.onnx";

/// The files of the result, which are in a draft until they are finished.
pub(super) struct Files<'a> {
    draft: &'a Draft,
    out: PathBuf,
    /// Files with weights, relative to the folders of the model and of `out`, that are copied.
    copied: Vec<PathBuf>,
    pub(super) notes: Vec<String>,
}

impl<'a> Files<'a> {
    /// Puts the weights that are beside the model into the draft: as links if `out` is in the same folder, and as copies
    /// otherwise.
    pub(super) fn prepare(host: &Host, draft: &'a Draft, out: &Path) -> Result<Self, AttachError> {
        let folder = |path: &Path| match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
            _ => PathBuf::from("."),
        };
        let (from, to) = (folder(&host.path), folder(out));
        let canonical = |path: &Path| {
            path.canonicalize().map_err(|error| AttachError::Read {
                path: path.to_owned(),
                error,
            })
        };
        let same_folder = canonical(&from)? == canonical(&to)?;
        if out.file_name().is_none() {
            return Err(draft.error(io::ErrorKind::IsADirectory.into()).into());
        }
        if out.exists() && canonical(out)? == canonical(&host.path)? {
            return Err(AttachError::Same);
        }
        let mut files = Self {
            draft,
            out: out.to_owned(),
            copied: Vec::new(),
            notes: Vec::new(),
        };
        for file in external_files(&host.model) {
            let wrong = |reason: String| AttachError::ExternalData {
                location: file.location.clone(),
                reason,
            };
            let Some(name) = inside(&file.location) else {
                return Err(wrong(
                    "are outside the model's folder: store them in a file beside the model"
                        .to_owned(),
                ));
            };
            let source = from.join(&name);
            let size = match fs::metadata(&source) {
                Ok(metadata) => metadata.len(),
                Err(error) => return Err(wrong(format!("cannot be read: {error}"))),
            };
            if size < file.size {
                return Err(wrong(format!(
                    "are truncated: the file has {size} bytes, but the model reads {}",
                    file.size
                )));
            }
            let inner = draft.folder().join(&name);
            let copy = || {
                fs::create_dir_all(folder(&inner))?;
                // The target of a symbolic link, which ONNX Runtime does not follow out of the folder.
                let source = source.canonicalize()?;
                if same_folder && fs::hard_link(&source, &inner).is_ok() {
                    return Ok(());
                }
                fs::copy(&source, &inner).map(drop)
            };
            copy().map_err(|error| draft.error(error))?;
            if same_folder {
                continue;
            }
            let target = to.join(&name);
            if target.exists() {
                let hash = |path: &Path| {
                    topk_files::sha256(path).map_err(|error| AttachError::Read {
                        path: path.to_owned(),
                        error,
                    })
                };
                if hash(&target)? != hash(&inner)? {
                    return Err(wrong(format!(
                        "would replace {}, which has other contents: choose another folder for --out",
                        target.display()
                    )));
                }
                continue;
            }
            let location = &file.location;
            files.notes.push(format!(
                "its weights in {location} are copied to {}",
                to.display()
            ));
            files.copied.push(name);
        }
        Ok(files)
    }

    /// The model with the loss, while it is verified.
    pub(super) fn model(&self) -> PathBuf {
        self.draft.folder().join(MODEL)
    }

    /// A model that is only run.
    pub(super) fn probe(&self) -> PathBuf {
        self.draft.folder().join(PROBE)
    }

    /// Writes a copy of the model with this addition into the draft.
    pub(super) fn write(
        &self,
        host: &Host,
        addition: &ModelProto,
        path: &Path,
    ) -> Result<(), AttachError> {
        let mut source = File::open(&host.path).map_err(|error| AttachError::Read {
            path: host.path.clone(),
            error,
        })?;
        let written = topk_files::write_with(path, |file| append(&mut source, addition, file));
        written.map_err(|error| ExportError::write(&self.out, error).into())
    }

    /// Moves the files from the draft to where they belong; the model last.
    pub(super) fn finish(&self) -> Result<(), AttachError> {
        let folder = self.out.parent().unwrap_or(Path::new(""));
        let finish = || {
            for name in &self.copied {
                let target = folder.join(name);
                if let Some(parent) = target
                    .parent()
                    .filter(|parent| !parent.as_os_str().is_empty())
                {
                    fs::create_dir_all(parent)?;
                }
                fs::rename(self.draft.folder().join(name), target)?;
            }
            fs::rename(self.model(), &self.out)
        };
        finish().map_err(|error| self.draft.error(error).into())
    }
}

/// A location as a path inside the model's folder; `None` if it leads out of it.
fn inside(location: &str) -> Option<PathBuf> {
    let mut path = PathBuf::new();
    for component in Path::new(location).components() {
        match component {
            Component::Normal(name) => path.push(name),
            Component::CurDir => {}
            _ => return None,
        }
    }
    (path.components().next().is_some()).then_some(path)
}
