//! CIFAR-10 and CIFAR-100 in their binary and Python versions (Krizhevsky, 2009,
//! <https://www.cs.toronto.edu/~kriz/cifar.html>), or parts of them in the same layouts.

mod pickle;
#[cfg(test)]
mod tests;
mod versions;

use std::collections::HashMap;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

use flate2::bufread::MultiGzDecoder;

use crate::listing::Listing;
use crate::regions::{Container, Region, Regions, Runs};
use crate::sample::Sample;
use crate::storage::{self, Source};
use crate::tar::{Members, Stream};
use crate::walk::file_name;
use crate::{DataError, Split};
use topk_labels::Classes;
use versions::{Cifar, Encoding, MAX_BYTES, MAX_NAMES, PIXELS, SHAPE, Version};

pub(crate) use versions::{CIFAR10, CIFAR100};

/// The images of a file.
#[derive(Debug)]
struct Batch {
    labels: Vec<u32>,
    /// Position of the pixels of the first image in bytes.
    start: u64,
    /// Number of bytes from one image to the next.
    stride: u64,
}

impl Cifar {
    /// Whether `path` is an archive, the folder that it unpacks to, or the parent of that folder.
    pub fn is_at(&self, path: &Path) -> Result<bool, DataError> {
        if storage::is_file(path)? {
            let name = path.file_name();
            let is_archive = |version: &Version| name.is_some_and(|name| name == version.archive);
            return Ok(is_gzip(path)? && self.versions.iter().any(is_archive));
        }
        Ok(self.version_at(path)?.is_some())
    }

    /// The version in a folder, and the folder with its files.
    fn version_at(&self, path: &Path) -> Result<Option<(&Version, PathBuf)>, DataError> {
        for version in &self.versions {
            if let Some(folder) = version.folder(path)? {
                return Ok(Some((version, folder)));
            }
        }
        Ok(None)
    }

    /// Lists the images of a split, named by their file and their index in it.
    pub fn list(&self, path: &Path, split: Split) -> Result<Listing, DataError> {
        if split == Split::Val {
            return Err(DataError::NoSplit {
                path: path.to_owned(),
                split,
                found: "train, test".to_owned(),
            });
        }
        let packed = is_gzip(path)?;
        if packed {
            DataError::check_placeholder(path)?;
        }
        let (version, names, files) = if packed {
            self.unpack(path, split)?
        } else {
            self.find(path, split)?
        };
        let class_names = version.class_names(&names)?;
        let mut samples = Vec::new();
        let mut regions = Vec::new();
        for (container, (file, contents)) in (0..).zip(&files) {
            let batch = version.batch(contents, class_names.len())?;
            let starts = (batch.start..).step_by(batch.stride as usize);
            for (number, (label, offset)) in batch.labels.into_iter().zip(starts).enumerate() {
                samples.push(Sample {
                    name: format!("{file}/{number:05}"),
                    label: Some(label),
                    slot: regions.len(),
                });
                regions.push(Region {
                    container,
                    offset,
                    size: PIXELS as u64,
                });
            }
        }
        Ok(Listing {
            path: path.to_owned(),
            labels: None,
            classes: Classes::Named(class_names),
            samples,
            store: Box::new(Regions {
                containers: files.into_iter().map(|(_, contents)| contents).collect(),
                regions,
                shape: Some(SHAPE),
                runs: Runs::None,
            }),
        })
    }

    /// The version in a folder, its class names and the files of a split.
    fn find(&self, root: &Path, split: Split) -> Result<Found<'_>, DataError> {
        let found = self.version_at(root)?;
        let (version, folder) = found.ok_or_else(|| self.not_found(root, split))?;
        let container = |&file: &&'static str| {
            let path = folder.join(file);
            DataError::check_placeholder(&path)?;
            let opened = Source::open(&path)?;
            Ok((file, Container::Open(path, opened)))
        };
        let files: Result<_, DataError> = version.files(split).iter().map(container).collect();
        Ok((version, Container::File(folder.join(version.names)), files?))
    }

    /// The same for an archive, whose files are unpacked into memory.
    fn unpack(&self, path: &Path, split: Split) -> Result<Found<'_>, DataError> {
        let archive = Source::open(path)?.input();
        let unpacked = MultiGzDecoder::new(BufReader::new(archive));
        let mut members = Members::new(path, Stream(unpacked));
        let mut contents = HashMap::new();
        while let Some(member) = members.next()? {
            let mut wanted = self.versions.iter().flat_map(|v| v.needed(split));
            let name = file_name(&member.name);
            let Some(file) = wanted.find(|wanted| *wanted == name) else {
                continue;
            };
            contents.insert(file, members.contents(MAX_BYTES as u64)?);
            let mut versions = self.versions.iter();
            let complete =
                versions.find(|v| v.needed(split).all(|file| contents.contains_key(file)));
            if let Some(version) = complete {
                let mut container = |file| {
                    let bytes = contents.remove(file).unwrap_or_default();
                    Container::Memory(path.join(file), bytes)
                };
                let names = container(version.names);
                let files = version.files(split).iter();
                let files = files.map(|&file| (file, container(file))).collect();
                return Ok((version, names, files));
            }
        }
        Err(self.not_found(path, split))
    }

    fn not_found(&self, path: &Path, split: Split) -> DataError {
        DataError::NotFound {
            path: path.to_owned(),
            name: self.name,
            files: self.versions.each_ref().map(|v| v.files(split)[0]),
            archives: self.versions.each_ref().map(|v| v.archive),
        }
    }
}

/// A version, its class names, and its files of images by name.
type Found<'a> = (&'a Version, Container, Vec<(&'static str, Container)>);

impl Version {
    /// The folder with the files: `root` itself, or that of the archive in it.
    fn folder(&self, root: &Path) -> Result<Option<PathBuf>, DataError> {
        for folder in [root.to_owned(), root.join(self.folder)] {
            // The names of CIFAR-100's files are common, above all in Python.
            let is_file = |file: &str| storage::is_file(&folder.join(file));
            let named = matches!(self.encoding, Encoding::Records { .. }) || is_file(self.names)?;
            if named && (is_file(self.train[0])? || is_file(self.test[0])?) {
                return Ok(Some(folder));
            }
        }
        Ok(None)
    }

    fn class_names(&self, file: &Container) -> Result<Vec<String>, DataError> {
        let bytes = file.contents(MAX_NAMES as u64)?;
        match self.encoding {
            Encoding::Records { .. } => {
                let text = String::from_utf8_lossy(&bytes);
                let names = text.lines().map(str::trim).filter(|name| !name.is_empty());
                Ok(names.map(str::to_owned).collect())
            }
            Encoding::Pickle { names, .. } => {
                pickle::class_names(&bytes, names).map_err(|reason| unreadable(file, reason))
            }
        }
    }

    /// The positions of the images of a file, and their labels, all of which are below `classes`.
    fn batch(&self, file: &Container, classes: usize) -> Result<Batch, DataError> {
        let path = file.path();
        let checked = |(record, label): (usize, i64)| match u32::try_from(label) {
            Ok(class) if (class as usize) < classes => Ok(class),
            _ => Err(DataError::Label {
                path: path.clone(),
                record,
                label,
                classes,
            }),
        };
        match self.encoding {
            Encoding::Records { labels } => {
                let found = record_labels(file, labels)?;
                let found = found.into_iter().map(i64::from).enumerate();
                Ok(Batch {
                    labels: found.map(checked).collect::<Result<_, _>>()?,
                    start: labels as u64,
                    stride: (labels + PIXELS) as u64,
                })
            }
            Encoding::Pickle { labels, .. } => {
                let bytes = file.contents(MAX_BYTES as u64)?;
                let batch = pickle::batch(&bytes, labels);
                let (found, start) = batch.map_err(|reason| unreadable(file, reason))?;
                if found.is_empty() {
                    return Err(DataError::Empty(path.clone()));
                }
                Ok(Batch {
                    labels: found
                        .into_iter()
                        .enumerate()
                        .map(checked)
                        .collect::<Result<_, _>>()?,
                    start: start as u64,
                    stride: PIXELS as u64,
                })
            }
        }
    }
}

/// The last of the `labels` labels of each record.
fn record_labels(file: &Container, labels: usize) -> Result<Vec<u8>, DataError> {
    let path = file.path();
    let (reader, length) = file.open()?;
    let mut record = vec![0; labels + PIXELS];
    if length == 0 {
        return Err(DataError::Empty(path.clone()));
    }
    if !length.is_multiple_of(record.len() as u64) {
        return Err(DataError::Truncated {
            path: path.clone(),
            length: length as usize,
            record: record.len(),
        });
    }
    let mut reader = BufReader::with_capacity(1 << 16, reader);
    let mut found = Vec::new();
    for _ in 0..length / record.len() as u64 {
        reader
            .read_exact(&mut record)
            .map_err(DataError::io(path))?;
        found.push(record[labels - 1]);
    }
    Ok(found)
}

fn unreadable(file: &Container, reason: String) -> DataError {
    DataError::Cifar {
        path: file.path().clone(),
        reason,
    }
}

/// Whether a path is a file with an extension of gzip.
fn is_gzip(path: &Path) -> Result<bool, DataError> {
    let extension = path.extension();
    let named = extension.is_some_and(|extension| extension == "gz" || extension == "tgz");
    Ok(named && storage::is_file(path)?)
}
