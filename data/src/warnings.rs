use std::fmt;

use serde::Serialize;

/// Peculiarities of a data set that are not errors. Lists are in the order of reading.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize)]
pub struct Warnings {
    /// Files that are not images, by their names.
    pub ignored: Vec<String>,
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
    /// Each list with a description.
    fn lists(&self) -> [(&'static str, &[String]); 5] {
        [
            ("files that are not images", &self.ignored),
            ("links to parent folders, not followed", &self.loops),
            ("classes without images", &self.empty_classes),
            ("labels without an image", &self.labels_without_image),
            ("images left out, not in the class map", &self.unmapped),
        ]
    }

    /// Whether there are no warnings.
    pub fn is_empty(&self) -> bool {
        self.lists().iter().all(|(_, names)| names.is_empty())
    }
}

impl fmt::Display for Warnings {
    /// One line per list that is not empty, with its length and its first names.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN: usize = 3;
        let lists = self.lists();
        let lists = lists.iter().filter(|(_, names)| !names.is_empty());
        for (line, (what, names)) in lists.enumerate() {
            if line > 0 {
                writeln!(f)?;
            }
            let shown = names[..names.len().min(SHOWN)].join(", ");
            let more = if names.len() > SHOWN { ", …" } else { "" };
            write!(f, "{} {what}: {shown}{more}", names.len())?;
        }
        Ok(())
    }
}
