//! Image data sets, and the preprocessing without which an accuracy means nothing.
//!
//! Shared by training and evaluation, so that both read the same pixels. Pixels are `u8` in channel,
//! row, column order (CHW), red first.
//!
//! [`ImageSet`] lists the images of a data set as people have it (see [`Format`]), and reads them one
//! at a time, encoded. [`Dataset`] has all pixels in memory.

mod archive;
mod cifar;
pub mod cifar100;
mod class_map;
mod class_names;
mod classes;
mod detect;
#[cfg(test)]
mod drawn;
mod error;
mod findings;
mod folder;
mod format;
mod image_set;
pub mod imagenet;
mod label_noise;
mod labels;
mod random_state;
mod real;
mod regions;
mod shards;
mod splits;
mod subset;
#[cfg(feature = "parquet")]
mod tables;
mod tar;
mod text;
mod walk;
mod webdataset;

pub use class_names::ClassNames;
pub use classes::Classes;
pub use error::{DataError, TarFault};
pub use findings::Findings;
pub use format::{Format, ParseFormatError, Split};
pub use image_set::{Description, Image, ImageSet, Options, Sample};
pub use label_noise::{LabelNoise, LabelNoiseError};
pub use real::RealLabels;
pub use splits::{ClassHoldout, Holdout, SPLIT_SEED, SplitError, holdout};
pub use subset::ClassSubset;

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
