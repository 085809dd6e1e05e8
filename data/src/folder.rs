//! Images that are files.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use topk_files::excerpt;

use crate::image_set::{Listing, Storage, check_size};
use crate::regions::MAX_IMAGE_BYTES;
use crate::walk::{self, Entries};
use crate::{DataError, Findings, Format, Image, Options, Sample, Split};
use topk_labels::Classes;
use topk_labels::{LabelError, LabelList};

/// Where Kaggle's archive of ImageNet has its folders of splits.
const KAGGLE: &str = "ILSVRC/Data/CLS-LOC";

/// ImageNet's development kit, which may lie beside the folders of splits.
const DEVKIT: &str = "ILSVRC2012_devkit_t12";

/// The folder of a split in a folder that has nothing but splits, or in Kaggle's archive; else `path`.
pub(crate) fn of_split(path: &Path, split: Split) -> Result<PathBuf, DataError> {
    let kaggle = path.join(KAGGLE);
    let path = if kaggle.is_dir() { &kaggle } else { path };
    let folders = Entries::of(path)?.folders;
    if !are_splits(&folders) {
        return Ok(path.to_owned());
    }
    let mut names = split.names().iter();
    let found = names.find(|name| folders.iter().any(|folder| folder == *name));
    Ok(found.map_or_else(|| path.to_owned(), |name| path.join(name)))
}

fn are_splits(folders: &[String]) -> bool {
    let all = [Split::Train, Split::Test].map(Split::names).concat();
    let mut folders = folders.iter().filter(|folder| *folder != DEVKIT).peekable();
    folders.peek().is_some() && folders.all(|folder| all.contains(&folder.as_str()))
}

/// Refuses folders of splits as classes, which they would be where the split is missing that is wanted.
pub(crate) fn check_splits(path: &Path, folders: &[String], split: Split) -> Result<(), DataError> {
    if !are_splits(folders) {
        return Ok(());
    }
    Err(DataError::NoSplit {
        path: path.to_owned(),
        split,
        found: excerpt(&folders.join(", ")),
    })
}

/// Lists class folders.
pub(crate) fn list(
    path: &Path,
    options: &Options,
    findings: &mut Findings,
) -> Result<Listing, DataError> {
    let path = of_split(path, options.split)?;
    let Entries { files, mut folders } = Entries::of(&path)?;
    findings.ignored.extend(files);
    // Their own metadata: `lost+found` of a disk, `__MACOSX` of an archive.
    folders.retain(|name| name != "lost+found" && name != "__MACOSX");
    check_splits(&path, &folders, options.split)?;
    let (classes, labels) = Classes::of_folders(&path, &folders, options.class_map.is_some())?;
    let mut folders: Vec<(u32, String)> = labels.into_iter().zip(folders).collect();
    folders.sort_unstable();
    let mut samples = Vec::new();
    for (label, folder) in folders {
        let images = walk::images(&path, &folder, findings)?;
        if images.is_empty() {
            findings.empty_classes.push(folder);
        }
        samples.extend(images.into_iter().map(|name| Sample {
            name,
            label: Some(label),
            place: 0,
        }));
    }
    if samples.is_empty() {
        let expected = "one folder a class, with images in it";
        return Err(DataError::NoImages {
            path,
            format: Format::Folder,
            expected,
        });
    }
    // As torchvision: folders that are no classes would shift the labels of those that are.
    let ranked = matches!(classes, Classes::Named(_)) && options.class_map.is_none();
    if ranked && !findings.empty_classes.is_empty() {
        let names = excerpt(&findings.empty_classes.join(", "));
        let reason = format!("there are no images in {names}");
        return Err(LabelError::ClassFolders { path, reason }.into());
    }
    let storage = Storage::Folder(path.clone());
    Ok(Listing {
        path,
        labels: None,
        classes,
        samples,
        storage,
    })
}

/// Lists all images below a folder, with the labels of a file.
pub(crate) fn list_flat(
    path: &Path,
    options: &Options,
    findings: &mut Findings,
) -> Result<Listing, DataError> {
    let path = of_split(path, options.split)?;
    let mut names = walk::images(&path, "", findings)?;
    names.sort_unstable();
    if names.is_empty() {
        let expected = "a folder with images in it";
        return Err(DataError::NoImages {
            path,
            format: Format::Flat,
            expected,
        });
    }
    let labels = options.labels.clone().or_else(|| LabelList::find(&path));
    let name = |name| Sample {
        name,
        label: None,
        place: 0,
    };
    let mut samples: Vec<Sample> = names.into_iter().map(name).collect();
    let classes = label(&path, &mut samples, labels.as_deref(), findings)?;
    if let Some(list) = &labels {
        let list = list.file_name();
        findings
            .ignored
            .retain(|file| list.is_none_or(|list| list != file.as_str()));
    }
    let storage = Storage::Folder(path.clone());
    Ok(Listing {
        path,
        labels,
        classes,
        samples,
        storage,
    })
}

/// Gives images the labels of a list, if there is one.
pub(crate) fn label(
    path: &Path,
    samples: &mut [Sample],
    list: Option<&Path>,
    findings: &mut Findings,
) -> Result<Classes, DataError> {
    let Some(list) = list else {
        return Ok(Classes::Numbered(0));
    };
    let list = LabelList::read(list)?;
    let names: Vec<&str> = samples.iter().map(|sample| sample.name.as_str()).collect();
    let matched = list.labels(path, &names)?;
    findings.labels_without_image.extend(matched.unused);
    for (sample, label) in samples.iter_mut().zip(matched.labels) {
        sample.label = label;
    }
    Ok(list.classes().clone())
}

/// Reads a file.
pub(crate) fn read(root: &Path, name: &str) -> Result<Image, DataError> {
    let path = root.join(name);
    let file = File::open(&path).map_err(DataError::io(&path))?;
    let size = file.metadata().map_err(DataError::io(&path))?.len();
    check_size(root, name, size)?;
    let mut bytes = Vec::with_capacity(size as usize);
    // The file may grow meanwhile, or be no file at all.
    let mut file = file.take(MAX_IMAGE_BYTES + 1);
    file.read_to_end(&mut bytes).map_err(DataError::io(&path))?;
    check_size(root, name, bytes.len() as u64)?;
    Ok(Image::Encoded(bytes))
}
