use std::path::PathBuf;

use crate::{Format, Split};

/// How a data set is read.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The format, instead of the detected one (see [`Format::detect`]).
    pub format: Option<Format>,
    /// The split that is read, if a path has several.
    pub split: Split,
    /// Whether it is an error if the path has no splits and is not named like this one.
    pub require_split: bool,
    /// List of labels for images in a folder or a tar file, instead of one that is found beside them.
    pub labels: Option<PathBuf>,
    /// Class map in timm's layout: see [`ImageSet::open`](crate::ImageSet::open).
    pub class_map: Option<PathBuf>,
    /// Whether folders without images may be classes, because their names are compared with those of a
    /// model. Otherwise they are an error where they would shift the indices of other classes.
    pub allow_empty_classes: bool,
}
