//! Folders with one folder per split.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use topk_files::excerpt;

use crate::sample::Sample;
use crate::split::Part;
use crate::walk::{self, Entries};
use crate::{DataError, Options, Split, Warnings, storage};
use topk_labels::imagenet;

/// Path of the splits in Kaggle's archive of ImageNet.
const KAGGLE: &str = "ILSVRC/Data/CLS-LOC";

/// The folder of a split, if `path` contains folders of splits or Kaggle's archive; otherwise `path`.
pub(crate) fn of_split(
    path: &Path,
    options: &Options,
    warnings: &mut Warnings,
) -> Result<PathBuf, DataError> {
    let kaggle = path.join(KAGGLE);
    let path = if storage::is_dir(&kaggle)? {
        &kaggle
    } else {
        path
    };
    let Entries { files, folders } = Entries::of(path)?;
    let has_images = |folder: &str| walk::has_images(&path.join(folder));
    let names: Vec<&str> = folders.iter().map(String::as_str).collect();
    let Some(splits) = Splits::among(path, &names, options, has_images)? else {
        return match wrapped(path, files, &folders)? {
            Some(inner) => {
                warnings.decide(format!("reading the folders in {}", excerpt(inner)));
                of_split(&path.join(inner), options, warnings)
            }
            None => Ok(path.to_owned()),
        };
    };
    let folder = splits.choose(path, options.split, warnings)?;
    Ok(path.join(folder))
}

/// The only folder with images beside no files of data, if it contains the folders of splits or classes of
/// ImageNet, or has a name such as `images` and contains folders of images. Otherwise it is a class.
fn wrapped<'a>(
    path: &Path,
    files: Vec<String>,
    folders: &'a [String],
) -> Result<Option<&'a str>, DataError> {
    let is_data = |file: &String| {
        walk::is_image(file) || file.ends_with(".tar") || file.ends_with(".parquet")
    };
    // In folders of classes, the second one decides.
    if folders.is_empty() || files.iter().any(is_data) {
        return Ok(None);
    }
    let mut found = None;
    for folder in folders {
        if walk::has_images(&path.join(folder))? && found.replace(folder).is_some() {
            return Ok(None);
        }
    }
    let Some(outer) = found.filter(|name| !imagenet::is_wnid(name)) else {
        return Ok(None);
    };
    let Entries { files, folders } = Entries::of(&path.join(outer))?;
    let is_split = |name: &String| Part::of_folder(name).is_some_and(|part| part != Part::Other);
    let splits = folders.iter().any(is_split);
    let wnids = !folders.is_empty() && folders.iter().all(|name| imagenet::is_wnid(name));
    let classes = Part::is_filler(outer) && folders.len() > 1;
    let is_wrapper = !files.iter().any(is_data) && (splits || wnids || classes);
    Ok(is_wrapper.then_some(outer))
}

/// Checks that a path without splits is the one that was requested, if there was a request: `val` is read
/// as the split val.
pub(crate) fn check_requested(path: &Path, options: &Options) -> Result<(), DataError> {
    let name = path.file_stem().unwrap_or_default().to_string_lossy();
    let part = Part::of_folder(&name).or_else(|| Part::of_file(&name));
    if options.require_split && !part.is_some_and(|part| part.is_of(options.split)) {
        return Err(DataError::NoSplit {
            path: path.to_owned(),
            split: options.split,
            found: "images without splits".to_owned(),
        });
    }
    Ok(())
}

/// Leaves only the samples of the requested split, if the names of all samples have folders of splits below
/// those that all have in common. `name` is the part of a sample's name to consider.
pub(crate) fn retain_split(
    path: &Path,
    samples: &mut Vec<Sample>,
    options: &Options,
    warnings: &mut Warnings,
    name: impl Fn(&Sample) -> &str,
) -> Result<(), DataError> {
    let mut depth = 0;
    loop {
        let below = |sample: &Sample| {
            let name = name(sample);
            let rest = name.splitn(depth + 1, '/').nth(depth);
            let folder = rest.and_then(|rest| Some(rest.split_once('/')?.0));
            folder.unwrap_or("").to_owned()
        };
        let folders: BTreeSet<String> = samples.iter().map(below).collect();
        let names: Vec<&str> = folders.iter().map(String::as_str).collect();
        if let Some(splits) = Splits::among(path, &names, options, |_| Ok(true))? {
            let chosen = splits.choose(path, options.split, warnings)?.to_owned();
            samples.retain(|sample| below(sample) == chosen);
            return Ok(());
        }
        match names.as_slice() {
            [common] if !common.is_empty() && !imagenet::is_wnid(common) => depth += 1,
            _ => return check_requested(path, options),
        }
    }
}

/// Folders of splits.
struct Splits<'a>(Vec<(Part, &'a str)>);

impl<'a> Splits<'a> {
    /// The splits among folders; `None` if the folders are something else. Folders of splits beside folders
    /// of images are an error, because they may be classes.
    fn among(
        path: &Path,
        folders: &[&'a str],
        options: &Options,
        has_images: impl Fn(&str) -> Result<bool, DataError>,
    ) -> Result<Option<Self>, DataError> {
        let mut splits = Vec::new();
        let mut others = Vec::new();
        for &folder in folders {
            match Part::of_folder(folder) {
                Some(part) => splits.push((part, folder)),
                None => others.push(folder),
            }
        }
        let kinds: BTreeSet<Part> = splits.iter().map(|(part, _)| *part).collect();
        let kinds = kinds.iter().filter(|part| **part != Part::Other).count();
        if kinds == 0 {
            return Ok(None);
        }
        for other in others {
            if !has_images(other)? {
                continue;
            }
            if kinds < 2 || options.class_map.is_some() {
                return Ok(None);
            }
            return Err(DataError::MixedSplits {
                path: path.to_owned(),
                splits: excerpt(&Self(splits).names()),
                other: excerpt(other),
            });
        }
        Ok(Some(Self(splits)))
    }

    fn names(&self) -> String {
        let names: Vec<&str> = self.0.iter().map(|(_, folder)| *folder).collect();
        names.join(", ")
    }

    /// The folder of a split.
    fn choose(
        &self,
        path: &Path,
        split: Split,
        warnings: &mut Warnings,
    ) -> Result<&'a str, DataError> {
        let parts: Vec<Part> = self.0.iter().map(|(part, _)| *part).collect();
        let Some(part) = Part::chosen(split, &parts) else {
            return Err(DataError::NoSplit {
                path: path.to_owned(),
                split,
                found: excerpt(&self.names()),
            });
        };
        let is_chosen = |(found, folder): &(Part, &'a str)| (*found == part).then_some(*folder);
        let chosen: Vec<&str> = self.0.iter().filter_map(is_chosen).collect();
        if let [_, _, ..] = chosen[..] {
            return Err(DataError::SplitTwice {
                path: path.to_owned(),
                split: part.name(),
                found: excerpt(&chosen.join(", ")),
            });
        }
        let others: Vec<&str> = self.0.iter().map(|(_, folder)| *folder).collect();
        let others: Vec<&str> = others
            .into_iter()
            .filter(|name| *name != chosen[0])
            .collect();
        warnings.decide(read_split(part, chosen[0], &others.join(", ")));
        Ok(chosen[0])
    }
}

/// The line about a split that is read.
pub(crate) fn read_split(part: Part, chosen: &str, others: &str) -> String {
    let part = part.name();
    let chosen = excerpt(chosen);
    match others {
        "" => format!("split {part}: reading {chosen}"),
        others => format!("split {part}: reading {chosen}, not {}", excerpt(others)),
    }
}
