//! Detecting the format of a path.

use std::path::{Path, PathBuf};

use crate::listing::Listing;
use crate::walk::{self, Entries};
use crate::{
    DataError, Format, Options, Split, Warnings, archive, cifar, folder, shards, split_folder,
    tables, webdataset,
};
use topk_labels::imagenet;

/// The official archive of ImageNet for a split.
fn official(split: Split) -> &'static str {
    match split {
        Split::Train => "ILSVRC2012_img_train.tar",
        Split::Test => "ILSVRC2012_img_val.tar",
    }
}

impl Format {
    /// Detects the format of a path; tar files are recognised by their contents. With a list of labels,
    /// images in folders are [`Flat`](Format::Flat).
    ///
    /// # Errors
    /// If no format is recognised, or a file or folder cannot be read.
    pub fn detect(path: &Path, options: &Options) -> Result<Self, DataError> {
        let unrecognised = || DataError::Unrecognised {
            path: path.to_owned(),
        };
        let extension = path.extension().unwrap_or_default();
        if shards::is_pattern(path) {
            return match extension.to_str() {
                Some("tar") => Ok(Format::Webdataset),
                Some("parquet") => Ok(Format::Parquet),
                _ => Err(unrecognised()),
            };
        }
        if cifar::CIFAR100.is_at(path) {
            return Ok(Format::Cifar100);
        }
        if cifar::CIFAR10.is_at(path) {
            return Ok(Format::Cifar10);
        }
        if path.is_file() {
            return match extension.to_str() {
                Some("tar") if options.labels.is_none() && webdataset::is_shard(path)? => {
                    Ok(Format::Webdataset)
                }
                Some("tar") => Ok(Format::Tar),
                Some("parquet") => Ok(Format::Parquet),
                _ => Err(unrecognised()),
            };
        }
        let folder = split_folder::of_split(path, options.split)?;
        let Entries { files, folders } = Entries::of(&folder)?;
        let have = |extension: &str| {
            files
                .iter()
                .find(|file| Path::new(file).extension().is_some_and(|e| e == extension))
        };
        let data = folder.join("data");
        if options.labels.is_some() && walk::has_images(&folder)? {
            return Ok(Format::Flat);
        }
        if have("parquet").is_some() {
            return Ok(Format::Parquet);
        }
        if let Some(tar) = have("tar") {
            let one = files.iter().any(|file| file == official(options.split))
                || !webdataset::is_shard(&folder.join(tar))?;
            return Ok(if one { Format::Tar } else { Format::Webdataset });
        }
        split_folder::check_splits(&folder, &folders, options.split)?;
        for inner in &folders {
            if walk::has_images(&folder.join(inner))? {
                return Ok(Format::Folder);
            }
        }
        if files.iter().any(|file| walk::is_image(file)) {
            return Ok(Format::Flat);
        }
        if data.is_dir() {
            let files = Entries::of(&data)?.files;
            if files.iter().any(|file| file.ends_with(".parquet")) {
                return Ok(Format::Parquet);
            }
        }
        Err(unrecognised())
    }
}

/// Lists the images at a path in a format.
pub(crate) fn list(
    format: Format,
    path: &Path,
    options: &Options,
    warnings: &mut Warnings,
) -> Result<Listing, DataError> {
    match format {
        Format::Folder => folder::list(path, options, warnings),
        Format::Flat => folder::list_flat(path, options, warnings),
        Format::Tar => list_tar(path, options, warnings),
        Format::Webdataset => webdataset::list(path, options, warnings),
        Format::Cifar10 => cifar::CIFAR10.list(path, options.split),
        Format::Cifar100 => cifar::CIFAR100.list(path, options.split),
        Format::Parquet => tables::list(path, options),
    }
}

/// Lists the images of a tar file: the path itself, ImageNet's in a folder, or the only one in a folder; or
/// of the tar files of the classes in a folder, to which ImageNet's unpacks.
fn list_tar(path: &Path, options: &Options, warnings: &mut Warnings) -> Result<Listing, DataError> {
    if path.is_file() {
        return archive::list(path, options, warnings);
    }
    let folder = split_folder::of_split(path, options.split)?;
    let official = folder.join(official(options.split));
    if official.is_file() {
        return archive::list(&official, options, warnings);
    }
    let files = shards::files(&folder, Format::Tar, "tar", options.split)?;
    let is_class = |file: &PathBuf| {
        let stem = file.file_stem().and_then(|stem| stem.to_str());
        stem.is_some_and(imagenet::is_wnid)
    };
    match files.as_slice() {
        [file] if !is_class(file) => archive::list(file, options, warnings),
        files if files.iter().all(is_class) => {
            archive::list_classes(&folder, files, options, warnings)
        }
        _ => Err(DataError::no_images(
            &folder,
            Format::Tar,
            "one tar file, or those of ImageNet's classes, but there are several without labels \
             beside the images",
        )),
    }
}
