//! Image data sets: their formats, class labels, splits and label noise.
//!
//! Shared by training and evaluation, so that both read the same pixels. Pixels are `u8` in channel,
//! row, column order (CHW), red first.
//!
//! [`ImageSet`] lists the images of a data set as people have it (see [`Format`]), and reads them one
//! at a time, encoded or as pixels.

mod archive;
mod cifar;
mod detect;
#[cfg(test)]
mod drawn;
mod error;
mod findings;
mod folder;
mod format;
mod image_set;
mod label_noise;
mod random_state;
mod regions;
mod shards;
mod splits;
mod tables;
mod tar;
mod walk;
mod webdataset;

pub use error::{DataError, TarFault};
pub use findings::Findings;
pub use format::{Format, ParseFormatError, Split};
pub use image_set::{Description, Image, ImageSet, Options, Sample};
pub use label_noise::{LabelNoise, LabelNoiseError};
pub use splits::{ClassHoldout, Holdout, SPLIT_SEED, SplitError, holdout};
