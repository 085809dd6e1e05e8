//! The images that a format finds at a path.

use std::path::{Path, PathBuf};

use topk_labels::{Classes, LabelError, LabelList, Matched};

use crate::sample::Sample;
use crate::store::Store;
use crate::{DataError, Options, Split, Warnings, storage};

/// The images of a data set, in order.
#[derive(Debug)]
pub(crate) struct Listing {
    pub path: PathBuf,
    pub labels: Option<PathBuf>,
    pub classes: Classes,
    pub samples: Vec<Sample>,
    pub store: Box<dyn Store>,
}

/// Sets the labels of the images at `path` from a list: the given one, or one at a usual path in or above
/// `folder`. Returns the classes and the list.
pub(crate) fn label(
    path: &Path,
    folder: &Path,
    samples: &mut [Sample],
    options: &Options,
    warnings: &mut Warnings,
) -> Result<(Classes, Option<PathBuf>), DataError> {
    let names: Vec<String> = samples.iter().map(|sample| sample.name.clone()).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut apply = |list: &LabelList, matched: Matched, warnings: &mut Warnings| {
        warnings.labels_without_image.extend(matched.unused);
        for (sample, label) in samples.iter_mut().zip(matched.labels) {
            sample.label = label;
        }
        let file = list.path().file_name().unwrap_or_default();
        for decision in list.decisions() {
            warnings.decide(format!("{}: {decision}", file.to_string_lossy()));
        }
        list.classes().clone()
    };
    if let Some(path_of_list) = &options.labels {
        let list = LabelList::read(&storage::local(path_of_list)?, &names)?;
        let matched = list.labels(path, &names)?;
        return Ok((apply(&list, matched, warnings), Some(path_of_list.clone())));
    }
    // A file of this name may be something else, such as the names of classes.
    let mut unusable = Vec::new();
    for file in LabelList::find(folder) {
        let read = LabelList::read(&file, &names);
        let read = read.and_then(|list| Ok((list.labels(path, &names)?, list)));
        match read {
            Ok((matched, list)) => {
                for (file, error) in unusable {
                    let file: PathBuf = file;
                    let error: LabelError = error;
                    warnings.decide(format!(
                        "{} is not used as a list of labels: {error}",
                        file.file_name().unwrap_or_default().to_string_lossy()
                    ));
                }
                return Ok((apply(&list, matched, warnings), Some(file)));
            }
            // The test images of many data sets have no labels, but a list for others is beside them.
            Err(LabelError::NoMatch { .. } | LabelError::NoNumber { .. })
                if options.split == Split::Test => {}
            Err(error) => unusable.push((file, error)),
        }
    }
    match unusable.into_iter().next() {
        Some((_, error)) => Err(error.into()),
        None => Ok((Classes::Numbered(0), None)),
    }
}
