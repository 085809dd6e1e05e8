use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;
use topk_files::Placeholder;

/// Why labels or classes cannot be read. Every message names the file.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum LabelError {
    /// A file cannot be read.
    #[error("cannot read {}: {error}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The error of the system.
        error: io::Error,
    },
    /// A file has no lines or no entries.
    #[error("{} is empty", .0.display())]
    Empty(PathBuf),
    /// A file is larger than the limit.
    #[error("{} is larger than {limit} bytes; it may be a file of another kind", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// The limit in bytes.
        limit: u64,
    },
    /// A file is not text in UTF-8.
    #[error("{} is not text in UTF-8; convert it", .0.display())]
    NotUtf8(PathBuf),
    /// A line of a text file is invalid.
    #[error("{}, line {line}: found `{found}`, expected {expected}", path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// Number of the line, from 1.
        line: usize,
        /// The invalid text, truncated if it is long.
        found: String,
        /// What is valid there.
        expected: String,
    },
    /// An entry of a JSON list is invalid.
    #[error("{}, entry {entry}: found `{found}`, expected {expected}", path.display())]
    Entry {
        /// The file.
        path: PathBuf,
        /// Number of the entry, from 1.
        entry: usize,
        /// The invalid text, truncated if it is long.
        found: String,
        /// What is valid there.
        expected: String,
    },
    /// Two lines of a text file contradict each other.
    #[error(
        "{}, line {line}: {name} has a different value than in line {first}; remove the wrong one",
        path.display()
    )]
    Conflict {
        /// The file.
        path: PathBuf,
        /// Number of the second line, from 1.
        line: usize,
        /// Number of the first line.
        first: usize,
        /// The name in both lines.
        name: String,
    },
    /// It is not clear which columns or lines of a table are meant.
    #[error("{}: {reason}. Give a file with a line `image,label` and these two columns", path.display())]
    Columns {
        /// The file.
        path: PathBuf,
        /// What is ambiguous.
        reason: String,
    },
    /// Numbers without names of images, which may be ILSVRC2012_IDs or class indices.
    #[error(
        "{} has {count} numbers without names of images: ILSVRC2012_IDs are read from a file named \
         ILSVRC2012_validation_ground_truth.txt; for class indices, give a file with an image and its label \
         per line",
        path.display()
    )]
    BareNumbers {
        /// The file.
        path: PathBuf,
        /// Number of lines.
        count: usize,
    },
    /// A file is not the list that its name promises.
    #[error("{} is {found}", path.display())]
    Placeholder {
        /// The file.
        path: PathBuf,
        /// What it is.
        found: Placeholder,
    },
    /// A JSON file has other contents.
    #[error("{}: {reason}, expected {expected}", path.display())]
    Json {
        /// The file.
        path: PathBuf,
        /// Why it is not valid.
        reason: String,
        /// The expected contents.
        expected: &'static str,
    },
    /// A file is not a table of groups.
    #[error("{}: {reason}. Give a table with a row for each image and a column of 0 and 1 for each group", path.display())]
    Groups {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// Names of folders that are not those of one set of classes.
    #[error("{}: {reason}. Give a class map with the index of each class, or move other folders away", path.display())]
    ClassFolders {
        /// The folder with the class folders.
        path: PathBuf,
        /// Why they are ambiguous.
        reason: String,
    },
    /// A list has labels, but none for the images.
    #[error(
        "{} has no labels for the images of {}: it lists `{entry}`, but an image is `{image}`",
        labels.display(),
        path.display()
    )]
    NoMatch {
        /// The images.
        path: PathBuf,
        /// The list of labels.
        labels: PathBuf,
        /// A name in the list.
        entry: String,
        /// The name of an image.
        image: String,
    },
    /// It is not clear which of several images or entries of the same name is meant.
    #[error("{} contains {name} more than once; rename or remove one", path.display())]
    Duplicate {
        /// The list, or the folder of the images.
        path: PathBuf,
        /// The name.
        name: String,
    },
    /// The name of an image lacks the number by which a list has its labels.
    #[error(
        "`{name}` has no image number such as ILSVRC2012_val_00000001; {} lists labels by number",
        labels.display()
    )]
    NoNumber {
        /// The list.
        labels: PathBuf,
        /// Name of the image.
        name: String,
    },
}

impl LabelError {
    /// An error of the system while reading `path`.
    pub(crate) fn io(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        |error| Self::Io { path, error }
    }

    /// An invalid line.
    pub(crate) fn line(path: &Path, line: usize, found: &str, expected: impl Into<String>) -> Self {
        Self::Line {
            path: path.to_owned(),
            line,
            found: topk_files::excerpt(found),
            expected: expected.into(),
        }
    }

    /// Two lines that contradict each other.
    pub(crate) fn conflict(path: &Path, line: usize, first: usize, name: &str) -> Self {
        Self::Conflict {
            path: path.to_owned(),
            line,
            first,
            name: topk_files::excerpt(name),
        }
    }
}
