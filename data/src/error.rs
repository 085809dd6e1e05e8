use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;
use topk_files::{Placeholder, excerpt};
use topk_labels::LabelError;

use crate::{Format, Split, storage};

/// Why a data set cannot be read. Every message names the file.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum DataError {
    /// An image of a data set in memory does not fit.
    #[error("image {index} of {name}: {reason}")]
    Memory {
        /// The data set.
        name: String,
        /// Index of the image.
        index: usize,
        /// What does not fit.
        reason: String,
    },
    /// Labels or classes cannot be read.
    #[error(transparent)]
    Labels(#[from] LabelError),
    /// The folder or archive does not contain CIFAR.
    #[error(
        "{} does not contain {name} (neither {} nor {}). Pass {} or {} as downloaded, the folder it unpacks \
         to, or its parent",
        path.display(),
        files[0],
        files[1],
        archives[0],
        archives[1]
    )]
    NotFound {
        /// The path that was searched.
        path: PathBuf,
        /// Name of the data set.
        name: &'static str,
        /// A file of each version.
        files: [&'static str; 2],
        /// The archive of each version.
        archives: [&'static str; 2],
    },
    /// A file of CIFAR's Python version is damaged, or another file.
    #[error("{} is not a valid file of CIFAR's Python version: {reason}", path.display())]
    Cifar {
        /// The file.
        path: PathBuf,
        /// Why it is not valid.
        reason: String,
    },
    /// No format is detected at a path.
    #[error(
        "{} is not a recognised data set. Supported: one folder of images per class; a folder of images; \
         .tar and .parquet files; a .csv or .json file that lists images and labels; the folders and .tar.gz files of CIFAR-10 and CIFAR-100 (binary or Python \
         version). Pass the folder or file with the images, and its format if it is not detected",
        path.display()
    )]
    Unrecognised {
        /// The path.
        path: PathBuf,
    },
    /// No files of this format are at a path.
    #[error("{} contains no images in {format} format; expected {expected}", path.display())]
    NoImages {
        /// The path.
        path: PathBuf,
        /// The format.
        format: Format,
        /// The expected files.
        expected: &'static str,
    },
    /// The first image of a manifest does not exist.
    #[error(
        "{} lists the image {name}, but {} does not exist: paths are relative to the folder of the list, or absolute",
        path.display(),
        file.display()
    )]
    NotListed {
        /// The manifest.
        path: PathBuf,
        /// The image.
        name: String,
        /// Where it was expected.
        file: PathBuf,
    },
    /// A folder or archive has splits, but not the requested one.
    #[error(
        "{} has no split {split}, only {found}. Pass the folder or file with the images, or choose another \
         split (topk-eval: --split)",
        path.display()
    )]
    NoSplit {
        /// The folder.
        path: PathBuf,
        /// The requested split.
        split: Split,
        /// The folders in it.
        found: String,
    },
    /// Folders of splits are beside folders of images.
    #[error(
        "{} has the splits {splits} beside the images in {other}, so it is unclear whether these folders are \
         classes. Pass the folder of a split, or move the others away",
        path.display()
    )]
    MixedSplits {
        /// The folder or archive.
        path: PathBuf,
        /// The folders of splits.
        splits: String,
        /// Another folder with images.
        other: String,
    },
    /// Several folders or kinds of files are the same split.
    #[error("{} has the split {split} more than once: {found}. Pass one of them", path.display())]
    SplitTwice {
        /// The folder or archive.
        path: PathBuf,
        /// The split.
        split: &'static str,
        /// Their names.
        found: String,
    },
    /// Images in several formats are at a path.
    #[error(
        "{} has {one} beside {other}. Choose one with --format {}, or pass its path",
        path.display(),
        formats.map(Format::name).join(" or --format ")
    )]
    SeveralFormats {
        /// The folder.
        path: PathBuf,
        /// What is there.
        one: String,
        /// What else is there.
        other: String,
        /// Their formats.
        formats: [Format; 2],
    },
    /// A file is not the data that its name promises.
    #[error("{} is {found}", path.display())]
    Placeholder {
        /// The file.
        path: PathBuf,
        /// What it is.
        found: Placeholder,
    },
    /// A file or folder cannot be read.
    #[error("cannot read {}: {error}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The error of the system.
        error: io::Error,
    },
    /// An object cannot be read.
    #[cfg(feature = "remote")]
    #[error(transparent)]
    Remote(#[from] topk_remote::RemoteError),
    /// An address, in a build that reads files only.
    #[error(
        "{0} is not on this machine, and this build reads files only: use topk-train or topk-eval, or build with the \
         feature `remote` of topk-data"
    )]
    NoRemote(String),
    /// A file is not a whole number of records.
    #[error(
        "{} is truncated: {length} bytes are not a whole number of records of {record} bytes. Unpack or \
         download it again",
        path.display()
    )]
    Truncated {
        /// The file.
        path: PathBuf,
        /// Its length in bytes.
        length: usize,
        /// Length of a record in bytes.
        record: usize,
    },
    /// A file contains no records.
    #[error("{} is empty", .0.display())]
    Empty(PathBuf),
    /// A label is not the index of a class.
    #[error(
        "{}: record {record} has label {label}, but there are {classes} classes; the class names are not \
         those of the records",
        path.display()
    )]
    Label {
        /// The file.
        path: PathBuf,
        /// Index of the record.
        record: usize,
        /// The label.
        label: i64,
        /// Number of class names.
        classes: usize,
    },
    /// A name that is not UTF-8, which could not be written into results.
    #[error("{name} in {} is not UTF-8; rename it", path.display())]
    NotUtf8 {
        /// The folder or archive.
        path: PathBuf,
        /// The name, with replacement characters.
        name: String,
    },
    /// Two images have the same name.
    #[error("{} contains {name} more than once; rename or remove one", path.display())]
    Duplicate {
        /// The folder or archive.
        path: PathBuf,
        /// The name.
        name: String,
    },
    /// A file or member is larger than the limit.
    #[error(
        "{name} in {} is {size} bytes, over the limit of {limit}; it may be damaged or a file of another \
         kind",
        path.display()
    )]
    TooLarge {
        /// The folder or archive.
        path: PathBuf,
        /// The file or member.
        name: String,
        /// Its size in bytes, as far as it is known.
        size: u64,
        /// The limit in bytes.
        limit: u64,
    },
    /// A list of labels is given for a format that has its own labels.
    #[error(
        "{} is read as {format}, which has its own labels; omit {}, or set the format to flat",
        path.display(),
        labels.display()
    )]
    OwnLabels {
        /// The data set.
        path: PathBuf,
        /// The list of labels.
        labels: PathBuf,
        /// The format.
        format: Format,
    },
    /// A pattern of file names is not valid.
    #[error("in the pattern {}: found `{found}`, expected {expected}", path.display())]
    Pattern {
        /// The pattern.
        path: PathBuf,
        /// The invalid part.
        found: String,
        /// What is valid there.
        expected: String,
    },
    /// A class map has none of the classes of a data set.
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
    /// A tar file is damaged, or of an unsupported kind.
    #[error("cannot read {} as a tar file: {error}", path.display())]
    Tar {
        /// The archive.
        path: PathBuf,
        /// Why it cannot be read.
        error: TarError,
    },
    /// A member of a shard is not valid.
    #[error("{name} in {}: {reason}", path.display())]
    Member {
        /// The shard.
        path: PathBuf,
        /// The member.
        name: String,
        /// Why it is not valid.
        reason: String,
    },
    /// A parquet file is damaged, or lacks a required column.
    #[error("cannot read {} as images in parquet: {reason}", path.display())]
    Parquet {
        /// The file.
        path: PathBuf,
        /// Why it cannot be read.
        reason: String,
    },
}

/// Why a tar file cannot be read.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
#[non_exhaustive]
pub enum TarError {
    /// It ends inside a member.
    #[error("it is truncated in {0}; download or copy it again")]
    Truncated(String),
    /// It has no members, and not the blocks of zeros at the end either.
    #[error("it is empty; download or copy it again")]
    NoEnd,
    /// A header is not valid or supported.
    #[error("the header at byte {offset} {reason}")]
    Header {
        /// Position of the header in bytes.
        offset: u64,
        /// Why it is not valid.
        reason: &'static str,
    },
    /// It is compressed.
    #[error("it is compressed with {0}; decompress it first, so that images can be read at random")]
    Compressed(&'static str),
}

impl DataError {
    /// Checks that a file is not a placeholder for data.
    pub(crate) fn check_placeholder(path: &Path) -> Result<(), Self> {
        let first = storage::first_bytes(path)?;
        match Placeholder::of(&first) {
            // Archives without files and black images begin with zeros, too.
            None | Some(Placeholder::Zeros) => Ok(()),
            Some(found) => Err(Self::Placeholder {
                path: path.to_owned(),
                found,
            }),
        }
    }

    /// An error of the system while reading `path`.
    pub(crate) fn io(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        |error| {
            #[cfg(feature = "remote")]
            let error = match error.downcast::<topk_remote::RemoteError>() {
                // It names the object.
                Ok(error) => return Self::Remote(error),
                Err(error) => error,
            };
            Self::Io { path, error }
        }
    }

    pub(crate) fn no_images(path: &Path, format: Format, expected: &'static str) -> Self {
        Self::NoImages {
            path: path.to_owned(),
            format,
            expected,
        }
    }

    pub(crate) fn duplicate(path: &Path, name: &str) -> Self {
        Self::Duplicate {
            path: path.to_owned(),
            name: excerpt(name),
        }
    }

    pub(crate) fn too_large(path: &Path, name: &str, size: u64, limit: u64) -> Self {
        Self::TooLarge {
            path: path.to_owned(),
            name: excerpt(name),
            size,
            limit,
        }
    }
}
