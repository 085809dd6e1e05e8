use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Layout of a data set on disk.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Format {
    /// A folder with one folder per class.
    Folder,
    /// A folder of images, with or without a list of labels.
    Flat,
    /// One tar file of images, in class folders or with a list of labels; or ImageNet's training images as
    /// one tar file per class, in a tar file or a folder.
    Tar,
    /// WebDataset shards: tar files in which each image is next to its label.
    Webdataset,
    /// Parquet files, as written by Hugging Face's `datasets`. Up to eight reading positions are kept in
    /// memory, each with a page and a dictionary; in the worst case, which pyarrow may write, these contain
    /// all images of a row group. Reading in random order decompresses that much for each image.
    Parquet,
    /// A CSV, TSV or JSON file that lists images by path, each with its label and, optionally, its split.
    Manifest,
    /// CIFAR-10 in its binary or Python version: a folder, or the `.tar.gz` file, whose images are kept in
    /// memory.
    Cifar10,
    /// CIFAR-100 in the same versions, with its fine labels.
    Cifar100,
    /// Images that a program made in memory; see [`ImageSet::in_memory`](crate::ImageSet::in_memory).
    Memory,
}

impl Format {
    /// All formats of files.
    pub const ALL: [Self; 8] = [
        Self::Folder,
        Self::Flat,
        Self::Tar,
        Self::Webdataset,
        Self::Parquet,
        Self::Manifest,
        Self::Cifar10,
        Self::Cifar100,
    ];

    /// The name on command lines and in results.
    pub fn name(self) -> &'static str {
        match self {
            Self::Folder => "folder",
            Self::Flat => "flat",
            Self::Tar => "tar",
            Self::Webdataset => "webdataset",
            Self::Parquet => "parquet",
            Self::Manifest => "manifest",
            Self::Cifar10 => "cifar10",
            Self::Cifar100 => "cifar100",
            Self::Memory => "memory",
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A name that is not the name of a format.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
#[error(
    "unknown format `{0}`; expected folder, flat, tar, webdataset, parquet, manifest, cifar10 or cifar100"
)]
pub struct ParseFormatError(String);

impl FromStr for Format {
    type Err = ParseFormatError;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let mut all = Self::ALL.into_iter();
        all.find(|format| format.name() == name)
            .ok_or_else(|| ParseFormatError(name.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_and_flags_use_the_same_names() {
        for format in Format::ALL {
            assert_eq!(format.to_string().parse(), Ok(format));
            let json = serde_json::to_string(&format).unwrap();
            assert_eq!(json, format!("\"{format}\""));
        }
        let error = "zip".parse::<Format>().unwrap_err().to_string();
        for format in Format::ALL {
            assert!(error.contains(format.name()), "{error}");
        }
    }
}
