use std::io;
use std::path::PathBuf;

use thiserror::Error;
use topk_files::Placeholder;
use topk_pickle::{PickleError, PickleErrorKind};
use zip::result::ZipError;

/// Why a file of weights cannot be read or written.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum WeightsError {
    /// The file cannot be read.
    #[error("cannot read {}: {error}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's error.
        error: io::Error,
    },
    /// The file cannot be written.
    #[error("cannot write {}: {error}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// The system's error.
        error: io::Error,
    },
    /// The format cannot be derived from the file's name.
    #[error(
        "cannot write {}: the format follows from the file name, which must end in .safetensors, .pth or .pt",
        path.display()
    )]
    Extension {
        /// The file.
        path: PathBuf,
    },
    /// The file's contents are not readable weights.
    #[error("cannot read weights from {}: {error}", path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        error: FormatError,
    },
}

/// An error in reading, without the file's name.
#[derive(Debug)]
pub(crate) enum ReadError {
    /// The system cannot read the file.
    Io(io::Error),
    /// The contents are wrong.
    Format(FormatError),
}

impl From<io::Error> for ReadError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<FormatError> for ReadError {
    fn from(error: FormatError) -> Self {
        Self::Format(error)
    }
}

/// What is wrong with the contents of a file of weights.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum FormatError {
    /// The format is unknown.
    #[error(
        "it is neither a safetensors file nor one of torch.save; if PyTorch before 0.2 or another \
         program wrote it, load it there and save its state_dict again"
    )]
    Unknown,
    /// The file was not downloaded.
    #[error("it is {0}")]
    Placeholder(Placeholder),
    /// Something exceeds a limit.
    #[error("it has {size} {what}; the limit is {limit}")]
    TooLarge {
        /// What exceeds it.
        what: &'static str,
        /// Its size according to the file.
        size: u64,
        /// The limit.
        limit: u64,
    },
    /// The file ends too early.
    #[error("it ends in the middle of {what}: the file is incomplete, download or copy it again")]
    Truncated {
        /// The incomplete part.
        what: String,
    },
    /// The header of a safetensors file is wrong, or does not fit what follows.
    #[error("it is a damaged safetensors file: {0}")]
    Safetensors(String),
    /// The zip archive is wrong.
    #[error("it is a damaged zip archive of PyTorch: {0}")]
    Zip(#[from] ZipError),
    /// The file holds a program.
    #[error(
        "it is a TorchScript program (torch.jit.save), not a file of weights; load it in PyTorch with \
         torch.jit.load, and save its state_dict"
    )]
    TorchScript,
    /// A part of a zip archive is wrong.
    #[error("its entry {name} {problem}")]
    Entry {
        /// Name of the entry.
        name: String,
        /// What is wrong with it.
        problem: String,
    },
    /// The pickle is invalid, or refers to something that is not allowed in a state_dict.
    #[error("its pickle {problem} (byte {offset})")]
    Pickle {
        /// Byte offset in the pickle.
        offset: usize,
        /// What is wrong.
        problem: PickleErrorKind,
    },
    /// A storage does not match its description in the pickle.
    #[error("its storage {key} {problem}")]
    Storage {
        /// The storage.
        key: String,
        /// What is wrong with it.
        problem: String,
    },
    /// The file holds no state_dict.
    #[error("{0}; save model.state_dict() alone, or under the key `state_dict`")]
    NoStateDict(String),
    /// Averaged weights are requested, and the file has none.
    #[error("it has no averaged (EMA) weights{0}")]
    NoEma(String),
    /// A name is too long, or contains control characters.
    #[error("`{0}` is not a valid name: names have at most 1024 bytes and no control characters")]
    Name(String),
    /// The type of the elements is not supported.
    #[error("{name} has type {dtype}: weights must be floating-point numbers or integers")]
    Dtype {
        /// The tensor.
        name: String,
        /// Type of its elements.
        dtype: String,
    },
    /// A weight is infinite or NaN.
    #[error(
        "{name} is {value} at element {index}: a network with such weights produces no usable scores; \
         use a checkpoint from before training diverged"
    )]
    NotFinite {
        /// The tensor.
        name: String,
        /// Index of the element, row-major.
        index: usize,
        /// The element.
        value: f64,
    },
}

impl From<PickleError> for FormatError {
    fn from(PickleError { offset, problem }: PickleError) -> Self {
        Self::Pickle { offset, problem }
    }
}
