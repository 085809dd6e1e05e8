use std::fmt;

use serde::Serialize;

/// What was noticed in a data set, and is no error. Lists are in the order of reading.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize)]
pub struct Findings {
    /// Files that are no images by their names.
    pub ignored: Vec<String>,
    /// Links to folders that they lie in, which were not followed.
    pub loops: Vec<String>,
    /// Classes without images.
    pub empty_classes: Vec<String>,
    /// Labels in the file of labels for which there is no image.
    pub labels_without_image: Vec<String>,
    /// Images that were left out because their class is not in the class map.
    pub unmapped: Vec<String>,
}

impl Findings {
    /// Each list with what it is of.
    fn lists(&self) -> [(&'static str, &[String]); 5] {
        [
            ("files that are no images", &self.ignored),
            ("links back to folders, not followed", &self.loops),
            ("classes without images", &self.empty_classes),
            ("labels without an image", &self.labels_without_image),
            ("images left out, not in the class map", &self.unmapped),
        ]
    }

    /// Whether nothing was noticed.
    pub fn is_empty(&self) -> bool {
        self.lists().iter().all(|(_, names)| names.is_empty())
    }
}

impl fmt::Display for Findings {
    /// A line for each list that is not empty, with its length and its first names.
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
