use std::path::PathBuf;

use crate::{Format, Split};

/// How a data set is read.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The format, instead of the detected one (see [`Format::detect`]).
    pub format: Option<Format>,
    /// The split that is read, if a path has several.
    pub split: Split,
    /// List of labels for images in a folder or a tar file, instead of one that is found beside them.
    pub labels: Option<PathBuf>,
    /// Class map in timm's layout: see [`ImageSet::open`](crate::ImageSet::open).
    pub class_map: Option<PathBuf>,
}
