use std::path::Path;

use crate::{Classes, LabelError, MAX_CLASSES, text};

/// Classes to which the predictions of a model are restricted, as by timm's `--valid-labels`: ImageNet-A
/// has 200 of the 1,000.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ClassSubset {
    classes: Vec<u32>,
    positions: Vec<Option<u32>>,
}

impl ClassSubset {
    /// Reads a file with one class per line: its index, or its wnid or name among `classes`.
    ///
    /// # Errors
    /// If the file cannot be read, is empty, or a line is not a class or repeats one.
    pub fn read(path: &Path, classes: &Classes) -> Result<Self, LabelError> {
        // The number of classes is unknown if they have no names.
        let count = match classes {
            Classes::Numbered(_) => MAX_CLASSES,
            Classes::Imagenet | Classes::Named(_) => classes.len(),
        };
        let text = text::read(path)?;
        let mut subset = Self {
            classes: Vec::new(),
            positions: vec![None; count],
        };
        let mut lines: Vec<usize> = Vec::new();
        for (number, line) in text::lines(&text) {
            let class = classes.class_of(line, count).ok_or_else(|| {
                let expected = format!("the wnid or name of a class, or an index below {count}");
                LabelError::line(path, number, line, expected)
            })?;
            let position = &mut subset.positions[class as usize];
            if let Some(earlier) = *position {
                let expected = format!("a class that is not in line {}", lines[earlier as usize]);
                return Err(LabelError::line(path, number, line, expected));
            }
            *position = Some(subset.classes.len() as u32);
            subset.classes.push(class);
            lines.push(number);
        }
        if subset.classes.is_empty() {
            return Err(LabelError::Empty(path.to_owned()));
        }
        let largest = subset.classes.iter().max();
        let largest = largest.map_or(0, |&class| class as usize);
        subset.positions.truncate(largest + 1);
        Ok(subset)
    }

    /// The classes, in the order of the file.
    pub fn classes(&self) -> &[u32] {
        &self.classes
    }

    /// Index of a class in [`classes`](Self::classes); `None` if it is not among them.
    ///
    /// timm uses the rank of an image's folder instead, which is the same if the folders are exactly
    /// these classes and the file lists them in the order of the folders.
    pub fn position(&self, class: u32) -> Option<usize> {
        let position = self.positions.get(class as usize)?;
        position.map(|position| position as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str, classes: &Classes) -> Result<ClassSubset, String> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        ClassSubset::read(file.path(), classes).map_err(|error| error.to_string())
    }

    #[test]
    fn positions_follow_the_lines() {
        let subset = read("7\nn01440764\n999\n", &Classes::Imagenet).unwrap();
        assert_eq!(subset.classes(), [7, 0, 999]);
        assert_eq!(subset.position(0), Some(1));
        assert_eq!(subset.position(999), Some(2));
        assert_eq!((subset.position(1), subset.position(5000)), (None, None));
        let named = Classes::Named(vec!["cat".to_owned(), "dog".to_owned()]);
        assert_eq!(read("dog\n", &named).unwrap().classes(), [1]);
        assert_eq!(
            read("6\n13\n", &Classes::Numbered(3)).unwrap().position(13),
            Some(1)
        );
    }

    #[test]
    fn errors_name_the_line() {
        let range = read("7\n1000\n", &Classes::Imagenet).unwrap_err();
        assert!(range.contains("line 2: found `1000`"), "{range}");
        let twice = read("7\n\nn01491361\n3\n", &Classes::Imagenet).unwrap_err();
        assert!(
            twice.contains("line 4: found `3`, expected a class that is not in line 3"),
            "{twice}"
        );
        assert!(
            read("", &Classes::Imagenet)
                .unwrap_err()
                .ends_with("is empty")
        );
    }
}
