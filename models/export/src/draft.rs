use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::export::ExportError;

/// Prefix of the name of the temporary folder that an export creates beside its file. It remains only if
/// the process is killed.
pub const DRAFT_PREFIX: &str = ".topk-export-";

/// A temporary folder beside a path, for files that get their names only once they are verified. Dropping
/// it removes what is still in it.
pub(crate) struct Draft {
    folder: TempDir,
    path: PathBuf,
}

impl Draft {
    pub(crate) fn beside(path: &Path) -> Result<Self, ExportError> {
        let parent = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        // `tempfile`'s own message would name the temporary folder, which means nothing to the user.
        let folder = fs::metadata(parent).and_then(|_| {
            let mut builder = tempfile::Builder::new();
            builder.prefix(DRAFT_PREFIX).tempdir_in(parent)
        });
        let folder = folder.map_err(|error| ExportError::write(path, error))?;
        Ok(Self {
            folder,
            path: path.to_owned(),
        })
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// An error about the path that the draft is for.
    pub(crate) fn error(&self, error: io::Error) -> ExportError {
        ExportError::write(&self.path, error)
    }
}
