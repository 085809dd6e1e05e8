//! Files of labels that come beside images.

use std::borrow::Cow;
use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

use crate::classes::{Classes, MAX_CLASSES};
use crate::walk::file_name;
use crate::{DataError, Findings, error, imagenet, text};

/// The development kit's list, by the number of the image.
const GROUND_TRUTH: &str = "ILSVRC2012_validation_ground_truth.txt";

/// Kaggle's list.
const KAGGLE: &str = "LOC_val_solution.csv";

/// Where lists lie, beside the images or one folder above.
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

/// The list for the images in a folder, if it lies where such lists do.
pub(crate) fn find(folder: &Path) -> Option<PathBuf> {
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

/// A list of labels.
#[derive(Debug)]
pub(crate) struct LabelList {
    path: PathBuf,
    pub classes: Classes,
    keys: Keys,
}

/// How a list says which image is meant.
#[derive(Debug)]
enum Keys {
    /// Label of the image of each number, from 1.
    Number(Vec<u32>),
    /// By name.
    Name {
        names: Vec<String>,
        labels: Vec<u32>,
        by_name: HashMap<String, usize>,
    },
}

/// A line with a name.
struct Line<'a> {
    number: usize,
    name: &'a str,
    label: &'a str,
}

impl LabelList {
    /// Reads a list, whose kind its contents show: ILSVRC ids alone, in order of the images' numbers;
    /// Kaggle's table; or a name and a label a line, which is a class index, a wnid or a class name.
    /// Between them is a tab, a comma or a space, where the last one counts.
    pub fn read(path: &Path) -> Result<Self, DataError> {
        let text = text::read(path)?;
        let Some((_, first)) = text::lines(&text).next() else {
            return Err(DataError::Empty(path.to_owned()));
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
                let expected = "a name and a label with a tab, comma or space between";
                wrong_line(path, number, line, expected)
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

    fn ground_truth(path: &Path, text: &str) -> Result<Self, DataError> {
        let class = |(number, line): (usize, &str)| {
            let class = line.parse().ok().and_then(imagenet::class_of_ilsvrc_id);
            class.ok_or_else(|| wrong_line(path, number, line, "an ILSVRC2012_ID, 1 to 1000"))
        };
        let labels = text::lines(text).map(class).collect::<Result<_, _>>()?;
        let path = path.to_owned();
        Ok(Self {
            path,
            classes: Classes::Imagenet,
            keys: Keys::Number(labels),
        })
    }

    fn named(path: &Path, lines: Vec<Line<'_>>) -> Result<Self, DataError> {
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
                    return Err(DataError::Conflict {
                        path: path.to_owned(),
                        line: line.number,
                        first: numbers[*entry.get()],
                        name: error::excerpt(name),
                    });
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

    /// The labels of images in `folder`. An image is found by its name, by the last part of it, or by
    /// that without its ending; and if so none is, by the last part of what the list says.
    pub fn labels(
        &self,
        folder: &Path,
        images: &[&str],
        findings: &mut Findings,
    ) -> Result<Vec<Option<u32>>, DataError> {
        let labels = match &self.keys {
            Keys::Number(labels) => self.by_number(labels, images, findings)?,
            Keys::Name {
                names,
                labels,
                by_name,
            } => {
                let mut found = places(folder, images, |key| by_name.get(key).copied())?;
                if found.iter().all(Option::is_none) {
                    let by_file = self.by_file(names, images)?;
                    found = places(folder, images, |key| by_file.get(key).copied())?;
                }
                let mut used = vec![false; labels.len()];
                for &place in found.iter().flatten() {
                    used[place] = true;
                }
                let unused = names.iter().zip(used).filter(|(_, used)| !used);
                findings
                    .labels_without_image
                    .extend(unused.map(|(name, _)| name.clone()));
                found
                    .iter()
                    .map(|place| place.map(|place| labels[place]))
                    .collect()
            }
        };
        match (labels.iter().any(Option::is_some), images.first()) {
            (false, Some(image)) => Err(DataError::NoLabels {
                path: folder.to_owned(),
                labels: self.path.clone(),
                entry: match &self.keys {
                    Keys::Number(labels) => format!("images 1 to {}", labels.len()),
                    Keys::Name { names, .. } => error::excerpt(&names[0]),
                },
                image: error::excerpt(image),
            }),
            _ => Ok(labels),
        }
    }

    fn by_number(
        &self,
        labels: &[u32],
        images: &[&str],
        findings: &mut Findings,
    ) -> Result<Vec<Option<u32>>, DataError> {
        let mut used = vec![false; labels.len()];
        let mut found = Vec::with_capacity(images.len());
        for name in images {
            let number = imagenet::validation_number(name);
            let number = number.ok_or_else(|| DataError::NoNumber {
                labels: self.path.clone(),
                name: error::excerpt(name),
            })?;
            if let Some(used) = used.get_mut(number - 1) {
                *used = true;
            }
            found.push(labels.get(number - 1).copied());
        }
        let unused = (1..).zip(used).filter(|(_, used)| !used);
        let name = |(number, _)| format!("ILSVRC2012_val_{number:08}");
        findings.labels_without_image.extend(unused.map(name));
        Ok(found)
    }

    /// Places in the list by the last part of the names, of which those of images must differ.
    fn by_file<'a>(
        &self,
        names: &'a [String],
        images: &[&str],
    ) -> Result<HashMap<&'a str, usize>, DataError> {
        let mut by_file = HashMap::with_capacity(names.len());
        let mut twice = HashSet::new();
        for (place, name) in names.iter().enumerate() {
            if by_file.insert(file_name(name), place).is_some() {
                twice.insert(file_name(name));
            }
        }
        match images.iter().find(|image| twice.contains(file_name(image))) {
            None => Ok(by_file),
            Some(image) => Err(DataError::Duplicate {
                path: self.path.clone(),
                name: error::excerpt(file_name(image)),
            }),
        }
    }
}

/// Where each image is in a list. A place that two images have is an error.
fn places(
    folder: &Path,
    images: &[&str],
    place: impl Fn(&str) -> Option<usize>,
) -> Result<Vec<Option<usize>>, DataError> {
    let mut taken = HashMap::new();
    let mut places = Vec::with_capacity(images.len());
    for image in images {
        let file = file_name(image);
        let stem = file.rsplit_once('.').map_or(file, |(stem, _)| stem);
        let found = [image, file, stem].into_iter().find_map(&place);
        if let Some(found) = found
            && taken.insert(found, image).is_some()
        {
            let (path, name) = (folder.to_owned(), error::excerpt(file));
            return Err(DataError::Duplicate { path, name });
        }
        places.push(found);
    }
    Ok(places)
}

/// What the labels of a list are, which the first shows, and the class of each line.
fn classify(path: &Path, lines: &[Line<'_>]) -> Result<(Classes, Vec<u32>), DataError> {
    let Some(first) = lines.first() else {
        return Err(DataError::Empty(path.to_owned()));
    };
    let all = |class: &dyn Fn(&str) -> Option<u32>, expected: &str| {
        let class = |line: &Line<'_>| {
            let class = class(line.label);
            class.ok_or_else(|| wrong_line(path, line.number, line.label, expected))
        };
        lines.iter().map(class).collect::<Result<Vec<u32>, _>>()
    };
    if first.label.bytes().all(|byte| byte.is_ascii_digit()) {
        let class = |label: &str| label.parse().ok().filter(|&c| (c as usize) < MAX_CLASSES);
        let labels = all(&class, "a class index, from 0, as in the lines above")?;
        let most = labels.iter().max().map_or(0, |&label| label as usize);
        let of_imagenet = |line: &Line<'_>| imagenet::validation_number(line.name).is_some();
        let classes = if most < imagenet::CLASSES && lines.iter().all(of_imagenet) {
            Classes::Imagenet
        } else {
            Classes::Numbered(most + 1)
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
        return Err(wrong_line(path, first.number, first.label, &expected));
    }
    let rank = |label: &str| names.binary_search_by(|name| name.as_str().cmp(label)).ok();
    let labels = all(&|label| rank(label).map(|rank| rank as u32), "a class name")?;
    Ok((Classes::Named(names), labels))
}

/// A line of Kaggle's table: an image, and a wnid and four numbers for each box in it.
fn kaggle<'a>(path: &Path, number: usize, line: &'a str) -> Result<Line<'a>, DataError> {
    const BOX: usize = 5;
    let (name, boxes) = line.split_once(',').unwrap_or((line, ""));
    let mut wnids = boxes.split_whitespace().step_by(BOX);
    let label = wnids
        .next()
        .filter(|&first| wnids.all(|wnid| wnid == first));
    let label = label.ok_or_else(|| {
        let expected = "an image, a comma, and boxes: one wnid, each time with four numbers";
        wrong_line(path, number, line, expected)
    })?;
    Ok(Line {
        number,
        name,
        label,
    })
}

/// The two parts of a line.
fn name_and_label(line: &str) -> Option<(&str, &str)> {
    let parts = line.rsplit_once('\t').or_else(|| line.rsplit_once(','));
    let (name, label) = parts.or_else(|| line.rsplit_once(' '))?;
    let (name, label) = (unquoted(name.trim()), unquoted(label.trim()));
    (!name.is_empty() && !label.is_empty()).then_some((name, label))
}

/// A field of a table without the quotes around it.
fn unquoted(field: &str) -> &str {
    let inner = field
        .strip_prefix('"')
        .and_then(|field| field.strip_suffix('"'));
    inner.unwrap_or(field)
}

fn wrong_line<'a>(
    path: &Path,
    line: usize,
    found: impl Into<Cow<'a, str>>,
    expected: &str,
) -> DataError {
    DataError::Line {
        path: path.to_owned(),
        line,
        found: error::excerpt(&found.into()),
        expected: expected.to_owned(),
    }
}
