use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use topk_files::excerpt;

use serde::Serialize;
use topk_files::Hasher;

use crate::regions::{MAX_IMAGE_BYTES, Regions};
use crate::tables::Tables;
use crate::{DataError, Findings, Format, Split, detect, folder};
use topk_labels::ClassMap;
use topk_labels::Classes;

/// How a data set is to be read, where its path does not say.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The format, instead of what [`Format::detect`] finds.
    pub format: Option<Format>,
    /// The part to be read, where a path holds several.
    pub split: Split,
    /// File of labels for images in a folder or a tar file, instead of one that lies beside them.
    pub labels: Option<PathBuf>,
    /// Class map, as timm has it: see [`ImageSet::open`].
    pub class_map: Option<PathBuf>,
}

/// An image of a data set, without its pixels.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Sample {
    /// Its name, which no other has: the path within the folder or archive.
    pub name: String,
    /// Its class, if that is known: an index into the [`Classes`].
    pub label: Option<u32>,
    /// Index in the storage.
    pub(crate) place: usize,
}

/// An image as it is stored.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Image {
    /// The bytes of a JPEG, PNG or other file.
    Encoded(Vec<u8>),
    /// Pixels.
    Pixels {
        /// Channels, height and width.
        shape: [usize; 3],
        /// The pixels, CHW, red first.
        pixels: Vec<u8>,
    },
}

/// A list of images with their labels. Images are read one at a time, by any number of threads; no more
/// of them is kept in memory than what the format needs for that (see [`Format`]).
#[derive(Debug)]
pub struct ImageSet {
    path: PathBuf,
    format: Format,
    labels: Option<PathBuf>,
    classes: Classes,
    samples: Vec<Sample>,
    findings: Findings,
    storage: Storage,
}

/// A data set in a few words.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Description {
    /// The folder or file that was read.
    pub path: PathBuf,
    /// Its format.
    pub format: Format,
    /// The file of labels, if there is one.
    pub labels: Option<PathBuf>,
    /// Number of images.
    pub images: usize,
    /// Number of those with a label.
    pub labelled: usize,
    /// Number of classes, as far as is known.
    pub classes: usize,
}

/// What a format finds.
#[derive(Debug)]
pub(crate) struct Listing {
    pub path: PathBuf,
    pub labels: Option<PathBuf>,
    pub classes: Classes,
    pub samples: Vec<Sample>,
    pub storage: Storage,
}

/// Where images are read from.
#[derive(Debug)]
pub(crate) enum Storage {
    /// Files in this folder under the names of the samples.
    Folder(PathBuf),
    /// Parts of files.
    Regions(Regions),
    /// Rows of tables.
    Tables(Tables),
}

impl ImageSet {
    /// Lists the images of a data set, in this order: class folders, and archives of classes, by class,
    /// and then as torchvision's `ImageFolder`; other folders by name; other archives as the images lie
    /// in them, shards by name.
    ///
    /// The class map is a text file with a class a line, by its folder, wnid, name or number; the class
    /// gets the number of the line, from 0, or that which stands after the name. Images of other
    /// classes are left out, as timm does.
    ///
    /// # Errors
    /// If nothing is recognised, a file is damaged, or labels are wrong or contradict each other.
    pub fn open(path: &Path, options: &Options) -> Result<Self, DataError> {
        let format = match options.format {
            Some(format) => format,
            None => Format::detect(path, options)?,
        };
        if let Some(labels) = &options.labels
            && !matches!(format, Format::Flat | Format::Tar)
        {
            let (path, labels) = (path.to_owned(), labels.clone());
            return Err(DataError::OwnLabels {
                path,
                labels,
                format,
            });
        }
        let mut findings = Findings::default();
        let listing = detect::list(format, path, options, &mut findings)?;
        let Listing {
            path,
            labels,
            classes,
            samples,
            storage,
        } = listing;
        let mut set = Self {
            path,
            format,
            labels,
            classes,
            samples,
            findings,
            storage,
        };
        set.check_names()?;
        if let Some(map) = &options.class_map {
            set.map_classes(&ClassMap::read(map)?, map)?;
        }
        Ok(set)
    }

    /// How the data lies on disk.
    pub fn format(&self) -> Format {
        self.format
    }

    /// What the labels mean.
    pub fn classes(&self) -> &Classes {
        &self.classes
    }

    /// The images, in order.
    pub fn samples(&self) -> &[Sample] {
        &self.samples
    }

    /// Number of images.
    pub fn len(&self) -> usize {
        self.samples.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.samples.is_empty()
    }

    /// Number of labelled images of each class. There may be classes of which there are none.
    pub fn class_counts(&self) -> Vec<usize> {
        let mut counts = vec![0; self.classes.len()];
        for label in self.samples.iter().filter_map(|sample| sample.label) {
            counts[label as usize] += 1;
        }
        counts
    }

    /// What was noticed, and is no error.
    pub fn findings(&self) -> &Findings {
        &self.findings
    }

    /// The data set in a few words.
    pub fn description(&self) -> Description {
        Description {
            path: self.path.clone(),
            format: self.format,
            labels: self.labels.clone(),
            images: self.samples.len(),
            labelled: self
                .samples
                .iter()
                .filter(|sample| sample.label.is_some())
                .count(),
            classes: self.classes.len(),
        }
    }

    /// Reads an image.
    ///
    /// # Errors
    /// If that fails, or the image has more than 256 MiB.
    ///
    /// # Panics
    /// If there is no image of this index.
    pub fn read(&self, index: usize) -> Result<Image, DataError> {
        let sample = &self.samples[index];
        match &self.storage {
            Storage::Folder(root) => folder::read(root, &sample.name),
            Storage::Regions(regions) => regions.read(sample.place),
            Storage::Tables(tables) => tables.read(sample.place),
        }
    }

    /// SHA-256 that tells this data set from others: of the names, labels and sizes of all images, in
    /// order.
    ///
    /// What is hashed: for each image, the length of its name in bytes, the name, the label (−1 if
    /// there is none) and the size of the encoded image in bytes. Numbers are little-endian of 64 bits.
    /// The size is 0 in parquet files, where it would take reading the images.
    ///
    /// # Errors
    /// If the size of a file cannot be found out.
    pub fn sha256(&self) -> Result<String, DataError> {
        let mut hash = Hasher::default();
        for sample in &self.samples {
            let size = match &self.storage {
                Storage::Folder(root) => {
                    let path = root.join(&sample.name);
                    fs::metadata(&path).map_err(DataError::io(path))?.len()
                }
                Storage::Regions(regions) => regions.regions[sample.place].size,
                Storage::Tables(_) => 0,
            };
            self.hash_sample(&mut hash, sample, size);
        }
        Ok(hash.finish())
    }

    /// SHA-256 of the names, labels and contents of all images, in order: as [`sha256`](Self::sha256),
    /// with the size known for every format, and the bytes of the image after it. Reads everything.
    ///
    /// # Errors
    /// If an image cannot be read.
    pub fn contents_sha256(&self) -> Result<String, DataError> {
        let mut hash = Hasher::default();
        for (index, sample) in self.samples.iter().enumerate() {
            let image = self.read(index)?;
            let (Image::Encoded(bytes) | Image::Pixels { pixels: bytes, .. }) = image;
            self.hash_sample(&mut hash, sample, bytes.len() as u64);
            hash.update(&bytes);
        }
        Ok(hash.finish())
    }

    fn hash_sample(&self, hash: &mut Hasher, sample: &Sample, size: u64) {
        hash.update((sample.name.len() as u64).to_le_bytes());
        hash.update(&sample.name);
        hash.update(sample.label.map_or(-1, i64::from).to_le_bytes());
        hash.update(size.to_le_bytes());
    }

    fn check_names(&self) -> Result<(), DataError> {
        let mut names: Vec<&str> = self.samples.iter().map(|s| s.name.as_str()).collect();
        names.sort_unstable();
        match names.windows(2).find(|pair| pair[0] == pair[1]) {
            None => Ok(()),
            Some(pair) => Err(DataError::Duplicate {
                path: self.path.clone(),
                name: excerpt(pair[0]),
            }),
        }
    }

    /// Gives images the labels of the class map.
    fn map_classes(&mut self, map: &ClassMap, path: &Path) -> Result<(), DataError> {
        let mut classes: Vec<u32> = self.samples.iter().filter_map(|s| s.label).collect();
        classes.sort_unstable();
        classes.dedup();
        let mapped = |class: &u32| {
            let (key, name) = (self.classes.key(*class), self.classes.name(*class));
            let mapped = map.get(&key).or_else(|| map.get(&name));
            mapped.or_else(|| map.get(&class.to_string()))
        };
        let mapped: Vec<Option<u32>> = classes.iter().map(mapped).collect();
        if mapped.iter().all(Option::is_none) {
            return Err(DataError::NoClasses {
                path: self.path.clone(),
                map: path.to_owned(),
                class: classes
                    .first()
                    .map_or_else(String::new, |&class| excerpt(&self.classes.key(class))),
            });
        }
        let findings = &mut self.findings;
        self.samples.retain_mut(|sample| {
            if let Some(label) = sample.label {
                let place = classes
                    .binary_search(&label)
                    .expect("all labels are listed");
                let Some(label) = mapped[place] else {
                    findings.unmapped.push(std::mem::take(&mut sample.name));
                    return false;
                };
                sample.label = Some(label);
            }
            true
        });
        self.classes = map.classes();
        Ok(())
    }
}

impl fmt::Display for Description {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            path,
            format,
            images,
            labelled,
            classes,
            ..
        } = self;
        write!(f, "{} ({format}): {images} images", path.display())?;
        if labelled < images {
            write!(f, ", {labelled} with a label")?;
        }
        write!(f, ", {classes} classes")?;
        match &self.labels {
            Some(labels) => write!(f, ", labels from {}", labels.display()),
            None => Ok(()),
        }
    }
}

/// The bytes of an image file, if it is not too large.
pub(crate) fn check_size(path: &Path, name: &str, size: u64) -> Result<(), DataError> {
    if size <= MAX_IMAGE_BYTES {
        return Ok(());
    }
    Err(DataError::TooLarge {
        path: path.to_owned(),
        name: excerpt(name),
        size,
        limit: MAX_IMAGE_BYTES,
    })
}
