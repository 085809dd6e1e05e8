//! Images that are files.

use std::fs::{self, File};
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};

use topk_files::excerpt;
use topk_labels::imagenet::{class_of_wnid, is_wnid};
use topk_labels::{Classes, LabelError};

use crate::listing::{Listing, label};
use crate::sample::{Image, Sample};
use crate::split_folder::{check_requested, of_split};
use crate::storage::{self, Source};
use crate::store::{MAX_IMAGE_BYTES, Store, check_size};
use crate::walk::{self, Entries, is_image};
use crate::{DataError, Format, Options, Warnings};

/// The files in this folder with the names of the samples.
#[derive(Debug)]
pub(crate) struct Files(PathBuf);

impl Files {
    /// Files whose names are paths below this folder, or absolute.
    pub fn below(folder: &Path) -> Self {
        Self(folder.to_owned())
    }
}

/// Lists class folders.
pub(crate) fn list(
    path: &Path,
    options: &Options,
    warnings: &mut Warnings,
) -> Result<Listing, DataError> {
    let path = of_split(path, options, warnings)?;
    check_requested(&path, options)?;
    let Entries { files, mut folders } = Entries::of(&path)?;
    let (images, files): (Vec<_>, Vec<_>) = files.into_iter().partition(|file| is_image(file));
    warnings.beside_classes.extend(images);
    warnings.ignored.extend(files);
    if options.class_map.is_none() && folders.iter().any(|name| class_of_wnid(name).is_some()) {
        drop_other_folders(&path, &mut folders, warnings)?;
    }
    let named = Classes::of_folders(&path, &folders, options.class_map.is_some())?;
    let (classes, labels) = (named.classes, named.labels);
    named
        .decision
        .into_iter()
        .for_each(|line| warnings.decide(line));
    let mut folders: Vec<(u32, String)> = labels.into_iter().zip(folders).collect();
    folders.sort_unstable();
    let mut samples = Vec::new();
    for (label, folder) in folders {
        let images = walk::images(&path, &folder, warnings)?;
        if images.is_empty() {
            warnings.empty_classes.push(folder);
        }
        samples.extend(images.into_iter().map(|name| Sample {
            name,
            label: Some(label),
            slot: 0,
        }));
    }
    if samples.is_empty() {
        let expected = "one folder of images per class";
        return Err(DataError::no_images(&path, Format::Folder, expected));
    }
    // As torchvision: folders that are not classes would shift the labels of those that are.
    let ranked = matches!(classes, Classes::Named(_)) && options.class_map.is_none();
    if ranked && !options.allow_empty_classes {
        check_empty_classes(&path, warnings)?;
    }
    Ok(Listing {
        store: Box::new(Files(path.clone())),
        path,
        labels: None,
        classes,
        samples,
    })
}

/// Leaves out folders without images beside those of ImageNet's classes, such as `annotations`.
fn drop_other_folders(
    path: &Path,
    folders: &mut Vec<String>,
    warnings: &mut Warnings,
) -> Result<(), DataError> {
    let mut others = Vec::new();
    for folder in folders.iter().filter(|name| !is_wnid(name)) {
        if !walk::has_images(&path.join(folder))? {
            others.push(folder.clone());
        }
    }
    if !others.is_empty() {
        folders.retain(|name| !others.contains(name));
        let others = excerpt(&others.join(", "));
        warnings.decide(format!("folders without images are not classes: {others}"));
    }
    Ok(())
}

/// Checks that no class folder is empty.
pub(crate) fn check_empty_classes(path: &Path, warnings: &Warnings) -> Result<(), DataError> {
    if warnings.empty_classes.is_empty() {
        return Ok(());
    }
    let names = excerpt(&warnings.empty_classes.join(", "));
    Err(LabelError::ClassFolders {
        path: path.to_owned(),
        reason: format!("there are no images in {names}"),
    }
    .into())
}

/// Lists all images below a folder, with the labels of a list.
pub(crate) fn list_flat(
    path: &Path,
    options: &Options,
    warnings: &mut Warnings,
) -> Result<Listing, DataError> {
    let path = of_split(path, options, warnings)?;
    check_requested(&path, options)?;
    let mut names = walk::images(&path, "", warnings)?;
    names.sort_unstable();
    if names.is_empty() {
        let expected = "a folder of images";
        return Err(DataError::no_images(&path, Format::Flat, expected));
    }
    let name = |name| Sample {
        name,
        label: None,
        slot: 0,
    };
    let mut samples: Vec<Sample> = names.into_iter().map(name).collect();
    let (classes, labels) = label(&path, &path, &mut samples, options, warnings)?;
    if let Some(list) = &labels {
        let list = list.file_name();
        warnings
            .ignored
            .retain(|file| list.is_none_or(|list| list != file.as_str()));
    }
    Ok(Listing {
        store: Box::new(Files(path.clone())),
        path,
        labels,
        classes,
        samples,
    })
}

impl Store for Files {
    fn read(&self, Sample { name, .. }: &Sample) -> Result<Image, DataError> {
        let Self(root) = self;
        let path = root.join(name);
        if storage::is_remote(&path) {
            let object = Source::open(&path)?;
            let size = object.size(&path)?;
            check_size(root, name, size)?;
            return Ok(Image::Encoded(object.read_at(&path, 0, size as usize)?));
        }
        let file = File::open(&path).map_err(DataError::io(&path))?;
        let size = file.metadata().map_err(DataError::io(&path))?.len();
        check_size(root, name, size)?;
        let mut bytes = Vec::with_capacity(size as usize);
        // The file may grow meanwhile, or not be a regular file.
        let mut file = file.take(MAX_IMAGE_BYTES + 1);
        file.read_to_end(&mut bytes).map_err(DataError::io(&path))?;
        check_size(root, name, bytes.len() as u64)?;
        Ok(Image::Encoded(bytes))
    }

    fn size(&self, sample: &Sample) -> Result<u64, DataError> {
        let path = self.0.join(&sample.name);
        if storage::is_remote(&path) {
            return Source::open(&path)?.size(&path);
        }
        match fs::metadata(&path) {
            Ok(metadata) => Ok(metadata.len()),
            // A link without a target, which is found when the image is read.
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(0),
            Err(error) => Err(DataError::io(path)(error)),
        }
    }

    fn read_ahead(&self, samples: &mut dyn Iterator<Item = &Sample>) {
        let Self(root) = self;
        if !storage::is_remote(root) {
            return;
        }
        for sample in samples {
            let path = root.join(&sample.name);
            // Whoever reads the image reports the error.
            let Ok(object) = Source::open(&path) else {
                return;
            };
            let Ok(size) = object.size(&path) else { return };
            object.read_ahead(0..size);
        }
    }
}
