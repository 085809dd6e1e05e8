use std::borrow::Cow;
use std::path::Path;

use topk_files::excerpt;

use crate::{LabelError, imagenet};

/// Largest number of classes. Larger labels are errors, because tables of that size follow.
pub const MAX_CLASSES: usize = 1 << 20;

/// What the labels of a data set mean.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Classes {
    /// The classes of [`imagenet::synsets`].
    Imagenet,
    /// A label is an index into these names.
    Named(Vec<String>),
    /// Labels are numbers below this one. A model may have more classes. 0 if no image has a label.
    Numbered(usize),
}

impl Classes {
    /// Number of classes, as far as it is known.
    pub fn len(&self) -> usize {
        match self {
            Self::Imagenet => imagenet::CLASSES,
            Self::Named(names) => names.len(),
            Self::Numbered(count) => *count,
        }
    }

    /// Whether the data has no classes.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Name of a class, or its index if it has no name.
    pub fn name(&self, class: u32) -> Cow<'_, str> {
        let name = match self {
            Self::Imagenet => imagenet::synsets().get(class as usize).map(|s| s.names),
            Self::Named(names) => names.get(class as usize).map(String::as_str),
            Self::Numbered(_) => None,
        };
        name.map_or_else(|| class.to_string().into(), Cow::Borrowed)
    }

    /// WordNet ID of a class of ImageNet.
    pub fn wnid(&self, class: u32) -> Option<&'static str> {
        match self {
            Self::Imagenet => imagenet::synsets().get(class as usize).map(|s| s.wnid),
            Self::Named(_) | Self::Numbered(_) => None,
        }
    }

    /// Identifier of a class in its data set: wnid, name or index.
    pub fn key(&self, class: u32) -> Cow<'_, str> {
        match self.wnid(class) {
            Some(wnid) => wnid.into(),
            None => self.name(class),
        }
    }

    /// The class with this wnid, name, or index below `classes`.
    pub fn class_of(&self, text: &str, classes: usize) -> Option<u32> {
        let named = match self {
            Self::Imagenet => imagenet::class_of_wnid(text),
            Self::Named(names) => {
                let class = names.iter().position(|name| name == text);
                class.map(|class| class as u32)
            }
            Self::Numbered(_) => None,
        };
        named.or_else(|| {
            text.parse()
                .ok()
                .filter(|&class| (class as usize) < classes)
        })
    }

    /// The classes of class folders with these names, and the label of each folder.
    ///
    /// wnids of ILSVRC-2012 are looked up. The numbers 0 to n − 1 are labels; other numbers are ranked by
    /// value, and other names in the order of their bytes, as by torchvision's `ImageFolder`. With `ranked`,
    /// all names are numbered in the order of their bytes.
    ///
    /// # Errors
    /// If some names are wnids of ILSVRC-2012 and others are not wnids, or there are more than
    /// [`MAX_CLASSES`] folders. `path` is the folder in the message.
    pub fn of_folders(
        path: &Path,
        folders: &[String],
        ranked: bool,
    ) -> Result<ClassFolders, LabelError> {
        let ambiguous = |reason| LabelError::ClassFolders {
            path: path.to_owned(),
            reason,
        };
        let found = |classes, labels| ClassFolders {
            classes,
            labels,
            decision: None,
        };
        if folders.len() > MAX_CLASSES {
            let count = folders.len();
            return Err(ambiguous(format!(
                "{count} folders exceed the limit of {MAX_CLASSES} classes"
            )));
        }
        if !ranked {
            let known = |name: &String| imagenet::class_of_wnid(name);
            if let Some(labels) = folders.iter().map(known).collect() {
                return Ok(found(Self::Imagenet, labels));
            }
            let wnid = folders.iter().find(|name| known(name).is_some());
            let other = folders.iter().find(|name| !imagenet::is_wnid(name));
            if let (Some(wnid), Some(other)) = (wnid, other) {
                let other = excerpt(other);
                return Err(ambiguous(format!(
                    "the folder {wnid} is a class of ImageNet, but the folder {other} is not"
                )));
            }
            let numbers: Option<Vec<u32>> = folders.iter().map(|name| number(name)).collect();
            if let Some(numbers) = numbers {
                return Ok(Self::of_numbers(folders, numbers));
            }
        }
        let mut names = folders.to_vec();
        names.sort_unstable();
        let rank = |name| {
            names
                .binary_search(name)
                .expect("every folder is in the list") as u32
        };
        let labels = folders.iter().map(rank).collect();
        Ok(found(Self::Named(names), labels))
    }

    /// The classes of folders whose names are these numbers, without leading zeros.
    fn of_numbers(folders: &[String], numbers: Vec<u32>) -> ClassFolders {
        let mut sorted = numbers.clone();
        sorted.sort_unstable();
        if (0..).zip(&sorted).all(|(rank, number)| rank == *number) {
            let count = numbers.len();
            // Where the order of the names is another, torchvision's labels are, too.
            let decision = (count > 10).then(|| {
                format!(
                    "the class folders 0 to {} are class indices (torchvision's ImageFolder orders them as \
                     text: --class-map sets another order)",
                    count - 1
                )
            });
            return ClassFolders {
                classes: Self::Numbered(count),
                labels: numbers,
                decision,
            };
        }
        let rank = |number: &u32| sorted.partition_point(|other| other < number) as u32;
        let labels: Vec<u32> = numbers.iter().map(rank).collect();
        let (first, last) = (sorted[0], sorted[sorted.len() - 1]);
        let mut names = vec![String::new(); folders.len()];
        for (&label, folder) in labels.iter().zip(folders) {
            names[label as usize].clone_from(folder);
        }
        ClassFolders {
            decision: Some(format!(
                "the {} class folders from {first} to {last} are numbered by value, {first} is class 0 \
                 (--class-map sets other indices)",
                folders.len()
            )),
            classes: Self::Named(names),
            labels,
        }
    }

    /// The classes of labels that are text, and the label of each: indices if all are numbers, wnids of
    /// ILSVRC-2012, or names in the order of their bytes. `None` where a number is not below
    /// [`MAX_CLASSES`], or there are more names than that.
    pub fn of_texts(texts: &[&str]) -> Option<(Self, Vec<u32>)> {
        if texts.iter().all(|text| index(text).is_some()) {
            let labels: Vec<u32> = texts.iter().filter_map(|text| index(text)).collect();
            let largest = labels.iter().copied().max().unwrap_or(0) as usize;
            return (largest < MAX_CLASSES).then_some((Self::Numbered(largest + 1), labels));
        }
        let wnids = texts.iter().map(|text| imagenet::class_of_wnid(text));
        if let Some(labels) = wnids.collect() {
            return Some((Self::Imagenet, labels));
        }
        let mut names: Vec<&str> = texts.to_vec();
        names.sort_unstable();
        names.dedup();
        let rank = |text| names.binary_search(text).ok().map(|rank| rank as u32);
        let labels = texts.iter().map(rank).collect::<Option<_>>()?;
        let named = names.iter().map(|&name| name.to_owned()).collect();
        (names.len() <= MAX_CLASSES).then_some((Self::Named(named), labels))
    }
}

/// The classes of class folders.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ClassFolders {
    /// The classes.
    pub classes: Classes,
    /// The class of each folder.
    pub labels: Vec<u32>,
    /// How the folders were numbered, if there are other ways.
    pub decision: Option<String>,
}

/// The number in a name, if it is written without leading zeros or signs.
fn number(name: &str) -> Option<u32> {
    let number: u32 = name.parse().ok()?;
    (number.to_string() == name).then_some(number)
}

/// A class index in a table, which some programs write as `7.0`.
pub(crate) fn index(text: &str) -> Option<u32> {
    let digits = text.strip_suffix(".0").unwrap_or(text);
    let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| digits.parse().unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folders(names: &[&str]) -> Result<(Classes, Vec<u32>), String> {
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        let found = Classes::of_folders(Path::new("data"), &names, false);
        let found = found.map_err(|error| error.to_string())?;
        Ok((found.classes, found.labels))
    }

    #[test]
    fn wnids_are_looked_up() {
        let wnids = folders(&["n01484850", "n01440764"]);
        assert_eq!(wnids, Ok((Classes::Imagenet, vec![2, 0])));
        let mixed = folders(&["n01440764", "cats"]).unwrap_err();
        assert!(
            mixed.contains("n01440764") && mixed.contains("cats"),
            "{mixed}"
        );
        // Classes of the whole ImageNet, which has 21,841.
        let names = vec!["n00004475".to_owned(), "n01440764".to_owned()];
        let more = folders(&["n01440764", "n00004475"]);
        assert_eq!(more, Ok((Classes::Named(names), vec![1, 0])));
    }

    #[test]
    fn folders_of_numbers_are_in_the_order_of_the_numbers() {
        let names: Vec<String> = (0..12).map(|i| i.to_string()).collect();
        let mut sorted: Vec<&str> = names.iter().map(String::as_str).collect();
        sorted.sort_unstable();
        let labels = vec![0, 1, 10, 11, 2, 3, 4, 5, 6, 7, 8, 9];
        assert_eq!(folders(&sorted), Ok((Classes::Numbered(12), labels)));
        let (classes, labels) = folders(&["1", "10", "2", "102"]).unwrap();
        assert_eq!(labels, [0, 2, 1, 3]);
        assert_eq!(
            classes,
            Classes::Named(["1", "2", "10", "102"].map(str::to_owned).to_vec())
        );
        assert_eq!(folders(&["0", "1", "3"]).unwrap().1, [0, 1, 2]);
        let padded = folders(&["02", "01"]).unwrap();
        assert_eq!(padded.1, [1, 0]);
    }

    #[test]
    fn labels_that_are_text_may_be_numbers_wnids_or_names() {
        let found = |texts: &[&str]| Classes::of_texts(texts).unwrap();
        assert_eq!(
            found(&["2", "10", "2.0"]),
            (Classes::Numbered(11), vec![2, 10, 2])
        );
        assert_eq!(found(&["n01440764"]), (Classes::Imagenet, vec![0]));
        assert_eq!(found(&["dog", "7", "cat"]).1, [2, 0, 1]);
        assert_eq!(Classes::of_texts(&["99999999999"]), None);
    }

    #[test]
    fn other_names_are_ranked_by_bytes() {
        let (classes, labels) = folders(&["b", "a", "Z", "é"]).unwrap();
        assert_eq!(labels, [2, 1, 0, 3]);
        assert_eq!(classes.name(0), "Z");
        assert_eq!(classes.class_of("é", 4), Some(3));
        assert_eq!(classes.class_of("3", 4), Some(3));
        assert_eq!(classes.class_of("4", 4), None);
    }
}
