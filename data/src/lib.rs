//! Image data sets: formats, splits and label noise.
//!
//! [`ImageSet`] lists the images of a data set in the layouts in which they are published (see
//! [`Format`]), and reads them one at a time, encoded or as pixels. Training and evaluation share it, so
//! that both read the same images. With the feature `remote`, paths may be addresses such as
//! `s3://bucket/train-{000..127}.tar`. Pixels are `u8` in channel, row, column order (CHW), red first.

mod archive;
mod cifar;
mod detect;
mod error;
mod folder;
mod format;
mod image_set;
mod label_noise;
mod listed;
mod listing;
mod long_tail;
mod manifest;
mod memory;
#[cfg(test)]
mod numpy_cases;
mod options;
mod random_state;
mod regions;
pub mod remote;
mod sample;
mod shards;
mod split;
mod split_folder;
mod splits;
mod storage;
mod store;
mod tables;
mod tar;
mod walk;
mod warnings;
mod webdataset;

pub use error::{DataError, TarError};
pub use format::{Format, ParseFormatError};
pub use image_set::{Description, ImageSet};
pub use label_noise::{LabelNoise, LabelNoiseError};
pub use long_tail::long_tail;
pub use options::Options;
pub use sample::{Image, Sample};
pub use split::Split;
pub use splits::{ClassHoldout, ClassShare, Holdout, SPLIT_SEED, SplitError, holdout};
pub use warnings::Warnings;
