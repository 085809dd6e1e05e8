//! Text files.

use std::path::Path;

use topk_files::Placeholder;

use crate::LabelError;

/// Longest list that is read: about 20 million lines.
const MAX_BYTES: u64 = 1 << 30;

/// The text of a file of at most 1 GiB.
pub(crate) fn read(path: &Path) -> Result<String, LabelError> {
    read_limited(path, MAX_BYTES)
}

/// The text of a file of at most `limit` bytes.
pub(crate) fn read_limited(path: &Path, limit: u64) -> Result<String, LabelError> {
    let bytes = topk_files::read_limited(path, limit).map_err(LabelError::io(path))?;
    let bytes = bytes.ok_or_else(|| LabelError::TooLarge {
        path: path.to_owned(),
        limit,
    })?;
    if let Some(found) = Placeholder::of(&bytes).filter(|found| *found != Placeholder::Empty) {
        let path = path.to_owned();
        return Err(LabelError::Placeholder { path, found });
    }
    String::from_utf8(bytes).map_err(|_| LabelError::NotUtf8(path.to_owned()))
}

/// The lines of a text that are not blank, with their numbers from 1.
pub(crate) fn lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let lines = (1..).zip(text.lines().map(str::trim));
    lines.filter(|(_, line)| !line.is_empty())
}
