//! Image data sets, and the preprocessing without which an accuracy means nothing.
//!
//! Shared by training and evaluation, so that both read the same pixels. Pixels are `u8` in channel,
//! row, column order (CHW), red first.

pub mod cifar100;

use std::io;
use std::path::PathBuf;

use thiserror::Error;

pub use topk_image::{Normalization, NormalizationError, NormalizationTable};

/// Images of one size with their labels.
#[derive(Clone, Debug)]
pub struct Dataset {
    /// Names of the classes; a label is an index into them.
    pub class_names: Vec<String>,
    /// Channels, height and width of each image.
    pub shape: [usize; 3],
    /// All images, one after the other: `labels.len() × channels × height × width`.
    pub pixels: Vec<u8>,
    /// Label of each image, below `class_names.len()`.
    pub labels: Vec<i64>,
}

impl Dataset {
    /// Number of images.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// Values in one image.
    pub fn image_len(&self) -> usize {
        self.shape.iter().product()
    }

    /// Pixels of the image of this index.
    ///
    /// # Panics
    /// If there is none.
    pub fn image(&self, index: usize) -> &[u8] {
        let len = self.image_len();
        &self.pixels[index * len..][..len]
    }
}

/// Why a data set cannot be read. Every message names the file.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum DataError {
    /// The folder holds nothing that is recognised.
    #[error(
        "{} holds no CIFAR-100 in its binary version (no train.bin or test.bin). Unpack \
         cifar-100-binary.tar.gz and name the folder that has these files, or the one above it",
        .0.display()
    )]
    NotFound(PathBuf),
    /// A file cannot be read.
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
        label: u8,
        /// Number of class names.
        classes: usize,
    },
}
