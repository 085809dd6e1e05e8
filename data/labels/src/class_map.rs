use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::path::Path;

use crate::{Classes, LabelError, MAX_CLASSES, text};

/// Class index of each class folder for a model, as in timm's class maps.
#[derive(Debug)]
pub struct ClassMap {
    indices: HashMap<String, u32>,
    names: Vec<String>,
}

impl ClassMap {
    /// Reads a text file with one class per line: its name, and its index after a tab, a comma or the last
    /// space. If any line lacks an index, the index of each class is its line number, from 0, and blank
    /// lines count.
    ///
    /// # Errors
    /// If the file cannot be read, is empty, gives a class two indices, or an index is not below
    /// [`MAX_CLASSES`].
    pub fn read(path: &Path) -> Result<Self, LabelError> {
        let text = text::read(path)?;
        let lines: Vec<(usize, &str)> = text::lines(&text).collect();
        // Names may have spaces and numbers in them, so the index counts only if all lines have one.
        let numbered = lines.iter().all(|(_, line)| name_and_index(line).is_some());
        let mut indices = HashMap::with_capacity(lines.len());
        let mut names: Vec<String> = Vec::new();
        for (number, line) in lines {
            let (name, index) = match name_and_index(line) {
                Some((name, index)) if numbered => (name, index),
                _ => (line, number - 1),
            };
            if index >= MAX_CLASSES {
                let expected = format!("an index below {MAX_CLASSES}");
                return Err(LabelError::line(path, number, line, expected));
            }
            match indices.entry(name.to_owned()) {
                Entry::Vacant(entry) => entry.insert((index as u32, number)),
                Entry::Occupied(entry) if numbered && entry.get().0 as usize == index => continue,
                Entry::Occupied(entry) => {
                    return Err(LabelError::conflict(path, number, entry.get().1, name));
                }
            };
            if names.len() <= index {
                names.resize(index + 1, String::new());
            }
            if names[index].is_empty() {
                names[index] = name.to_owned();
            }
        }
        if names.is_empty() {
            return Err(LabelError::Empty(path.to_owned()));
        }
        for (index, name) in names.iter_mut().enumerate() {
            if name.is_empty() {
                *name = index.to_string();
            }
        }
        let indices = indices
            .into_iter()
            .map(|(name, (index, _))| (name, index))
            .collect();
        Ok(Self { indices, names })
    }

    /// The index of a class.
    pub fn get(&self, name: &str) -> Option<u32> {
        self.indices.get(name).copied()
    }

    /// The classes by index, named by the first name with that index, or the index if there is none.
    pub fn classes(&self) -> Classes {
        Classes::Named(self.names.clone())
    }
}

fn name_and_index(line: &str) -> Option<(&str, usize)> {
    let (name, index) = line.rsplit_once(['\t', ',', ' '])?;
    let name = name.trim();
    (!name.is_empty()).then_some((name, index.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<ClassMap, String> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        ClassMap::read(file.path()).map_err(|error| error.to_string())
    }

    #[test]
    fn names_alone_are_in_order() {
        let map = read("b\n a cat \n\nroute 66\n").unwrap();
        assert_eq!(map.get("b"), Some(0));
        assert_eq!(map.get("a cat"), Some(1));
        // timm counts blank lines, too.
        assert_eq!(map.get("route 66"), Some(3));
        assert_eq!(map.get("c"), None);
    }

    #[test]
    fn names_with_an_index() {
        let map = read("n01 3\ncats,1\r\ndogs\t1\n").unwrap();
        assert_eq!(map.get("n01"), Some(3));
        assert_eq!((map.get("cats"), map.get("dogs")), (Some(1), Some(1)));
        let names = ["0", "cats", "2", "n01"].map(str::to_owned);
        assert_eq!(map.classes(), Classes::Named(names.to_vec()));
    }

    #[test]
    fn contradictions_are_errors() {
        let twice = read("a 1\nb 2\na 2\n").unwrap_err();
        assert!(
            twice.contains("line 3: a has a different value than in line 1"),
            "{twice}"
        );
        let order = read("a\nb\na\n").unwrap_err();
        assert!(order.contains("line 3"), "{order}");
        let large = read("a 99999999\n").unwrap_err();
        assert!(
            large.contains("line 1: found `a 99999999`, expected an index"),
            "{large}"
        );
        assert!(read("\n").unwrap_err().ends_with("is empty"));
    }
}
