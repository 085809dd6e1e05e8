//! Images that are files.

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use topk_files::excerpt;
use topk_labels::{Classes, LabelError, LabelList};

use crate::listing::{Listing, label};
use crate::sample::{Image, Sample};
use crate::split_folder::{check_splits, of_split};
use crate::store::{MAX_IMAGE_BYTES, Store, check_size};
use crate::walk::{self, Entries};
use crate::{DataError, Format, Options, Warnings};

/// The files in this folder with the names of the samples.
#[derive(Debug)]
struct Files(PathBuf);

/// Lists class folders.
pub(crate) fn list(
    path: &Path,
    options: &Options,
    warnings: &mut Warnings,
) -> Result<Listing, DataError> {
    let path = of_split(path, options.split)?;
    let Entries { files, mut folders } = Entries::of(&path)?;
    warnings.ignored.extend(files);
    // `lost+found` belongs to a file system, `__MACOSX` to an archive.
    folders.retain(|name| name != "lost+found" && name != "__MACOSX");
    check_splits(&path, &folders, options.split)?;
    let (classes, labels) = Classes::of_folders(&path, &folders, options.class_map.is_some())?;
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
    if ranked && !warnings.empty_classes.is_empty() {
        let names = excerpt(&warnings.empty_classes.join(", "));
        let reason = format!("there are no images in {names}");
        return Err(LabelError::ClassFolders { path, reason }.into());
    }
    Ok(Listing {
        store: Box::new(Files(path.clone())),
        path,
        labels: None,
        classes,
        samples,
    })
}

/// Lists all images below a folder, with the labels of a list.
pub(crate) fn list_flat(
    path: &Path,
    options: &Options,
    warnings: &mut Warnings,
) -> Result<Listing, DataError> {
    let path = of_split(path, options.split)?;
    let mut names = walk::images(&path, "", warnings)?;
    names.sort_unstable();
    if names.is_empty() {
        let expected = "a folder of images";
        return Err(DataError::no_images(&path, Format::Flat, expected));
    }
    let labels = options.labels.clone().or_else(|| LabelList::find(&path));
    let name = |name| Sample {
        name,
        label: None,
        slot: 0,
    };
    let mut samples: Vec<Sample> = names.into_iter().map(name).collect();
    let classes = label(&path, &mut samples, labels.as_deref(), warnings)?;
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
        Ok(fs::metadata(&path).map_err(DataError::io(path))?.len())
    }
}
