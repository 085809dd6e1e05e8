use std::io;
use std::path::PathBuf;

use thiserror::Error;
use topk_labels::LabelError;

use crate::{Format, Split};

/// Why a data set cannot be read. Every message names the file.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum DataError {
    /// Labels or classes cannot be read.
    #[error(transparent)]
    Labels(#[from] LabelError),
    /// The folder or archive holds no CIFAR.
    #[error(
        "{} holds no {name} (neither {} nor {}). Give {} or {} as downloaded, the folder that it \
         unpacks to, or the one above",
        path.display(),
        files[0],
        files[1],
        archives[0],
        archives[1]
    )]
    NotFound {
        /// What was to be read.
        path: PathBuf,
        /// Name of the data set.
        name: &'static str,
        /// The file that would show each version.
        files: [&'static str; 2],
        /// The archive in which each version comes.
        archives: [&'static str; 2],
    },
    /// A file of CIFAR's Python version is damaged, or another.
    #[error(
        "{} cannot be read as CIFAR in its Python version: {fault}",
        path.display()
    )]
    Cifar {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        fault: String,
    },
    /// Nothing in a path shows how it is to be read.
    #[error(
        "{} is no data set that is recognised. Looked for: folders of images, one a class; a folder \
         of images; .tar and .parquet files; the folders and .tar.gz files of CIFAR-10 and CIFAR-100 \
         (binary or Python version). Name the folder or file that has the images, and its format if need be",
        path.display()
    )]
    Unrecognised {
        /// What was looked at.
        path: PathBuf,
    },
    /// A data set of this format has none of the files that it should have.
    #[error("{} has no images to be read as {format}: {expected}", path.display())]
    NoImages {
        /// What was looked at.
        path: PathBuf,
        /// The format.
        format: Format,
        /// What should be there.
        expected: &'static str,
    },
    /// A folder has splits, but not the one that is to be read.
    #[error(
        "{} has no images of the split {split}, only {found}: name the folder with the classes, or \
         another split",
        path.display()
    )]
    NoSplit {
        /// The folder.
        path: PathBuf,
        /// The split that is missing.
        split: Split,
        /// The folders that are there.
        found: String,
    },
    /// A file or folder cannot be read.
    #[error("cannot read {}: {error}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system says.
        error: io::Error,
    },
    /// A file is not a whole number of records.
    #[error(
        "{}: {length} bytes are not a whole number of records of {record} bytes: record {} is \
         cut off. Unpack or download the file again",
        path.display(),
        length / record
    )]
    Truncated {
        /// The file.
        path: PathBuf,
        /// Its length in bytes.
        length: usize,
        /// Length of a record in bytes.
        record: usize,
    },
    /// A file holds no records.
    #[error("{} is empty", .0.display())]
    Empty(PathBuf),
    /// A label is not the index of a class.
    #[error(
        "{}: record {record} has label {label}, but there are {classes} classes: the names and \
         the records do not belong together",
        path.display()
    )]
    Label {
        /// The file.
        path: PathBuf,
        /// Index of the record.
        record: usize,
        /// The label found.
        label: i64,
        /// Number of class names.
        classes: usize,
    },
    /// A name that is not UTF-8, which could not be written into results.
    #[error("{name} in {} is not UTF-8: rename it", path.display())]
    NotUtf8 {
        /// The folder or archive.
        path: PathBuf,
        /// The name, as far as it can be shown.
        name: String,
    },
    /// Two images have the same name.
    #[error("{} has {name} twice: which one counts is not clear; remove one", path.display())]
    Duplicate {
        /// The folder, archive or list.
        path: PathBuf,
        /// The name.
        name: String,
    },
    /// Something is larger than is read.
    #[error(
        "{} in {} is of {size} bytes, at most {limit} are read: it is damaged, or not what its \
         name says",
        name,
        path.display()
    )]
    TooLarge {
        /// The folder or archive.
        path: PathBuf,
        /// The file or member.
        name: String,
        /// Its size in bytes, as far as is known.
        size: u64,
        /// The limit in bytes.
        limit: u64,
    },
    /// A file of labels is named for data that has its own.
    #[error(
        "{} is read as {format}, which has its own labels: leave out {}, or name the format flat",
        path.display(),
        labels.display()
    )]
    OwnLabels {
        /// What was to be read.
        path: PathBuf,
        /// The file of labels.
        labels: PathBuf,
        /// The format.
        format: Format,
    },
    /// A pattern of file names is not understood.
    #[error("in the pattern {}: found `{found}`, expected {expected}", path.display())]
    Pattern {
        /// The pattern.
        path: PathBuf,
        /// What is not understood.
        found: String,
        /// What should stand there.
        expected: String,
    },
    /// A class map names none of the classes.
    #[error(
        "{} has none of the classes of {}, such as `{class}`",
        map.display(),
        path.display()
    )]
    NoClasses {
        /// The images.
        path: PathBuf,
        /// The class map.
        map: PathBuf,
        /// A class of the images.
        class: String,
    },
    /// An archive is damaged, or is not read.
    #[error("{} cannot be read as a tar file: {fault}", path.display())]
    Tar {
        /// The archive.
        path: PathBuf,
        /// What is wrong.
        fault: TarFault,
    },
    /// What describes an image in a shard is wrong.
    #[error("{name} in {}: {fault}", path.display())]
    Member {
        /// The shard.
        path: PathBuf,
        /// The member.
        name: String,
        /// What is wrong.
        fault: String,
    },
    /// A parquet file is damaged, or has not what is needed.
    #[error("{} cannot be read as images in parquet: {fault}", path.display())]
    Parquet {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        fault: String,
    },
}

/// What is wrong with a tar file.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
#[non_exhaustive]
pub enum TarFault {
    /// It ends in the middle of a member.
    #[error("it ends in the middle of {0}: fetch or copy it again")]
    Truncated(String),
    /// It ends without the two blocks of zeros.
    #[error("it ends without an end mark: fetch or copy it again")]
    NoEnd,
    /// A header is wrong.
    #[error("the header at byte {at} {fault}")]
    Header {
        /// Where the header begins.
        at: u64,
        /// What is wrong with it.
        fault: &'static str,
    },
    /// It is compressed.
    #[error("it is compressed with {0}, so images cannot be found in it: unpack that first")]
    Compressed(&'static str),
}

impl DataError {
    /// An error of the system with the file that it is about.
    pub(crate) fn io(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        |error| Self::Io { path, error }
    }
}
