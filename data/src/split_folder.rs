//! Folders with one folder per split.

use std::path::{Path, PathBuf};

use topk_files::excerpt;

use crate::walk::Entries;
use crate::{DataError, Split};

/// Path of the splits in Kaggle's archive of ImageNet.
const KAGGLE: &str = "ILSVRC/Data/CLS-LOC";

/// ImageNet's development kit, which may be beside the folders of the splits.
const DEVKIT: &str = "ILSVRC2012_devkit_t12";

/// The folder of a split, if `path` contains only folders of splits or Kaggle's archive; otherwise `path`.
pub(crate) fn of_split(path: &Path, split: Split) -> Result<PathBuf, DataError> {
    let kaggle = path.join(KAGGLE);
    let path = if kaggle.is_dir() { &kaggle } else { path };
    let folders = Entries::of(path)?.folders;
    if !are_splits(&folders) {
        return Ok(path.to_owned());
    }
    let mut names = split.names().iter();
    let found = names.find(|name| folders.iter().any(|folder| folder == *name));
    Ok(found.map_or_else(|| path.to_owned(), |name| path.join(name)))
}

/// Checks that the folders in `path` are not splits, which would be read as classes where the requested
/// split is missing.
pub(crate) fn check_splits(path: &Path, folders: &[String], split: Split) -> Result<(), DataError> {
    if !are_splits(folders) {
        return Ok(());
    }
    Err(DataError::NoSplit {
        path: path.to_owned(),
        split,
        found: excerpt(&folders.join(", ")),
    })
}

fn are_splits(folders: &[String]) -> bool {
    let all = [Split::Train, Split::Test].map(Split::names).concat();
    let mut folders = folders.iter().filter(|folder| *folder != DEVKIT).peekable();
    folders.peek().is_some() && folders.all(|folder| all.contains(&folder.as_str()))
}
