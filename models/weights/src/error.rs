use std::io;
use std::path::PathBuf;

use thiserror::Error;
use topk_pickle::{PickleError, PickleFault};
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
        /// What the system says.
        error: io::Error,
    },
    /// The file cannot be written.
    #[error("cannot write {}: {error}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system says.
        error: io::Error,
    },
    /// The file's name does not say in which format it is to be written.
    #[error(
        "cannot write {}: its name must end in .safetensors, .pth or .pt, which says the format",
        path.display()
    )]
    Extension {
        /// The file.
        path: PathBuf,
    },
    /// The file holds no weights that can be read.
    #[error("no weights can be read from {}: {error}", path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        error: FormatError,
    },
}

/// What reading ends with before the file's name is known.
pub(crate) enum ReadError {
    /// The system cannot read on.
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
    /// The contents are in none of the formats.
    #[error(
        "it is neither a safetensors file nor one that torch.save wrote; if it is older than \
         PyTorch 0.2 or from elsewhere, load it there and save its state_dict again"
    )]
    Unknown,
    /// Something is larger than is read.
    #[error("it has {size} {what}, at most {limit} are read")]
    TooLarge {
        /// Of what there is too much.
        what: &'static str,
        /// How much, as the file says.
        size: u64,
        /// The limit.
        limit: u64,
    },
    /// The file ends too early.
    #[error("it ends in the middle of {what}: the file is not whole, fetch or copy it again")]
    Truncated {
        /// What is cut off.
        what: String,
    },
    /// The header of a safetensors file is wrong, or does not fit what follows.
    #[error("as a safetensors file it is damaged: {0}")]
    Safetensors(String),
    /// The zip archive is wrong.
    #[error("as a zip archive of PyTorch it is damaged: {0}")]
    Zip(#[from] ZipError),
    /// A part of a zip archive is wrong.
    #[error("its entry {name} {fault}")]
    Entry {
        /// Name of the entry.
        name: String,
        /// What is wrong with it.
        fault: String,
    },
    /// The pickle is wrong, or wants more than a state_dict does.
    #[error("its pickle {fault} (byte {at})")]
    Pickle {
        /// Where in the pickle.
        at: usize,
        /// What is wrong.
        fault: PickleFault,
    },
    /// The storages of the older format are not those of the pickle.
    #[error("its storage {key} {fault}")]
    Storage {
        /// The storage.
        key: String,
        /// What is wrong with it.
        fault: String,
    },
    /// There is no state_dict in it.
    #[error("{0}; save model.state_dict() alone, or under the key `state_dict`")]
    NoStateDict(String),
    /// A name is too long, or would garble a terminal.
    #[error("`{0}` is no name: at most 1024 bytes, none of them control characters, are read")]
    Name(String),
    /// The elements are of a type that is not read.
    #[error("{name} is {dtype}: weights must be floating-point numbers or integers")]
    Dtype {
        /// The tensor.
        name: String,
        /// Type of its elements.
        dtype: String,
    },
    /// A weight is infinite or not a number.
    #[error(
        "{name} is {value} at element {index}: such weights give no scores; take a checkpoint from \
         before the training diverged"
    )]
    NotFinite {
        /// The tensor.
        name: String,
        /// Place of the element, row-major.
        index: usize,
        /// The element.
        value: f64,
    },
}

impl From<PickleError> for FormatError {
    fn from(PickleError { at, fault }: PickleError) -> Self {
        Self::Pickle { at, fault }
    }
}
