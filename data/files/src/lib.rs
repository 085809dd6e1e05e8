//! Writing files atomically, hashing them with SHA-256, reading them up to a size limit, and recognising
//! what is not the file that it was meant to be ([`Placeholder`]).
//!
//! Every regular file that the programs write appears under its name complete, or not at all: [`write()`],
//! [`write_with`] and [`OutputFile`] write to an unnamed temporary file in the same directory and rename it at
//! the end. A process that is killed leaves nothing behind on file systems with unnamed temporary files.
//! Devices and pipes are written in place, and symbolic links are followed. Only [`write_unsynced`] leaves all this to its
//! caller.

mod hash;
mod output;
mod placeholder;

use std::fs::File;
use std::io::{self, BufWriter, Read, Write};
use std::path::Path;

use output::MAX_WRITE;

pub use hash::{Hasher, sha256};
pub use output::OutputFile;
pub use placeholder::Placeholder;

/// Writes `contents` to `path` as an [`OutputFile`].
///
/// # Errors
/// If the file cannot be created, written or renamed; an existing file is then unchanged.
pub fn write(path: &Path, contents: &[u8]) -> io::Result<()> {
    let mut file = OutputFile::open(path)?;
    file.write_all(contents)?;
    file.commit()
}

/// Writes to `path` with `write`, through a buffer, as an [`OutputFile`].
///
/// # Errors
/// Those of `write`, or if the file cannot be created or renamed; an existing file is then unchanged.
pub fn write_with<E: From<io::Error>>(
    path: &Path,
    write: impl FnOnce(&mut BufWriter<OutputFile>) -> Result<(), E>,
) -> Result<(), E> {
    let mut file = BufWriter::new(OutputFile::open(path)?);
    write(&mut file)?;
    let file = file.into_inner().map_err(io::IntoInnerError::into_error)?;
    Ok(file.commit()?)
}

/// Writes to a new file with `write`, through a buffer, and returns the file before the system has stored its contents: they
/// survive a crash of the system only after [`File::sync_all`]. The file appears under its name at once, and remains if
/// `write` fails; so this is for folders that nothing else reads.
///
/// # Errors
/// Those of `write`, or if the file exists, or cannot be created.
pub fn write_unsynced<E: From<io::Error>>(
    path: &Path,
    write: impl FnOnce(&mut dyn Write) -> Result<(), E>,
) -> Result<File, E> {
    let mut file = BufWriter::new(Pieces(File::create_new(path)?));
    write(&mut file)?;
    let Pieces(file) = file.into_inner().map_err(io::IntoInnerError::into_error)?;
    Ok(file)
}

/// A file that is written at most [`MAX_WRITE`] bytes at a time.
struct Pieces(File);

impl Write for Pieces {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(&bytes[..bytes.len().min(MAX_WRITE)])
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// Contents of a file, or `None` if it is larger than `max_bytes`.
///
/// # Errors
/// If the file cannot be read.
pub fn read_limited(path: &Path, max_bytes: u64) -> io::Result<Option<Vec<u8>>> {
    let mut bytes = Vec::new();
    let mut file = File::open(path)?.take(max_bytes + 1);
    file.read_to_end(&mut bytes)?;
    Ok((bytes.len() as u64 <= max_bytes).then_some(bytes))
}

/// A text from a file as it appears in one line of an error message: escaped, and truncated to 80
/// characters.
pub fn excerpt(text: &str) -> String {
    const MAX_CHARS: usize = 80;
    let mut shown: String = text
        .chars()
        .take(MAX_CHARS)
        .flat_map(char::escape_debug)
        .collect();
    if text.chars().nth(MAX_CHARS).is_some() {
        shown.push('…');
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn a_failed_write_keeps_the_old_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        write(&path, b"old").unwrap();
        let failed = write_with(&path, |file| {
            file.write_all(b"new")?;
            Err(io::Error::other("disk full"))
        });
        assert_eq!(failed.unwrap_err().to_string(), "disk full");
        assert_eq!(fs::read(&path).unwrap(), b"old");
        write_with(&path, |file| file.write_all(b"new")).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn contents_longer_than_a_piece_are_complete() {
        let folder = tempfile::tempdir().unwrap();
        let [replaced, created] = ["replaced", "created"].map(|name| folder.path().join(name));
        let contents: Vec<u8> = (0..=255).cycle().take(2 * MAX_WRITE + 5).collect();
        write(&replaced, &contents).unwrap();
        write_unsynced(&created, |file| file.write_all(&contents)).unwrap();
        for path in [replaced, created] {
            assert!(fs::read(path).unwrap() == contents);
        }
    }

    #[test]
    fn a_created_file_does_not_replace_another() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        let create = || write_unsynced(&path, |file| file.write_all(b"contents"));
        create().unwrap().sync_all().unwrap();
        assert_eq!(create().unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read(&path).unwrap(), b"contents");
    }

    #[test]
    fn excerpts_are_short_lines() {
        assert_eq!(excerpt("a\nb\u{1b}"), "a\\nb\\u{1b}");
        assert_eq!(excerpt(&"x".repeat(81)), format!("{}…", "x".repeat(80)));
    }

    #[test]
    fn files_over_the_limit_are_not_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        write(&path, b"12345").unwrap();
        assert_eq!(read_limited(&path, 5).unwrap().unwrap(), b"12345");
        assert_eq!(read_limited(&path, 4).unwrap(), None);
        assert!(read_limited(&folder.path().join("missing"), 4).is_err());
    }
}
