use std::fmt;

use serde::Serialize;
use topk_files::excerpt;

/// What was decided about a data set, and peculiarities that are not errors. Lists are in the order of
/// reading.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize)]
pub struct Warnings {
    /// Decisions, each a line: the split, the format, the columns and the order of the classes.
    pub decisions: Vec<String>,
    /// Files that are not images, by their names.
    pub ignored: Vec<String>,
    /// Images beside class folders, which belong to no class.
    pub beside_classes: Vec<String>,
    /// Samples of WebDataset shards without an image, which were left out.
    pub without_image: Vec<String>,
    /// Links to a folder that contains them, which were not followed.
    pub loops: Vec<String>,
    /// Classes without images.
    pub empty_classes: Vec<String>,
    /// Entries of the list of labels without an image.
    pub labels_without_image: Vec<String>,
    /// Images that were left out because their class is not in the class map.
    pub unmapped: Vec<String>,
}

impl Warnings {
    /// Each list with a description, for one entry and for several.
    fn lists(&self) -> [(&'static str, &'static str, &[String]); 7] {
        [
            (
                "file that is not an image",
                "files that are not images",
                &self.ignored,
            ),
            (
                "image beside the class folders, not read",
                "images beside the class folders, not read",
                &self.beside_classes,
            ),
            (
                "sample without an image, left out",
                "samples without an image, left out",
                &self.without_image,
            ),
            (
                "link to a parent folder, not followed",
                "links to parent folders, not followed",
                &self.loops,
            ),
            (
                "class without images",
                "classes without images",
                &self.empty_classes,
            ),
            (
                "label without an image",
                "labels without an image",
                &self.labels_without_image,
            ),
            (
                "image left out, not in the class map",
                "images left out, not in the class map",
                &self.unmapped,
            ),
        ]
    }

    /// Adds a decision, unless it is known already.
    pub(crate) fn decide(&mut self, decision: impl Into<String>) {
        let decision = decision.into();
        if !self.decisions.contains(&decision) {
            self.decisions.push(decision);
        }
    }

    /// Adds those of images that come after.
    pub(crate) fn extend(&mut self, others: Self) {
        for decision in others.decisions {
            self.decide(decision);
        }
        self.ignored.extend(others.ignored);
        self.beside_classes.extend(others.beside_classes);
        self.without_image.extend(others.without_image);
        self.loops.extend(others.loops);
        self.empty_classes.extend(others.empty_classes);
        self.labels_without_image
            .extend(others.labels_without_image);
        self.unmapped.extend(others.unmapped);
    }

    /// Whether there are no warnings.
    pub fn is_empty(&self) -> bool {
        self.lines().is_empty()
    }

    /// The decisions, and one line per list that is not empty, with its length and its first names.
    pub fn lines(&self) -> Vec<String> {
        const SHOWN: usize = 3;
        let lists = self.lists().into_iter();
        let lists = lists.filter(|(_, _, names)| !names.is_empty());
        let lists = lists.map(|(one, several, names)| {
            let what = if names.len() == 1 { one } else { several };
            let shown: Vec<String> = names.iter().take(SHOWN).map(|name| excerpt(name)).collect();
            let more = if names.len() > SHOWN { ", …" } else { "" };
            format!("{} {what}: {}{more}", names.len(), shown.join(", "))
        });
        self.decisions.iter().cloned().chain(lists).collect()
    }
}

impl fmt::Display for Warnings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.lines().join("\n"))
    }
}
