//! Text files that come with data sets.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use crate::DataError;

/// Longest list that is read: 20 million lines.
const MAX_BYTES: u64 = 1 << 30;

/// The text of a file.
pub(crate) fn read(path: &Path) -> Result<String, DataError> {
    read_up_to(path, MAX_BYTES)
}

/// The text of a file of at most so many bytes.
pub(crate) fn read_up_to(path: &Path, limit: u64) -> Result<String, DataError> {
    let file = File::open(path).map_err(DataError::io(path))?;
    let mut bytes = Vec::new();
    let mut reader = file.take(limit + 1);
    reader
        .read_to_end(&mut bytes)
        .map_err(DataError::io(path))?;
    if bytes.len() as u64 > limit {
        return Err(DataError::TooLarge {
            path: path.to_owned(),
            name: "the text".to_owned(),
            size: bytes.len() as u64,
            limit,
        });
    }
    String::from_utf8(bytes).map_err(|_| DataError::NotUtf8 {
        path: path.to_owned(),
        name: "the text".to_owned(),
    })
}

/// The lines of a text that are not blank, with their numbers from 1.
pub(crate) fn lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let lines = (1..).zip(text.lines().map(str::trim));
    lines.filter(|(_, line)| !line.is_empty())
}
