//! Data sets of several files.

use std::path::{Path, PathBuf};
use topk_files::excerpt;

use crate::walk::Entries;
use crate::{DataError, Format, Split, split_folder};

/// Largest number of files in a pattern.
const MAX_SHARDS: usize = 1 << 20;

/// Whether a path is a pattern rather than a file.
pub(crate) fn is_pattern(path: &Path) -> bool {
    let pattern = path
        .to_str()
        .is_some_and(|path| path.contains(['{', '*', '?', '[']));
    pattern && !path.exists()
}

/// The files of a path, by name: itself; those of a pattern with `{a,b}`, `{000..127}`, `*`, `?` or `[…]`;
/// or those in a folder, or in its folder `data`, restricted to the split if their names contain one.
pub(crate) fn files(
    path: &Path,
    format: Format,
    extension: &str,
    split: Split,
) -> Result<Vec<PathBuf>, DataError> {
    let none = |expected| DataError::no_images(path, format, expected);
    if is_pattern(path) {
        let files = matching(path)?;
        return if files.is_empty() {
            Err(none("files that match the pattern"))
        } else {
            Ok(files)
        };
    }
    if path.is_file() {
        return Ok(vec![path.to_owned()]);
    }
    let path = &split_folder::of_split(path, split)?;
    for folder in [path.to_owned(), path.join("data")] {
        if !folder.is_dir() && folder != *path {
            continue;
        }
        let mut names = Entries::of(&folder)?.files;
        names.retain(|name| Path::new(name).extension().is_some_and(|e| e == extension));
        if names.is_empty() {
            continue;
        }
        let names = of_split(names, split).ok_or_else(|| {
            none(match split {
                Split::Train => "files of the split train, but they are of other splits",
                Split::Test => "files of the split test, but they are of the split train; to use them, pass a pattern such as `train-*`",
            })
        })?;
        return Ok(names.into_iter().map(|name| folder.join(name)).collect());
    }
    Err(none(
        "a folder with .tar or .parquet files, a file, or a pattern such as `val-{00..63}.tar`",
    ))
}

/// The names that contain this split, or all if none contains a split. `None` if all contain other splits.
fn of_split(names: Vec<String>, split: Split) -> Option<Vec<String>> {
    let contains = |name: &str, split: &str| {
        let mut words = name.split(|c: char| !c.is_ascii_alphanumeric());
        words.any(|word| word.eq_ignore_ascii_case(split))
    };
    for wanted in split.names() {
        let found: Vec<String> = names
            .iter()
            .filter(|n| contains(n, wanted))
            .cloned()
            .collect();
        if !found.is_empty() {
            return Some(found);
        }
    }
    let mut all = [Split::Train, Split::Test]
        .into_iter()
        .flat_map(Split::names);
    let no_split = all.all(|split| !names.iter().any(|name| contains(name, split)));
    no_split.then_some(names)
}

/// The files of a pattern. Those expanded from braces must all exist.
fn matching(path: &Path) -> Result<Vec<PathBuf>, DataError> {
    let invalid = |found: &str, expected: &str| DataError::Pattern {
        path: path.to_owned(),
        found: excerpt(found),
        expected: expected.to_owned(),
    };
    let pattern = path.to_string_lossy();
    let mut names = Vec::new();
    expand(&pattern, &mut names).map_err(|found| {
        invalid(
            &found,
            "`{a,b}` or `{000..127}`, with at most a million files",
        )
    })?;
    let mut files = Vec::new();
    for name in names {
        if !name.contains(['*', '?', '[']) {
            files.push(PathBuf::from(name));
            continue;
        }
        let matches = glob::glob(&name).map_err(|error| invalid(error.msg, "a valid pattern"))?;
        for file in matches {
            let file = file.map_err(|error| {
                let path = error.path().to_owned();
                DataError::io(path)(error.into())
            })?;
            files.push(file);
        }
    }
    Ok(files)
}

/// Expands braces, in order. The error is the invalid part.
fn expand(pattern: &str, names: &mut Vec<String>) -> Result<(), String> {
    let Some((before, rest)) = pattern.split_once('{') else {
        names.push(pattern.to_owned());
        return if names.len() > MAX_SHARDS {
            Err(pattern.to_owned())
        } else {
            Ok(())
        };
    };
    let (inner, after) = rest.split_once('}').ok_or_else(|| pattern.to_owned())?;
    if let Some((first, last)) = inner.split_once("..") {
        let parse = |text: &str| text.parse::<usize>().map_err(|_| inner.to_owned());
        let (from, to) = (parse(first)?, parse(last)?);
        if to < from || to - from >= MAX_SHARDS {
            return Err(inner.to_owned());
        }
        let width = if first.starts_with('0') {
            first.len()
        } else {
            0
        };
        for number in from..=to {
            expand(&format!("{before}{number:0width$}{after}"), names)?;
        }
    } else {
        for choice in inner.split(',') {
            expand(&format!("{before}{choice}{after}"), names)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expanded(pattern: &str) -> Result<Vec<String>, String> {
        let mut names = Vec::new();
        expand(pattern, &mut names).map(|()| names)
    }

    #[test]
    fn braces_expand_as_in_a_shell() {
        assert_eq!(
            expanded("a{08..10}.tar").unwrap(),
            ["a08.tar", "a09.tar", "a10.tar"]
        );
        assert_eq!(expanded("{0..1}{a,b}").unwrap(), ["0a", "0b", "1a", "1b"]);
        assert_eq!(expanded("plain").unwrap(), ["plain"]);
        assert_eq!(expanded("{x..3}").unwrap_err(), "x..3");
        assert_eq!(expanded("{3..1}").unwrap_err(), "3..1");
        assert!(expanded("{0..999999999999}").is_err());
        assert!(expanded("{0..9999}{0..9999}").is_err());
        assert!(expanded("a{0..1").is_err());
    }

    #[test]
    fn files_are_chosen_by_the_split_in_their_names() {
        let names = |names: &[&str]| names.iter().map(|&n| n.to_owned()).collect::<Vec<_>>();
        let all = names(&[
            "test-0.tar",
            "train-0.tar",
            "validation-0.tar",
            "validation-1.tar",
        ]);
        let test = of_split(all.clone(), Split::Test).unwrap();
        assert_eq!(test, ["validation-0.tar", "validation-1.tar"]);
        assert_eq!(of_split(all, Split::Train).unwrap(), ["train-0.tar"]);
        assert_eq!(of_split(names(&["train-0.tar"]), Split::Test), None);
        assert_eq!(
            of_split(names(&["0.tar", "1.tar"]), Split::Test)
                .unwrap()
                .len(),
            2
        );
    }
}
