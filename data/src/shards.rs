//! Data sets of several files.

use std::path::{Path, PathBuf};
use topk_files::excerpt;

use crate::split::Part;
use crate::walk::Entries;
use crate::{DataError, Format, Options, Warnings, split_folder, storage};

/// Largest number of files in a pattern.
const MAX_SHARDS: usize = 1 << 20;

/// Whether a path is a pattern rather than a file.
pub(crate) fn is_pattern(path: &Path) -> bool {
    let pattern = path
        .to_str()
        .is_some_and(|path| path.contains(['{', '*', '?', '[']));
    pattern && (storage::is_remote(path) || !path.exists())
}

/// The files of a path, by name: itself; those of a pattern with `{a,b}`, `{000..127}`, `*`, `?` or `[…]`;
/// or those in a folder, or in its folder `data`, restricted to the split if their names contain one.
pub(crate) fn files(
    path: &Path,
    format: Format,
    extension: &str,
    options: &Options,
    warnings: &mut Warnings,
) -> Result<Vec<PathBuf>, DataError> {
    let none = |expected| DataError::no_images(path, format, expected);
    if is_pattern(path) {
        let files = matching(path)?;
        if files.is_empty() {
            return Err(none("files that match the pattern"));
        }
        for file in &files {
            split_folder::check_requested(file, options)?;
        }
        return Ok(files);
    }
    if storage::is_file(path)? {
        split_folder::check_requested(path, options)?;
        return Ok(vec![path.to_owned()]);
    }
    let path = &split_folder::of_split(path, options, warnings)?;
    for folder in [path.to_owned(), path.join("data")] {
        if folder != *path && !storage::is_dir(&folder)? {
            continue;
        }
        let mut names = Entries::of(&folder)?.files;
        names.retain(|name| Path::new(name).extension().is_some_and(|e| e == extension));
        if names.is_empty() {
            continue;
        }
        let names = of_split(&folder, names, options, warnings)?;
        return Ok(names.into_iter().map(|name| folder.join(name)).collect());
    }
    Err(none(
        "a folder with .tar or .parquet files, a file, or a pattern such as `val-{00..63}.tar`",
    ))
}

/// The names that contain this split, or all if none contains a split.
fn of_split(
    path: &Path,
    names: Vec<String>,
    options: &Options,
    warnings: &mut Warnings,
) -> Result<Vec<String>, DataError> {
    let part = |name: &String| Part::of_file(name);
    let mut parts: Vec<Part> = names.iter().filter_map(part).collect();
    parts.sort_unstable();
    parts.dedup();
    if parts.iter().all(|part| *part == Part::Other) {
        split_folder::check_requested(path, options)?;
        return Ok(names);
    }
    let Some(chosen) = Part::chosen(options.split, &parts) else {
        let found: Vec<&str> = parts.iter().map(|part| part.name()).collect();
        return Err(DataError::NoSplit {
            path: path.to_owned(),
            split: options.split,
            found: found.join(", "),
        });
    };
    let (names, others): (Vec<_>, Vec<_>) = names
        .into_iter()
        .partition(|name| part(name) == Some(chosen));
    let shown = match names.as_slice() {
        [name] => name.clone(),
        names => format!("{} files such as {}", names.len(), names[0]),
    };
    let others = match others.as_slice() {
        [] | [_] => others.join(", "),
        others => format!("{} other files such as {}", others.len(), others[0]),
    };
    warnings.decide(split_folder::read_split(chosen, &shown, &others));
    Ok(names)
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
            let file = PathBuf::from(name);
            storage::inherit(path, &file);
            files.push(file);
            continue;
        }
        if let Some(matches) = storage::matching(&name)? {
            files.extend(matches);
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
    use crate::Split;

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
        let of = |names: &[String], split| {
            let options = Options {
                split,
                ..Options::default()
            };
            let names = names.to_vec();
            of_split(Path::new("data"), names, &options, &mut Warnings::default())
        };
        let val = ["validation-0.tar", "validation-1.tar"];
        assert_eq!(of(&all, Split::Evaluation).unwrap(), val);
        assert_eq!(of(&all, Split::Val).unwrap(), val);
        assert_eq!(of(&all, Split::Test).unwrap(), ["test-0.tar"]);
        assert_eq!(of(&all, Split::Train).unwrap(), ["train-0.tar"]);
        assert!(of(&names(&["train-0.tar"]), Split::Evaluation).is_err());
        let plain = names(&["0.tar", "1.tar"]);
        assert_eq!(of(&plain, Split::Evaluation).unwrap().len(), 2);
    }
}
