use std::fmt;
use std::path::{Path, PathBuf};

use serde::Serialize;
use topk_files::{Hasher, excerpt};
use topk_labels::{ClassMap, ClassMatcher, Classes};

use crate::listing::{self, Listing};
use crate::{DataError, Format, Image, Options, Sample, Warnings, detect, folder, shards, storage};

/// A list of images with their labels. Images are read one at a time, by any number of threads; no more
/// of them are kept in memory than the format requires (see [`Format`]).
#[derive(Debug)]
pub struct ImageSet {
    format: Format,
    listing: Listing,
    warnings: Warnings,
    /// Whether labels come from a class map.
    mapped: bool,
}

/// A summary of a data set.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Description {
    /// The folder or file that was read.
    pub path: PathBuf,
    /// Its format.
    pub format: Format,
    /// The list of labels, if there is one.
    pub labels: Option<PathBuf>,
    /// Number of images.
    pub images: usize,
    /// Number of images with a label.
    pub labelled: usize,
    /// Number of classes, as far as it is known.
    pub classes: usize,
}

impl ImageSet {
    /// Lists the images of a data set, in this order: class folders, and archives of classes, by class,
    /// and then as torchvision's `ImageFolder`; other folders by name; manifests and other archives in their
    /// own order, shards by name.
    ///
    /// The class map is a text file with one class per line, by its folder, wnid, name or number. The
    /// index of the class is the line number, from 0, or the number after the name. Images of other
    /// classes are left out, as by timm.
    ///
    /// # Errors
    /// If the format is not recognised, a file is damaged, or labels are invalid or contradict each other.
    pub fn open(path: &Path, options: &Options) -> Result<Self, DataError> {
        let mut warnings = Warnings::default();
        let path = &*storage::admit(path)?;
        if !shards::is_pattern(path) {
            storage::check_exists(path)?;
        }
        let options = &Options {
            labels: admitted(&options.labels)?,
            class_map: admitted(&options.class_map)?,
            ..options.clone()
        };
        let format = match options.format {
            Some(format) => format,
            None => detect::detect(path, options, &mut warnings)?,
        };
        let own_labels = !matches!(format, Format::Flat | Format::Tar);
        if let Some(labels) = &options.labels
            && matches!(
                format,
                Format::Folder | Format::Manifest | Format::Cifar10 | Format::Cifar100
            )
        {
            return Err(DataError::OwnLabels {
                path: path.to_owned(),
                labels: labels.clone(),
                format,
            });
        }
        let listing = detect::list(format, path, options, &mut warnings)?;
        let mut set = Self {
            format,
            listing,
            warnings,
            mapped: options.class_map.is_some(),
        };
        if let Some(labels) = options.labels.as_ref().filter(|_| own_labels) {
            set.label(path, labels, options)?;
        }
        set.check_names()?;
        if let Some(map) = &options.class_map {
            set.map_classes(&ClassMap::read(&storage::local(map)?)?, map)?;
        }
        Ok(set)
    }

    pub(crate) fn of_listing(format: Format, listing: Listing, warnings: Warnings) -> Self {
        Self {
            format,
            listing,
            warnings,
            mapped: false,
        }
    }

    /// The format.
    pub fn format(&self) -> Format {
        self.format
    }

    /// The classes that labels are indices of.
    pub fn classes(&self) -> &Classes {
        &self.listing.classes
    }

    /// The images, in order.
    pub fn samples(&self) -> &[Sample] {
        &self.listing.samples
    }

    /// Number of images.
    pub fn len(&self) -> usize {
        self.samples().len()
    }

    /// Whether there are no images.
    pub fn is_empty(&self) -> bool {
        self.samples().is_empty()
    }

    /// Number of labelled images of each class, which may be 0.
    pub fn class_counts(&self) -> Vec<usize> {
        let mut counts = vec![0; self.classes().len()];
        for label in self.samples().iter().filter_map(|sample| sample.label) {
            counts[label as usize] += 1;
        }
        counts
    }

    /// Peculiarities that are not errors.
    pub fn warnings(&self) -> &Warnings {
        &self.warnings
    }

    /// Whether labels are the indices of a class map.
    pub fn has_class_map(&self) -> bool {
        self.mapped
    }

    /// Numbers the classes that have labelled images, in their order, and leaves the others out.
    pub fn keep_present_classes(&mut self) {
        let counts = self.class_counts();
        let present: Vec<u32> = (0..counts.len() as u32)
            .filter(|&class| counts[class as usize] > 0)
            .collect();
        if present.len() == counts.len() {
            return;
        }
        let classes = &mut self.listing.classes;
        let names: Vec<String> = present
            .iter()
            .map(|&class| classes.unique_name(class))
            .collect();
        self.warnings.decide(format!(
            "{} of {} classes have images and are numbered in this order: {}",
            present.len(),
            counts.len(),
            excerpt(&names.join("; "))
        ));
        *classes = Classes::Named(names);
        for label in self
            .listing
            .samples
            .iter_mut()
            .filter_map(|s| s.label.as_mut())
        {
            *label = present.partition_point(|class| class < label) as u32;
        }
    }

    /// Gives the images labels of other classes, and leaves out those of classes for which `label` has none. Images
    /// without a label keep none.
    pub fn relabel(&mut self, classes: Classes, label: impl Fn(u32) -> Option<u32>) {
        self.listing.samples.retain_mut(|sample| {
            let Some(class) = sample.label else {
                return true;
            };
            sample.label = label(class);
            sample.label.is_some()
        });
        self.listing.classes = classes;
    }

    /// Adds a line to the decisions of [`warnings`](Self::warnings).
    pub fn decide(&mut self, decision: impl Into<String>) {
        self.warnings.decide(decision);
    }

    /// Gives the images the labels of other classes with the same wnids or names.
    ///
    /// # Errors
    /// The name of a class with images that the other classes lack, or that they have more than once.
    pub fn use_classes(&mut self, other: &Classes) -> Result<(), String> {
        let classes = &self.listing.classes;
        if classes == other {
            return Ok(());
        }
        let counts = self.class_counts();
        let matcher = ClassMatcher::of(other);
        let mut labels = vec![0; counts.len()];
        let mut missing = vec![true; other.len()];
        for class in 0..counts.len() as u32 {
            if counts[class as usize] == 0 {
                continue;
            }
            let name = classes.identity(class);
            let found = matcher.find(&name).ok_or(name)?;
            labels[class as usize] = found;
            missing[found as usize] = false;
        }
        for label in self
            .listing
            .samples
            .iter_mut()
            .filter_map(|s| s.label.as_mut())
        {
            *label = labels[*label as usize];
        }
        let missing = (0..).zip(missing).filter(|(_, missing)| *missing);
        let missing: Vec<String> = missing
            .map(|(class, _)| other.name(class).into_owned())
            .collect();
        for name in missing {
            if !self.warnings.empty_classes.contains(&name) {
                self.warnings.empty_classes.push(name);
            }
        }
        self.listing.classes = other.clone();
        Ok(())
    }

    /// Checks that the classes do not depend on folders without images, which
    /// [`Options::allow_empty_classes`] admits.
    ///
    /// # Errors
    /// If they do.
    pub fn check_empty_classes(&self) -> Result<(), DataError> {
        let ranked = matches!(self.classes(), Classes::Named(_)) && !self.mapped;
        match ranked && self.format == Format::Folder {
            true => folder::check_empty_classes(&self.listing.path, &self.warnings),
            false => Ok(()),
        }
    }

    /// A summary of the data set.
    pub fn description(&self) -> Description {
        let labels = self.samples().iter().filter_map(|sample| sample.label);
        Description {
            path: self.listing.path.clone(),
            format: self.format,
            labels: self.listing.labels.clone(),
            images: self.len(),
            labelled: labels.count(),
            classes: self.classes().len(),
        }
    }

    /// Reads an image.
    ///
    /// # Errors
    /// If that fails, or the image has more than 256 MiB.
    ///
    /// # Panics
    /// If the index is out of range.
    pub fn read(&self, index: usize) -> Result<Image, DataError> {
        self.listing.store.read(&self.samples()[index])
    }

    /// Begins to read images that will be needed soon, as far as memory allows, so that [`read`](Self::read) does not
    /// wait for a server. Does nothing for files.
    ///
    /// # Panics
    /// If an index is out of range.
    pub fn read_ahead(&self, indices: impl IntoIterator<Item = usize>) {
        if self.is_remote() {
            let mut samples = indices.into_iter().map(|index| &self.samples()[index]);
            self.listing.store.read_ahead(&mut samples);
        }
    }

    /// Whether the images are read from a server.
    pub fn is_remote(&self) -> bool {
        storage::is_remote(&self.listing.path)
    }

    /// The run that each image is in: those of a run are read fastest one after another, such as those of a shard, of a
    /// row group of a Parquet file, or of 64 MiB of a tar file. `None` if any order is as fast. Runs are numbered in
    /// their order.
    pub fn runs(&self) -> Option<Vec<u32>> {
        let store = &self.listing.store;
        let runs = self.samples().iter().map(|sample| store.run(sample));
        let runs: Vec<u64> = runs.collect::<Option<_>>()?;
        let mut known = runs.clone();
        known.sort_unstable();
        known.dedup();
        let number = |run: u64| known.partition_point(|&other| other < run) as u32;
        Some(runs.into_iter().map(number).collect())
    }

    /// SHA-256 that identifies the data set: of the names, labels and sizes of all images, in order.
    ///
    /// The hashed bytes are, for each image, the length of its name in bytes, the name, the label (−1 if
    /// there is none) and the size of the encoded image in bytes. Numbers are little-endian of 64 bits.
    /// The size is 0 in parquet files, where it would take reading the images.
    ///
    /// # Errors
    /// If the size of a file is not available.
    pub fn sha256(&self) -> Result<String, DataError> {
        let mut hash = Hasher::default();
        for sample in self.samples() {
            hash_sample(&mut hash, sample, self.listing.store.size(sample)?);
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
        for (index, sample) in self.samples().iter().enumerate() {
            let image = self.read(index)?;
            let (Image::Encoded(bytes) | Image::Pixels { pixels: bytes, .. }) = image;
            hash_sample(&mut hash, sample, bytes.len() as u64);
            hash.update(&bytes);
        }
        Ok(hash.finish())
    }

    /// Sets the labels of images whose format usually has them, but whose files do not.
    fn label(&mut self, path: &Path, labels: &Path, options: &Options) -> Result<(), DataError> {
        let listing = &mut self.listing;
        if listing.samples.iter().any(|sample| sample.label.is_some()) {
            return Err(DataError::OwnLabels {
                path: path.to_owned(),
                labels: labels.to_owned(),
                format: self.format,
            });
        }
        let samples = &mut listing.samples;
        (listing.classes, listing.labels) =
            listing::label(path, path, samples, options, &mut self.warnings)?;
        Ok(())
    }

    fn check_names(&self) -> Result<(), DataError> {
        let mut names: Vec<&str> = self.samples().iter().map(|s| s.name.as_str()).collect();
        names.sort_unstable();
        match names.windows(2).find(|pair| pair[0] == pair[1]) {
            None => Ok(()),
            Some(pair) => Err(DataError::duplicate(&self.listing.path, pair[0])),
        }
    }

    /// Replaces the labels of images by those of the class map.
    fn map_classes(&mut self, map: &ClassMap, path: &Path) -> Result<(), DataError> {
        let Listing {
            classes, samples, ..
        } = &mut self.listing;
        let mut labels: Vec<u32> = samples.iter().filter_map(|s| s.label).collect();
        labels.sort_unstable();
        labels.dedup();
        let mapped = |label: &u32| {
            let (key, name) = (classes.key(*label), classes.name(*label));
            let mapped = map.get(&key).or_else(|| map.get(&name));
            mapped.or_else(|| map.get(&label.to_string()))
        };
        let mapped: Vec<Option<u32>> = labels.iter().map(mapped).collect();
        if mapped.iter().all(Option::is_none) {
            let class = labels.first();
            let class = class.map_or_else(String::new, |&label| excerpt(&classes.key(label)));
            return Err(DataError::NoClasses {
                path: self.listing.path.clone(),
                map: path.to_owned(),
                class,
            });
        }
        samples.retain_mut(|sample| {
            if let Some(label) = sample.label {
                let index = labels
                    .binary_search(&label)
                    .expect("all labels are in the list");
                let Some(label) = mapped[index] else {
                    let name = std::mem::take(&mut sample.name);
                    self.warnings.unmapped.push(name);
                    return false;
                };
                sample.label = Some(label);
            }
            true
        });
        *classes = map.classes();
        Ok(())
    }
}

fn admitted(path: &Option<PathBuf>) -> Result<Option<PathBuf>, DataError> {
    let path = path.as_ref();
    path.map(|path| Ok(storage::admit(path)?.into_owned()))
        .transpose()
}

fn hash_sample(hash: &mut Hasher, sample: &Sample, size: u64) {
    hash.update((sample.name.len() as u64).to_le_bytes());
    hash.update(&sample.name);
    hash.update(sample.label.map_or(-1, i64::from).to_le_bytes());
    hash.update(size.to_le_bytes());
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
        let s = if *images == 1 { "" } else { "s" };
        write!(f, "{} ({format}): {images} image{s}", path.display())?;
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
