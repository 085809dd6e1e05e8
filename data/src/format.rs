use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// How a data set lies on disk.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Format {
    /// A folder of folders, one a class.
    Folder,
    /// A folder of images, with a file of labels or without.
    Flat,
    /// One tar file of images, in class folders or with a file of labels; or ImageNet's training images
    /// as a tar file for each class, in a tar file or a folder.
    Tar,
    /// Tar files in which each image lies beside its label, as WebDataset has them.
    Webdataset,
    /// Parquet files as Hugging Face's `datasets` writes them. Up to eight places are kept in memory to
    /// read on from, each with a page and a dictionary; at worst, as pyarrow may write them, that is
    /// all images of a group of rows. Reading in random order decompresses that much for each image.
    Parquet,
    /// CIFAR-10 in its binary or Python version: a folder, or the `.tar.gz` file, whose images are then
    /// kept in memory.
    Cifar10,
    /// CIFAR-100, likewise, with its fine labels.
    Cifar100,
}

impl Format {
    /// All formats.
    pub const ALL: [Self; 7] = [
        Self::Folder,
        Self::Flat,
        Self::Tar,
        Self::Webdataset,
        Self::Parquet,
        Self::Cifar10,
        Self::Cifar100,
    ];

    /// Its name on command lines and in results.
    pub fn name(self) -> &'static str {
        match self {
            Self::Folder => "folder",
            Self::Flat => "flat",
            Self::Tar => "tar",
            Self::Webdataset => "webdataset",
            Self::Parquet => "parquet",
            Self::Cifar10 => "cifar10",
            Self::Cifar100 => "cifar100",
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A name that is no format's.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
#[error("`{0}` is no format: expected folder, flat, tar, webdataset, parquet, cifar10 or cifar100")]
pub struct ParseFormatError(String);

impl FromStr for Format {
    type Err = ParseFormatError;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let mut all = Self::ALL.into_iter();
        all.find(|format| format.name() == name)
            .ok_or_else(|| ParseFormatError(name.to_owned()))
    }
}

/// Part of a data set.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Split {
    /// What is trained on.
    Train,
    /// What is judged on: the test set, or the validation set of data whose test set has no labels.
    #[default]
    Test,
}

impl Split {
    /// Names under which the split is found, the preferred one first.
    pub(crate) fn names(self) -> &'static [&'static str] {
        match self {
            Self::Train => &["train", "training"],
            Self::Test => &["val", "validation", "valid", "test"],
        }
    }
}

impl fmt::Display for Split {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Train => "train",
            Self::Test => "test",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_the_same_everywhere() {
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
