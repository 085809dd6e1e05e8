//! The images that a format finds at a path.

use std::path::{Path, PathBuf};

use topk_labels::{Classes, LabelList};

use crate::sample::Sample;
use crate::store::Store;
use crate::{DataError, Warnings};

/// The images of a data set, in order.
#[derive(Debug)]
pub(crate) struct Listing {
    pub path: PathBuf,
    pub labels: Option<PathBuf>,
    pub classes: Classes,
    pub samples: Vec<Sample>,
    pub store: Box<dyn Store>,
}

/// Sets the labels of the images at `path` from a list, if there is one, and returns the classes.
pub(crate) fn label(
    path: &Path,
    samples: &mut [Sample],
    list: Option<&Path>,
    warnings: &mut Warnings,
) -> Result<Classes, DataError> {
    let Some(list) = list else {
        return Ok(Classes::Numbered(0));
    };
    let list = LabelList::read(list)?;
    let names: Vec<&str> = samples.iter().map(|sample| sample.name.as_str()).collect();
    let matched = list.labels(path, &names)?;
    warnings.labels_without_image.extend(matched.unused);
    for (sample, label) in samples.iter_mut().zip(matched.labels) {
        sample.label = label;
    }
    Ok(list.classes().clone())
}
