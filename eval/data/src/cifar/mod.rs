//! CIFAR-10 and CIFAR-100 in their binary versions (Krizhevsky, 2009,
//! <https://www.cs.toronto.edu/~kriz/cifar.html>), or parts of them in the same layout.
//!
//! Records have one label (CIFAR-10) or a coarse and a fine one (CIFAR-100), and 3 × 32 × 32 pixels.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

use flate2::bufread::MultiGzDecoder;

use crate::classes::Classes;
use crate::image_set::{Listing, Storage};
use crate::regions::{Container, Region, Regions};
use crate::tar::{Members, Stream};
use crate::walk::file_name;
use crate::{DataError, Sample, Split};

/// Channels, height and width.
pub(crate) const SHAPE: [usize; 3] = [3, 32, 32];
const PIXELS: usize = 3 * 32 * 32;

/// Longest file that is unpacked: CIFAR-100's training images have 154 MB.
const MAX_UNPACKED: u64 = 1 << 28;
const MAX_NAMES: u64 = 1 << 16;

/// How the files of a data set are called, and their records made.
#[derive(Debug)]
pub(crate) struct Layout {
    name: &'static str,
    folder: &'static str,
    archive: &'static str,
    names: &'static str,
    train: &'static [&'static str],
    test: &'static [&'static str],
    /// Bytes before the pixels. The last is the label.
    labels: usize,
}

/// CIFAR-10.
pub(crate) const CIFAR10: Layout = Layout {
    name: "CIFAR-10",
    folder: "cifar-10-batches-bin",
    archive: "cifar-10-binary.tar.gz",
    names: "batches.meta.txt",
    train: &[
        "data_batch_1.bin",
        "data_batch_2.bin",
        "data_batch_3.bin",
        "data_batch_4.bin",
        "data_batch_5.bin",
    ],
    test: &["test_batch.bin"],
    labels: 1,
};

/// CIFAR-100, with its fine labels.
pub(crate) const CIFAR100: Layout = Layout {
    name: "CIFAR-100",
    folder: "cifar-100-binary",
    archive: "cifar-100-binary.tar.gz",
    names: "fine_label_names.txt",
    train: &["train.bin"],
    test: &["test.bin"],
    labels: 2,
};

/// The files of a split.
#[derive(Debug)]
pub(crate) struct Files {
    pub class_names: Vec<String>,
    containers: Vec<(&'static str, Container)>,
    layout: &'static Layout,
}

impl Layout {
    fn files(&self, split: Split) -> &'static [&'static str] {
        match split {
            Split::Train => self.train,
            Split::Test => self.test,
        }
    }

    /// Whether `path` is, or has, the folder that the archive unpacks to, or is the archive.
    pub fn is_at(&self, path: &Path) -> bool {
        self.folder(path).is_some()
            || is_gzip(path) && path.file_name().is_some_and(|name| name == self.archive)
    }

    /// The folder with the files: `root` itself, or that of the archive in it.
    fn folder(&self, root: &Path) -> Option<PathBuf> {
        let mut folders = [root.to_owned(), root.join(self.folder)].into_iter();
        let files = [self.train[0], self.test[0]];
        // CIFAR-100's files have names that others may have, too.
        folders.find(|folder| files.iter().any(|file| folder.join(file).is_file()))
    }

    /// Finds the files of a split in a folder, or unpacks them from the archive into memory.
    pub fn open(&'static self, root: &Path, split: Split) -> Result<Files, DataError> {
        if is_gzip(root) {
            return self.unpack(root, split);
        }
        let folder = self
            .folder(root)
            .ok_or_else(|| self.not_found(root, split))?;
        let names = folder.join(self.names);
        let mut text = String::new();
        let file = File::open(&names).map_err(DataError::io(&names))?;
        let read = file.take(MAX_NAMES).read_to_string(&mut text);
        read.map_err(DataError::io(&names))?;
        let container = |&file: &&'static str| (file, Container::File(folder.join(file)));
        let containers = self.files(split).iter().map(container).collect();
        Ok(Files {
            class_names: class_names(&text),
            containers,
            layout: self,
        })
    }

    fn unpack(&'static self, path: &Path, split: Split) -> Result<Files, DataError> {
        let archive = File::open(path).map_err(DataError::io(path))?;
        let unpacked = MultiGzDecoder::new(BufReader::new(archive));
        let mut members = Members::new(path, Stream(unpacked));
        let wanted = self.files(split);
        let mut names = None;
        let mut found: Vec<Option<Vec<u8>>> = vec![None; wanted.len()];
        while names.is_none() || found.iter().any(Option::is_none) {
            let missing = || self.not_found(path, split);
            let member = members.next()?.ok_or_else(missing)?;
            let name = file_name(&member.name);
            if name == self.names {
                let text = members.contents(MAX_NAMES)?;
                names = Some(class_names(&String::from_utf8_lossy(&text)));
            } else if let Some(file) = wanted.iter().position(|&file| file == name) {
                found[file] = Some(members.contents(MAX_UNPACKED)?);
            }
        }
        let container = |(&file, bytes): (&&'static str, Vec<u8>)| {
            (file, Container::Memory(path.join(file), bytes))
        };
        Ok(Files {
            class_names: names.unwrap_or_default(),
            containers: wanted
                .iter()
                .zip(found.into_iter().flatten())
                .map(container)
                .collect(),
            layout: self,
        })
    }

    fn not_found(&self, path: &Path, split: Split) -> DataError {
        DataError::NotFound {
            path: path.to_owned(),
            name: self.name,
            file: self.files(split)[0].to_owned(),
            archive: self.archive,
        }
    }
}

impl Files {
    /// Length of a record in bytes.
    fn record(&self) -> usize {
        self.layout.labels + PIXELS
    }

    /// Passes over the records, with the label and the pixels of each.
    pub fn records(&self, mut record: impl FnMut(u32, &[u8])) -> Result<(), DataError> {
        let mut bytes = vec![0; self.record()];
        for (_, container) in &self.containers {
            let path = container.path();
            let (reader, length) = container.open()?;
            if length == 0 {
                return Err(DataError::Empty(path.clone()));
            }
            if !length.is_multiple_of(bytes.len() as u64) {
                return Err(DataError::Truncated {
                    path: path.clone(),
                    length: length as usize,
                    record: bytes.len(),
                });
            }
            let mut reader = BufReader::new(reader);
            for index in 0..length / bytes.len() as u64 {
                reader.read_exact(&mut bytes).map_err(DataError::io(path))?;
                let (labels, pixels) = bytes.split_at(self.layout.labels);
                let label = labels[labels.len() - 1];
                if usize::from(label) >= self.class_names.len() {
                    return Err(DataError::Label {
                        path: path.clone(),
                        record: index as usize,
                        label: i64::from(label),
                        classes: self.class_names.len(),
                    });
                }
                record(u32::from(label), pixels);
            }
        }
        Ok(())
    }
}

/// Lists the images of a split. An image is called by its file and the number of its record.
pub(crate) fn list(
    layout: &'static Layout,
    path: &Path,
    split: Split,
) -> Result<Listing, DataError> {
    let files = layout.open(path, split)?;
    let mut labels = Vec::new();
    files.records(|label, _| labels.push(label))?;
    let record = files.record() as u64;
    let mut samples = Vec::with_capacity(labels.len());
    let mut regions = Vec::with_capacity(labels.len());
    for (container, (file, contents)) in (0..).zip(&files.containers) {
        let (_, length) = contents.open()?;
        for (number, start) in (0..length).step_by(record as usize).enumerate() {
            let (name, place) = (format!("{file}/{number:05}"), samples.len());
            samples.push(Sample {
                name,
                label: labels.get(place).copied(),
                place,
            });
            let offset = start + layout.labels as u64;
            regions.push(Region {
                container,
                offset,
                size: PIXELS as u64,
            });
        }
    }
    let containers = files
        .containers
        .into_iter()
        .map(|(_, container)| container)
        .collect();
    Ok(Listing {
        path: path.to_owned(),
        labels: None,
        classes: Classes::Named(files.class_names),
        samples,
        storage: Storage::Regions(Regions {
            containers,
            regions,
            shape: Some(SHAPE),
        }),
    })
}

/// Whether a path is a file that is compressed with gzip, by its name.
fn is_gzip(path: &Path) -> bool {
    let extension = path.extension();
    path.is_file() && extension.is_some_and(|extension| extension == "gz" || extension == "tgz")
}

fn class_names(text: &str) -> Vec<String> {
    let names = text.lines().map(str::trim).filter(|name| !name.is_empty());
    names.map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Format, Image, ImageSet, Options};
    use flate2::Compression;
    use flate2::write::GzEncoder;
    use std::fs;

    /// A record whose pixels are all `label` too.
    fn records(layout: &Layout, labels: &[u8]) -> Vec<u8> {
        let record = |&label| vec![label; layout.labels + PIXELS];
        labels.iter().flat_map(record).collect()
    }

    /// The files of a data set with 3 classes: as many images in each as it has a number.
    fn files(layout: &'static Layout) -> Vec<(&'static str, Vec<u8>)> {
        let mut files = vec![(layout.names, b"a\nb\nc\n\n".to_vec())];
        for (number, &file) in layout.train.iter().chain(layout.test).enumerate() {
            let labels: Vec<u8> = (0..=number as u8).map(|i| i % 3).collect();
            files.push((file, records(layout, &labels)));
        }
        files
    }

    fn packed(layout: &'static Layout) -> Vec<u8> {
        let mut builder = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::fast()));
        for (name, bytes) in files(layout) {
            let mut header = tar::Header::new_gnu();
            header.set_size(bytes.len() as u64);
            let name = format!("{}/{name}", layout.folder);
            builder
                .append_data(&mut header, name, bytes.as_slice())
                .unwrap();
        }
        builder.into_inner().unwrap().finish().unwrap()
    }

    #[test]
    fn folders_and_archives_have_the_same_images() {
        let formats = [(&CIFAR10, Format::Cifar10), (&CIFAR100, Format::Cifar100)];
        for (layout, format) in formats {
            let dir = tempfile::tempdir().unwrap();
            let folder = dir.path().join(layout.folder);
            fs::create_dir(&folder).unwrap();
            for (name, bytes) in files(layout) {
                fs::write(folder.join(name), bytes).unwrap();
            }
            let archive = dir.path().join(layout.archive);
            fs::write(&archive, packed(layout)).unwrap();
            for split in [Split::Train, Split::Test] {
                let options = Options {
                    split,
                    ..Options::default()
                };
                let open = |path: &Path| ImageSet::open(path, &options).unwrap();
                let sets = [open(&folder), open(dir.path()), open(&archive)];
                let expected: Vec<u32> = match (format, split) {
                    (Format::Cifar10, Split::Train) => {
                        vec![0, 0, 1, 0, 1, 2, 0, 1, 2, 0, 0, 1, 2, 0, 1]
                    }
                    (Format::Cifar10, Split::Test) => vec![0, 1, 2, 0, 1, 2],
                    (_, Split::Train) => vec![0],
                    (_, Split::Test) => vec![0, 1],
                };
                for set in sets {
                    assert_eq!(set.format(), format);
                    let labels: Vec<u32> = set.samples().iter().filter_map(|s| s.label).collect();
                    assert_eq!(labels, expected);
                    assert_eq!(set.classes().name(2), "c");
                    for (index, &label) in expected.iter().enumerate() {
                        let pixels = vec![label as u8; PIXELS];
                        assert_eq!(
                            set.read(index).unwrap(),
                            Image::Pixels {
                                shape: SHAPE,
                                pixels
                            }
                        );
                    }
                    let last = set.samples().last().unwrap();
                    let files = layout.files(split);
                    let in_file = expected.len() - (1..files.len()).sum::<usize>() - 1;
                    assert_eq!(
                        last.name,
                        format!("{}/{in_file:05}", files[files.len() - 1])
                    );
                }
            }
        }
    }

    #[test]
    fn archives_that_are_cut_off_or_others_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(CIFAR100.archive);
        let whole = packed(&CIFAR100);
        fs::write(&path, &whole[..whole.len() / 2]).unwrap();
        let options = Options::default();
        let error = ImageSet::open(&path, &options).unwrap_err().to_string();
        assert!(error.contains("cifar-100-binary.tar.gz"), "{error}");
        fs::write(&path, packed(&CIFAR10)).unwrap();
        let error = ImageSet::open(&path, &options).unwrap_err().to_string();
        assert!(
            error.contains("holds no CIFAR-100") && error.contains("test.bin"),
            "{error}"
        );
    }
}
