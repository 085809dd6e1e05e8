//! Lists of labels in files beside images.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

use topk_files::excerpt;

use crate::table::{Line, Table};
use crate::{Classes, LabelError, MAX_CLASSES, classes, imagenet, text};

/// The development kit's list: one ILSVRC id per image, by the number of the image.
const GROUND_TRUTH: &str = "ILSVRC2012_validation_ground_truth.txt";

/// Kaggle's list.
const KAGGLE: &str = "LOC_val_solution.csv";

/// Usual paths of lists, from the folder of the images or the one above.
const NAMES: [&str; 12] = [
    "val.txt",
    "val_annotations.txt",
    "val.csv",
    "metadata.csv",
    "labels.csv",
    "labels.tsv",
    "labels.txt",
    GROUND_TRUTH,
    "data/ILSVRC2012_validation_ground_truth.txt",
    "ILSVRC2012_devkit_t12/data/ILSVRC2012_validation_ground_truth.txt",
    "caffe_ilsvrc12/val.txt",
    KAGGLE,
];

/// Folders between Kaggle's list and its images, `ILSVRC/Data/CLS-LOC/val`.
const KAGGLE_DEPTH: usize = 5;

/// A list of labels of images.
#[derive(Debug)]
pub struct LabelList {
    path: PathBuf,
    classes: Classes,
    keys: Keys,
    decisions: Vec<String>,
}

/// Labels of images that were looked up in a list.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Matched {
    /// Label of each image, if the list has one.
    pub labels: Vec<Option<u32>>,
    /// Entries of the list without an image.
    pub unused: Vec<String>,
}

/// How a list identifies images.
#[derive(Debug)]
enum Keys {
    /// By number, from 1: the label of each.
    Number(Vec<u32>),
    /// By name.
    Name {
        names: Vec<String>,
        labels: Vec<u32>,
        by_name: HashMap<String, usize>,
    },
}

impl LabelList {
    /// The lists for the images in `folder` at usual paths, the most likely one first.
    pub fn find(folder: &Path) -> Vec<PathBuf> {
        // Without this, a relative path of one part has no folder above.
        let Ok(folder) = std::path::absolute(folder) else {
            return Vec::new();
        };
        let near = folder.ancestors().take(2);
        let near = near.flat_map(|folder| NAMES.map(|name| folder.join(name)));
        let kaggle = folder
            .ancestors()
            .take(KAGGLE_DEPTH)
            .map(|folder| folder.join(KAGGLE));
        let mut found: Vec<PathBuf> = near.chain(kaggle).filter(|path| path.is_file()).collect();
        let mut seen = HashSet::new();
        found.retain(|path| seen.insert(path.clone()));
        found
    }

    /// A list at a usual path in a folder itself.
    pub fn beside(folder: &Path) -> Option<PathBuf> {
        let mut paths = NAMES
            .into_iter()
            .chain([KAGGLE])
            .map(|name| folder.join(name));
        paths.find(|path| path.is_file())
    }

    /// Reads a list for images with these names, which may be unknown. Its layout is detected from the
    /// contents: ILSVRC ids alone, in the order of the images' numbers; Kaggle's table; Tiny ImageNet's
    /// annotations; or a table with the names of the images in one column and their labels in another, with
    /// or without a line of titles, separated by tabs, commas, semicolons or spaces. Labels are class
    /// indices, wnids or class names.
    ///
    /// # Errors
    /// If the file cannot be read, is empty, a line is invalid, two lines contradict each other, or it is
    /// not clear which columns are meant.
    pub fn read(path: &Path, images: &[&str]) -> Result<Self, LabelError> {
        let text = text::read(path)?;
        let Some((_, first)) = text::lines(&text).next() else {
            return Err(LabelError::Empty(path.to_owned()));
        };
        if text::lines(&text).all(|(_, line)| line.bytes().all(|byte| byte.is_ascii_digit())) {
            return Self::ground_truth(path, &text);
        }
        if first.starts_with("ImageId,PredictionString") {
            let lines = text::lines(&text)
                .skip(1)
                .map(|(number, line)| kaggle(path, number, line));
            return Self::named(path, &lines.collect::<Result<Vec<_>, _>>()?, Vec::new());
        }
        let Table {
            lines,
            split,
            mut decisions,
        } = Table::read(path, &text, images)?;
        if let Some(split) = split {
            decisions.push(format!("column {} is not used", excerpt(&split)));
        }
        Self::named(path, &lines, decisions)
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// How the file was read, where there are several ways: one line each.
    pub fn decisions(&self) -> &[String] {
        &self.decisions
    }

    fn ground_truth(path: &Path, text: &str) -> Result<Self, LabelError> {
        let class = |(number, line): (usize, &str)| {
            let class = line.parse().ok().and_then(imagenet::class_of_ilsvrc_id);
            class.ok_or_else(|| LabelError::line(path, number, line, "an ILSVRC2012_ID, 1 to 1000"))
        };
        // Class indices may all be valid ids, so only the official list is read by number.
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let count = text::lines(text).count();
        let is_official = name.to_ascii_lowercase().contains("ground_truth");
        if !is_official && count != imagenet::VALIDATION_IMAGES {
            let path = path.to_owned();
            return Err(LabelError::BareNumbers { path, count });
        }
        let labels = text::lines(text).map(class).collect::<Result<_, _>>()?;
        Ok(Self {
            path: path.to_owned(),
            classes: Classes::Imagenet,
            keys: Keys::Number(labels),
            decisions: vec!["numbers are ILSVRC2012_IDs of the validation images".to_owned()],
        })
    }

    fn named(path: &Path, lines: &[Line], decisions: Vec<String>) -> Result<Self, LabelError> {
        let (classes, classified) = classify(path, lines)?;
        let mut by_name = HashMap::with_capacity(lines.len());
        let mut names: Vec<String> = Vec::with_capacity(lines.len());
        let mut labels = Vec::with_capacity(lines.len());
        let mut numbers = Vec::with_capacity(lines.len());
        for (line, label) in lines.iter().zip(classified) {
            let name = line.name.strip_prefix("./").unwrap_or(&line.name);
            match by_name.entry(name.to_owned()) {
                Entry::Vacant(entry) => {
                    entry.insert(labels.len());
                    names.push(name.to_owned());
                    labels.push(label);
                    numbers.push(line.number);
                }
                Entry::Occupied(entry) if labels[*entry.get()] == label => {}
                Entry::Occupied(entry) => {
                    let first = numbers[*entry.get()];
                    return Err(LabelError::conflict(path, line.number, first, name));
                }
            }
        }
        let path = path.to_owned();
        Ok(Self {
            path,
            classes,
            keys: Keys::Name {
                names,
                labels,
                by_name,
            },
            decisions,
        })
    }

    /// The classes of the labels.
    pub fn classes(&self) -> &Classes {
        &self.classes
    }

    /// Looks up the labels of images in `folder`. The list has an image by its path, its file name, or its
    /// file name without extension; if that finds no image, by the file names of the list's entries.
    ///
    /// # Errors
    /// If no image has a label, an image of a list by number has no number in its name, or it is not clear
    /// which of several images or entries of the same name is meant.
    pub fn labels(&self, folder: &Path, images: &[&str]) -> Result<Matched, LabelError> {
        let matched = match &self.keys {
            Keys::Number(labels) => self.by_number(labels, images)?,
            Keys::Name {
                names,
                labels,
                by_name,
            } => {
                let mut found = entries(folder, images, |key| by_name.get(key).copied())?;
                if found.iter().all(Option::is_none) {
                    let by_file = self.by_file(names, images)?;
                    found = entries(folder, images, |key| by_file.get(key).copied())?;
                }
                let mut used = vec![false; labels.len()];
                for &entry in found.iter().flatten() {
                    used[entry] = true;
                }
                let unused = names.iter().zip(used).filter(|(_, used)| !used);
                Matched {
                    labels: found
                        .iter()
                        .map(|entry| entry.map(|entry| labels[entry]))
                        .collect(),
                    unused: unused.map(|(name, _)| name.clone()).collect(),
                }
            }
        };
        match (matched.labels.iter().any(Option::is_some), images.first()) {
            (false, Some(image)) => Err(LabelError::NoMatch {
                path: folder.to_owned(),
                labels: self.path.clone(),
                entry: match &self.keys {
                    Keys::Number(labels) => format!("images 1 to {}", labels.len()),
                    Keys::Name { names, .. } => excerpt(&names[0]),
                },
                image: excerpt(image),
            }),
            _ => Ok(matched),
        }
    }

    fn by_number(&self, labels: &[u32], images: &[&str]) -> Result<Matched, LabelError> {
        let mut used = vec![false; labels.len()];
        let mut found = Vec::with_capacity(images.len());
        for name in images {
            let number = imagenet::validation_number(name);
            let number = number.ok_or_else(|| LabelError::NoNumber {
                labels: self.path.clone(),
                name: excerpt(name),
            })?;
            if let Some(used) = used.get_mut(number - 1) {
                *used = true;
            }
            found.push(labels.get(number - 1).copied());
        }
        let unused = (1..).zip(used).filter(|(_, used)| !used);
        let name = |(number, _)| format!("ILSVRC2012_val_{number:08}");
        Ok(Matched {
            labels: found,
            unused: unused.map(name).collect(),
        })
    }

    /// Indices of the entries by file name. The file names of images must be unique.
    fn by_file<'a>(
        &self,
        names: &'a [String],
        images: &[&str],
    ) -> Result<HashMap<&'a str, usize>, LabelError> {
        let mut by_file = HashMap::with_capacity(names.len());
        let mut repeated = HashSet::new();
        for (entry, name) in names.iter().enumerate() {
            if by_file.insert(file_name(name), entry).is_some() {
                repeated.insert(file_name(name));
            }
        }
        match images
            .iter()
            .find(|image| repeated.contains(file_name(image)))
        {
            None => Ok(by_file),
            Some(image) => Err(LabelError::Duplicate {
                path: self.path.clone(),
                name: excerpt(file_name(image)),
            }),
        }
    }
}

/// The names by which a list may have an image: its path, its file name with and without extension.
pub(crate) fn keys(image: &str) -> [&str; 3] {
    let file = file_name(image);
    let stem = file.rsplit_once('.').map_or(file, |(stem, _)| stem);
    [image, file, stem]
}

/// Index of the entry of each image. Two images with the same entry are an error.
fn entries(
    folder: &Path,
    images: &[&str],
    entry: impl Fn(&str) -> Option<usize>,
) -> Result<Vec<Option<usize>>, LabelError> {
    let mut taken = HashMap::new();
    let mut entries = Vec::with_capacity(images.len());
    for image in images {
        let found = keys(image).into_iter().find_map(&entry);
        if let Some(found) = found
            && taken.insert(found, image).is_some()
        {
            let (path, name) = (folder.to_owned(), excerpt(file_name(image)));
            return Err(LabelError::Duplicate { path, name });
        }
        entries.push(found);
    }
    Ok(entries)
}

/// The classes of the labels, whose kind the first label shows, and the class of each line.
pub(crate) fn classify(path: &Path, lines: &[Line]) -> Result<(Classes, Vec<u32>), LabelError> {
    let Some(first) = lines.first() else {
        return Err(LabelError::Empty(path.to_owned()));
    };
    let all = |class: &dyn Fn(&str) -> Option<u32>, expected: &str| {
        let class = |line: &Line| {
            let class = class(&line.label);
            class.ok_or_else(|| LabelError::line(path, line.number, &line.label, expected))
        };
        lines.iter().map(class).collect::<Result<Vec<u32>, _>>()
    };
    if classes::index(&first.label).is_some() {
        let class = |label: &str| classes::index(label).filter(|&c| (c as usize) < MAX_CLASSES);
        let labels = all(&class, "a class index, from 0, as in the lines above")?;
        let largest = labels.iter().max().map_or(0, |&label| label as usize);
        let of_imagenet = |line: &Line| imagenet::validation_number(&line.name).is_some();
        let classes = if largest < imagenet::CLASSES && lines.iter().all(of_imagenet) {
            Classes::Imagenet
        } else {
            Classes::Numbered(largest + 1)
        };
        return Ok((classes, labels));
    }
    if imagenet::class_of_wnid(&first.label).is_some()
        && !lines.iter().all(|line| imagenet::is_wnid(&line.label))
    {
        all(
            &imagenet::class_of_wnid,
            "a wnid of ILSVRC-2012, as in the lines above",
        )?;
    }
    let labels: Vec<&str> = lines.iter().map(|line| line.label.as_str()).collect();
    // Numbers among names are rather a mistake than names.
    let number = lines
        .iter()
        .find(|line| classes::index(&line.label).is_some());
    if let Some(line) = number {
        let expected = "a class name, as in the lines above";
        return Err(LabelError::line(path, line.number, &line.label, expected));
    }
    Classes::of_texts(&labels).ok_or_else(|| {
        let expected = format!("one of at most {MAX_CLASSES} classes");
        LabelError::line(path, first.number, &first.label, expected)
    })
}

/// A line of Kaggle's table: an image, and a wnid and four numbers for each box.
fn kaggle(path: &Path, number: usize, line: &str) -> Result<Line, LabelError> {
    const BOX: usize = 5;
    let (name, boxes) = line.split_once(',').unwrap_or((line, ""));
    let mut wnids = boxes.split_whitespace().step_by(BOX);
    let label = wnids
        .next()
        .filter(|&first| wnids.all(|wnid| wnid == first));
    let label = label.ok_or_else(|| {
        let expected = "an image, a comma, and boxes of one wnid, each with four numbers";
        LabelError::line(path, number, line, expected)
    })?;
    Ok(Line {
        number,
        name: name.to_owned(),
        label: label.to_owned(),
        split: None,
    })
}

/// The last part of a path with slashes.
pub(crate) fn file_name(path: &str) -> &str {
    path.rsplit_once('/').map_or(path, |(_, file)| file)
}
