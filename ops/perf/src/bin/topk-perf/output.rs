//! Files that are written at the end, and checked at the beginning.

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use topk_files::OutputFile;

/// A file that is written when its contents are complete.
#[derive(Debug)]
pub struct Output {
    path: PathBuf,
    file: OutputFile,
}

impl Output {
    /// Fails now if the file cannot be written later.
    pub fn open(path: &Path) -> Result<Self> {
        let file =
            OutputFile::open(path).with_context(|| format!("cannot write {}", path.display()))?;
        Ok(Self {
            path: path.to_owned(),
            file,
        })
    }

    /// Writes the file.
    pub fn write(mut self, text: &str) -> Result<()> {
        self.file
            .write_all(text.as_bytes())
            .and_then(|()| self.file.commit())
            .with_context(|| format!("cannot write {}", self.path.display()))
    }
}
