//! Detecting the format of a path.

use std::path::{Path, PathBuf};

use topk_files::excerpt;

use crate::listing::Listing;
use crate::split::Part;
use crate::walk::{self, Entries};
use crate::{
    DataError, Format, Options, Split, Warnings, archive, cifar, folder, manifest, shards,
    split_folder, storage, tables, webdataset,
};
use topk_labels::{LabelList, Manifest, imagenet};

/// The official archive of ImageNet for a split.
fn official(split: Split) -> &'static str {
    match split {
        Split::Train => "ILSVRC2012_img_train.tar",
        Split::Val | Split::Test | Split::Evaluation => "ILSVRC2012_img_val.tar",
    }
}

impl Format {
    /// Detects the format of a path; tar files are recognised by their contents. With a list of labels,
    /// images in folders are [`Flat`](Format::Flat).
    ///
    /// # Errors
    /// If no format is recognised, several are, or a file or folder cannot be read.
    pub fn detect(path: &Path, options: &Options) -> Result<Self, DataError> {
        detect(path, options, &mut Warnings::default())
    }
}

/// Detects the format of a path, and records which of several it is.
pub(crate) fn detect(
    path: &Path,
    options: &Options,
    warnings: &mut Warnings,
) -> Result<Format, DataError> {
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
    if cifar::CIFAR100.is_at(path)? {
        return Ok(Format::Cifar100);
    }
    if cifar::CIFAR10.is_at(path)? {
        return Ok(Format::Cifar10);
    }
    if storage::is_file(path)? {
        DataError::check_placeholder(path)?;
        return match extension.to_str() {
            Some("tar") if options.labels.is_none() && webdataset::is_shard(path)? => {
                Ok(Format::Webdataset)
            }
            Some("tar") => Ok(Format::Tar),
            Some("parquet") => Ok(Format::Parquet),
            _ if Manifest::is_named(path) => Ok(Format::Manifest),
            _ => Err(unrecognised()),
        };
    }
    let folder = split_folder::of_split(path, options, warnings)?;
    if options.labels.is_some() && walk::has_images(&folder)? {
        return Ok(Format::Flat);
    }
    let found = Candidates::of(&folder, options)?;
    found.choose(&folder, warnings)?.ok_or_else(unrecognised)
}

/// What is in a folder that may be the data set.
struct Candidates {
    /// A parquet or tar file, and its format.
    archives: Vec<(String, Format)>,
    /// Folders with images.
    folders: Vec<String>,
    /// An image.
    image: Option<String>,
    /// A list of labels beside a single folder of images.
    list: Option<PathBuf>,
    /// Whether the folder `data` has parquet files.
    data: bool,
}

impl Candidates {
    fn of(folder: &Path, options: &Options) -> Result<Self, DataError> {
        let Entries { files, folders } = Entries::of(folder)?;
        let have = |extension: &str| {
            files
                .iter()
                .find(|file| Path::new(file).extension().is_some_and(|e| e == extension))
        };
        let mut with_images = Vec::new();
        for inner in folders {
            if walk::has_images(&folder.join(&inner))? {
                with_images.push(inner);
            }
        }
        let parquet = have("parquet").map(|file| (file.clone(), Format::Parquet));
        let mut archives = Vec::from_iter(parquet);
        if let Some(tar) = have("tar") {
            let official = files.iter().any(|file| file == official(options.split));
            // Which kind of archive it is does not matter where class folders are read.
            let one =
                official || with_images.is_empty() && !webdataset::is_shard(&folder.join(tar))?;
            let format = if one { Format::Tar } else { Format::Webdataset };
            archives.push((tar.clone(), format));
        }
        let list = match with_images.as_slice() {
            [inner] if !imagenet::is_wnid(inner) => LabelList::beside(folder),
            _ => None,
        };
        let data = folder.join("data");
        let data = storage::is_dir(&data)? && {
            let files = Entries::of(&data)?.files;
            files.iter().any(|file| file.ends_with(".parquet"))
        };
        Ok(Self {
            archives,
            folders: with_images,
            image: files.into_iter().find(|file| walk::is_image(file)),
            list,
            data,
        })
    }

    fn choose(&self, folder: &Path, warnings: &mut Warnings) -> Result<Option<Format>, DataError> {
        let several = |one: String, other: String, formats| DataError::SeveralFormats {
            path: folder.to_owned(),
            one,
            other,
            formats,
        };
        if let [(one, first), (other, second)] = self.archives.as_slice()
            && self.folders.is_empty()
        {
            return Err(several(excerpt(one), excerpt(other), [*first, *second]));
        }
        let archive = self.archives.first();
        if let (Some(list), [inner]) = (&self.list, self.folders.as_slice()) {
            let list = list.file_name().unwrap_or_default().to_string_lossy();
            warnings.decide(format!(
                "reading the images in {} with the labels in {}, not as a class folder",
                excerpt(inner),
                excerpt(&list)
            ));
            return Ok(Some(Format::Flat));
        }
        match (self.folders.as_slice(), archive) {
            ([], Some((archive, format))) => {
                if let Some(image) = &self.image {
                    warnings.decide(format!(
                        "reading {}, not the images beside it such as {} (--format flat reads those)",
                        excerpt(archive),
                        excerpt(image)
                    ));
                }
                Ok(Some(*format))
            }
            ([], None) if self.image.is_some() => Ok(Some(Format::Flat)),
            ([], None) => Ok(self.data.then_some(Format::Parquet)),
            // A single folder may be something that belongs to the archive.
            ([inner], Some((archive, format))) if !imagenet::is_wnid(inner) => Err(several(
                format!("the folder of images {}", excerpt(inner)),
                excerpt(archive),
                [Format::Folder, *format],
            )),
            (folders, _) => {
                let mut others: Vec<&str> = self
                    .archives
                    .iter()
                    .map(|(name, _)| name.as_str())
                    .collect();
                if self.data {
                    others.push("the Parquet files in data");
                }
                if !others.is_empty() {
                    warnings.decide(format!(
                        "reading the {} class folders, not {} (choose with --format)",
                        folders.len(),
                        excerpt(&others.join(", "))
                    ));
                }
                Ok(Some(Format::Folder))
            }
        }
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
        Format::Parquet => tables::list(path, options, warnings),
        Format::Memory => Err(DataError::NoImages {
            path: path.to_owned(),
            format,
            expected: "a format of files",
        }),
        Format::Manifest => manifest::list(path, options, warnings),
    }
}

/// Lists the images of a tar file: the path itself, ImageNet's in a folder, or the only one in a folder; or
/// of the tar files of the classes in a folder, to which ImageNet's unpacks.
fn list_tar(path: &Path, options: &Options, warnings: &mut Warnings) -> Result<Listing, DataError> {
    if storage::is_file(path)? {
        return archive::list(path, options, warnings);
    }
    let folder = split_folder::of_split(path, options, warnings)?;
    let official = folder.join(official(options.split));
    if storage::is_file(&official)? && options.split != Split::Test {
        return archive::list(&official, options, warnings);
    }
    let files = shards::files(&folder, Format::Tar, "tar", options, warnings)?;
    let stem = |file: &PathBuf| {
        let stem = file.file_stem().and_then(|stem| stem.to_str());
        stem.unwrap_or_default().to_owned()
    };
    let is_class = |file: &PathBuf| imagenet::is_wnid(&stem(file));
    match files.as_slice() {
        [file] if !is_class(file) => {
            // The name says which split it is; the archive need not have splits inside.
            let named = Part::of_file(&stem(file)).is_some();
            let options = Options {
                require_split: options.require_split && !named,
                ..options.clone()
            };
            archive::list(file, &options, warnings)
        }
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
