//! Image data sets: their formats, class labels, splits and label noise.
//!
//! Shared by training and evaluation, so that both read the same pixels. Pixels are `u8` in channel,
//! row, column order (CHW), red first.
//!
//! [`ImageSet`] lists the images of a data set as people have it (see [`Format`]), and reads them one
//! at a time, encoded or as pixels.

mod archive;
mod cifar;
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
