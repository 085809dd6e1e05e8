//! Lists of labels in files beside images.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

use topk_files::excerpt;

use crate::{Classes, LabelError, MAX_CLASSES, imagenet, text};

/// The development kit's list: one ILSVRC id per image, by the number of the image.
const GROUND_TRUTH: &str = "ILSVRC2012_validation_ground_truth.txt";

/// Kaggle's list.
const KAGGLE: &str = "LOC_val_solution.csv";

/// Usual paths of lists, from the folder of the images or the one above.
const NAMES: [&str; 8] = [
    "val.txt",
    "labels.txt",
    "labels.csv",
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

/// A line with the name of an image.
struct Line<'a> {
    number: usize,
    name: &'a str,
    label: &'a str,
}

impl LabelList {
    /// The list for the images in `folder`, if there is one at a usual path.
    pub fn find(folder: &Path) -> Option<PathBuf> {
        // Without this, a relative path of one part has no folder above.
        let folder = std::path::absolute(folder).ok()?;
        let near = folder.ancestors().take(2);
        let near = near.flat_map(|folder| NAMES.map(|name| folder.join(name)));
        let kaggle = folder
            .ancestors()
            .take(KAGGLE_DEPTH)
            .map(|folder| folder.join(KAGGLE));
        near.chain(kaggle).find(|path| path.is_file())
    }

    /// Reads a list. Its layout is detected from the contents: ILSVRC ids alone, in the order of the
    /// images' numbers; Kaggle's table; or one name and label per line, separated by the last tab, comma
    /// or space, where the labels are class indices, wnids or class names.
    ///
    /// # Errors
    /// If the file cannot be read, is empty, a line is invalid, or two lines contradict each other.
    pub fn read(path: &Path) -> Result<Self, LabelError> {
        let text = text::read(path)?;
        let Some((_, first)) = text::lines(&text).next() else {
            return Err(LabelError::Empty(path.to_owned()));
        };
        if first.bytes().all(|byte| byte.is_ascii_digit()) {
            return Self::ground_truth(path, &text);
        }
        if first.starts_with("ImageId,PredictionString") {
            let lines = text::lines(&text)
                .skip(1)
                .map(|(number, line)| kaggle(path, number, line));
            return Self::named(path, lines.collect::<Result<_, _>>()?);
        }
        let mut lines = Vec::new();
        for (number, line) in text::lines(&text) {
            let (name, label) = name_and_label(line).ok_or_else(|| {
                let expected = "a name and a label separated by a tab, comma or space";
                LabelError::line(path, number, line, expected)
            })?;
            let titles = [
                "label",
                "class",
                "target",
                "class_id",
                "class_index",
                "wnid",
                "synset",
            ];
            let is_title = titles.iter().any(|title| title.eq_ignore_ascii_case(label));
            if !(lines.is_empty() && is_title) {
                lines.push(Line {
                    number,
                    name,
                    label,
                });
            }
        }
        Self::named(path, lines)
    }

    fn ground_truth(path: &Path, text: &str) -> Result<Self, LabelError> {
        let class = |(number, line): (usize, &str)| {
            let class = line.parse().ok().and_then(imagenet::class_of_ilsvrc_id);
            class.ok_or_else(|| LabelError::line(path, number, line, "an ILSVRC2012_ID, 1 to 1000"))
        };
        let labels = text::lines(text).map(class).collect::<Result<_, _>>()?;
        let path = path.to_owned();
        Ok(Self {
            path,
            classes: Classes::Imagenet,
            keys: Keys::Number(labels),
        })
    }

    fn named(path: &Path, lines: Vec<Line<'_>>) -> Result<Self, LabelError> {
        let (classes, classified) = classify(path, &lines)?;
        let mut by_name = HashMap::with_capacity(lines.len());
        let mut names: Vec<String> = Vec::with_capacity(lines.len());
        let mut labels = Vec::with_capacity(lines.len());
        let mut numbers = Vec::with_capacity(lines.len());
        for (line, label) in lines.iter().zip(classified) {
            let name = line.name.strip_prefix("./").unwrap_or(line.name);
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

/// Index of the entry of each image. Two images with the same entry are an error.
fn entries(
    folder: &Path,
    images: &[&str],
    entry: impl Fn(&str) -> Option<usize>,
) -> Result<Vec<Option<usize>>, LabelError> {
    let mut taken = HashMap::new();
    let mut entries = Vec::with_capacity(images.len());
    for image in images {
        let file = file_name(image);
        let stem = file.rsplit_once('.').map_or(file, |(stem, _)| stem);
        let found = [image, file, stem].into_iter().find_map(&entry);
        if let Some(found) = found
            && taken.insert(found, image).is_some()
        {
            let (path, name) = (folder.to_owned(), excerpt(file));
            return Err(LabelError::Duplicate { path, name });
        }
        entries.push(found);
    }
    Ok(entries)
}

/// The classes of the labels, whose kind the first label shows, and the class of each line.
fn classify(path: &Path, lines: &[Line<'_>]) -> Result<(Classes, Vec<u32>), LabelError> {
    let Some(first) = lines.first() else {
        return Err(LabelError::Empty(path.to_owned()));
    };
    let all = |class: &dyn Fn(&str) -> Option<u32>, expected: &str| {
        let class = |line: &Line<'_>| {
            let class = class(line.label);
            class.ok_or_else(|| LabelError::line(path, line.number, line.label, expected))
        };
        lines.iter().map(class).collect::<Result<Vec<u32>, _>>()
    };
    if first.label.bytes().all(|byte| byte.is_ascii_digit()) {
        let class = |label: &str| label.parse().ok().filter(|&c| (c as usize) < MAX_CLASSES);
        let labels = all(&class, "a class index, from 0, as in the lines above")?;
        let largest = labels.iter().max().map_or(0, |&label| label as usize);
        let of_imagenet = |line: &Line<'_>| imagenet::validation_number(line.name).is_some();
        let classes = if largest < imagenet::CLASSES && lines.iter().all(of_imagenet) {
            Classes::Imagenet
        } else {
            Classes::Numbered(largest + 1)
        };
        return Ok((classes, labels));
    }
    if imagenet::class_of_wnid(first.label).is_some() {
        let labels = all(
            &imagenet::class_of_wnid,
            "a wnid of ILSVRC-2012, as in the lines above",
        )?;
        return Ok((Classes::Imagenet, labels));
    }
    let mut names: Vec<String> = lines.iter().map(|line| line.label.to_owned()).collect();
    names.sort_unstable();
    names.dedup();
    if names.len() > MAX_CLASSES {
        let expected = format!("one of at most {MAX_CLASSES} classes");
        return Err(LabelError::line(path, first.number, first.label, expected));
    }
    let rank = |label: &str| names.binary_search_by(|name| name.as_str().cmp(label)).ok();
    let labels = all(&|label| rank(label).map(|rank| rank as u32), "a class name")?;
    Ok((Classes::Named(names), labels))
}

/// A line of Kaggle's table: an image, and a wnid and four numbers for each box.
fn kaggle<'a>(path: &Path, number: usize, line: &'a str) -> Result<Line<'a>, LabelError> {
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
        name,
        label,
    })
}

/// The name and the label in a line.
fn name_and_label(line: &str) -> Option<(&str, &str)> {
    let parts = line.rsplit_once('\t').or_else(|| line.rsplit_once(','));
    let (name, label) = parts.or_else(|| line.rsplit_once(' '))?;
    let (name, label) = (unquoted(name.trim()), unquoted(label.trim()));
    (!name.is_empty() && !label.is_empty()).then_some((name, label))
}

/// A field of a table without surrounding quotes.
fn unquoted(field: &str) -> &str {
    let inner = field
        .strip_prefix('"')
        .and_then(|field| field.strip_suffix('"'));
    inner.unwrap_or(field)
}

/// The last part of a path with slashes.
fn file_name(path: &str) -> &str {
    path.rsplit_once('/').map_or(path, |(_, file)| file)
}
