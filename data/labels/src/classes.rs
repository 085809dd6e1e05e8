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

    /// Whether there are no classes.
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
    /// wnids of ILSVRC-2012 are looked up, the numbers 0 to n − 1 are labels, and other names are
    /// numbered in the order of their bytes, as by torchvision's `ImageFolder`. With `ranked`, all names
    /// are numbered that way.
    ///
    /// # Errors
    /// If some names are wnids of ILSVRC-2012 and others are not wnids, numbers are missing, or there are
    /// more than [`MAX_CLASSES`] folders. `path` is the folder in the message.
    pub fn of_folders(
        path: &Path,
        folders: &[String],
        ranked: bool,
    ) -> Result<(Self, Vec<u32>), LabelError> {
        let ambiguous = |reason| LabelError::ClassFolders {
            path: path.to_owned(),
            reason,
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
                return Ok((Self::Imagenet, labels));
            }
            let wnid = folders.iter().find(|name| known(name).is_some());
            let other = folders.iter().find(|name| !imagenet::is_wnid(name));
            if let (Some(wnid), Some(other)) = (wnid, other) {
                let other = excerpt(other);
                return Err(ambiguous(format!(
                    "the folder {wnid} is a class of ImageNet, but the folder {other} is not"
                )));
            }
            if let Some(labels) = folders
                .iter()
                .map(|name| number(name))
                .collect::<Option<Vec<_>>>()
            {
                let mut sorted = labels.clone();
                sorted.sort_unstable();
                let missing = (0..).zip(&sorted).find(|(rank, label)| rank != *label);
                return match missing {
                    None => Ok((Self::Numbered(labels.len()), labels)),
                    Some((missing, _)) => Err(ambiguous(format!(
                        "the folder names are numbers, but {missing} is missing, so the class of \
                         each folder is ambiguous"
                    ))),
                };
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
        Ok((Self::Named(names), labels))
    }
}

/// The number in a name, if it is written without leading zeros or signs.
fn number(name: &str) -> Option<u32> {
    let number: u32 = name.parse().ok()?;
    (number.to_string() == name).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folders(names: &[&str]) -> Result<(Classes, Vec<u32>), String> {
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        Classes::of_folders(Path::new("data"), &names, false).map_err(|error| error.to_string())
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
    fn folders_0_to_n_are_labels() {
        let names: Vec<String> = (0..12).map(|i| i.to_string()).collect();
        let mut sorted: Vec<&str> = names.iter().map(String::as_str).collect();
        sorted.sort_unstable();
        let labels = vec![0, 1, 10, 11, 2, 3, 4, 5, 6, 7, 8, 9];
        assert_eq!(folders(&sorted), Ok((Classes::Numbered(12), labels)));
        let gap = folders(&["0", "1", "3"]).unwrap_err();
        assert!(gap.contains("2 is missing"), "{gap}");
        assert!(folders(&["1", "2"]).is_err());
        let padded = folders(&["02", "01"]).unwrap();
        assert_eq!(padded.1, [1, 0]);
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
