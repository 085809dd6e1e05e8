//! Which format a path has.

use std::path::{Path, PathBuf};

use crate::image_set::Listing;
use crate::walk::{self, Entries};
use crate::{
    DataError, Findings, Format, Options, Split, archive, cifar, folder, shards, webdataset,
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
    /// The format of what lies at a path; for tar files what is inside counts. With a file of labels,
    /// images in folders are [`Flat`](Format::Flat).
    ///
    /// # Errors
    /// If nothing is recognised, or a file or folder cannot be read.
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
        let folder = folder::of_split(path, options.split)?;
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
        folder::check_splits(&folder, &folders, options.split)?;
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
    findings: &mut Findings,
) -> Result<Listing, DataError> {
    match format {
        Format::Folder => folder::list(path, options, findings),
        Format::Flat => folder::list_flat(path, options, findings),
        Format::Tar => list_tar(path, options, findings),
        Format::Webdataset => webdataset::list(path, options, findings),
        Format::Cifar10 => cifar::CIFAR10.list(path, options.split),
        Format::Cifar100 => cifar::CIFAR100.list(path, options.split),
        Format::Parquet => crate::tables::list(path, options),
    }
}

/// Lists the images of the tar file that a path means: itself, the official one in a folder, or the only
/// one there; or of those of classes in a folder, to which one unpacks the official one.
fn list_tar(path: &Path, options: &Options, findings: &mut Findings) -> Result<Listing, DataError> {
    if path.is_file() {
        return archive::list(path, options, findings);
    }
    let folder = folder::of_split(path, options.split)?;
    let official = folder.join(official(options.split));
    if official.is_file() {
        return archive::list(&official, options, findings);
    }
    let files = shards::files(&folder, Format::Tar, "tar", options.split)?;
    let is_class = |file: &PathBuf| {
        let stem = file.file_stem().and_then(|stem| stem.to_str());
        stem.is_some_and(imagenet::is_wnid)
    };
    match files.as_slice() {
        [file] if !is_class(file) => archive::list(file, options, findings),
        files if files.iter().all(is_class) => {
            archive::list_classes(&folder, files, options, findings)
        }
        _ => Err(DataError::NoImages {
            path: folder,
            format: Format::Tar,
            expected: "one tar file, or those of ImageNet's classes, but there are several, without \
                       labels beside the images",
        }),
    }
}
