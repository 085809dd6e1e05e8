//! Files that are written completely or not at all.

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use topk_files::AtomicWriteFile;

/// A file that appears when it is complete.
#[derive(Debug)]
pub struct Output {
    path: PathBuf,
    file: AtomicWriteFile,
}

impl Output {
    /// Fails now if the file cannot be written later.
    pub fn open(path: &Path) -> Result<Self> {
        if path.is_dir() {
            bail!("cannot write {}: it is a folder", path.display());
        }
        let file = AtomicWriteFile::open(path)
            .with_context(|| format!("cannot write {}", path.display()))?;
        Ok(Self {
            path: path.to_owned(),
            file,
        })
    }

    /// Writes the file and moves it into place.
    pub fn write(mut self, text: &str) -> Result<()> {
        self.file
            .write_all(text.as_bytes())
            .and_then(|()| self.file.commit())
            .with_context(|| format!("cannot write {}", self.path.display()))
    }
}
