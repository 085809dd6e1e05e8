//! Lists that are a data set of their own: images by path, with label and split.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::{Map, Value};
use topk_files::excerpt;

use crate::label_list::classify;
use crate::table::{Row, Table};
use crate::{Classes, LabelError, text};

/// A list of images with their labels, and the split of each if it says so.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Manifest {
    /// The images, in the order of the file.
    pub entries: Vec<ManifestEntry>,
    /// The classes of the labels of all splits.
    pub classes: Classes,
    /// Title of the column of splits, if there is one.
    pub split: Option<String>,
    /// How columns were told apart, where that is not obvious.
    pub decisions: Vec<String>,
}

/// An image of a manifest.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ManifestEntry {
    /// Its path.
    pub path: String,
    /// Its class.
    pub label: u32,
    /// What the column of splits has.
    pub split: Option<String>,
}

/// How a file lists its entries.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Layout {
    /// One line each: CSV, TSV, and JSON lines.
    Lines,
    /// As items of one JSON array.
    Items,
}

impl Manifest {
    /// Whether a file of this name is read as a manifest: `.csv`, `.tsv`, `.json`, `.jsonl` or `.ndjson`.
    pub fn is_named(path: &Path) -> bool {
        let extension = path.extension().and_then(|extension| extension.to_str());
        extension.is_some_and(|extension| {
            let known = ["csv", "tsv", "json", "jsonl", "ndjson"];
            known
                .iter()
                .any(|known| known.eq_ignore_ascii_case(extension))
        })
    }

    /// Reads a table with a line of titles such as `path,label,split`, whose order and other columns do not matter, or
    /// the same as JSON: an array of objects, or one object per line. Labels are class indices, wnids or class names.
    ///
    /// # Errors
    /// If the file cannot be read, is empty, an entry is invalid, or it is not clear which columns are meant.
    pub fn read(path: &Path) -> Result<Self, LabelError> {
        let text = text::read(path)?;
        let Some((_, first)) = text::lines(&text).next() else {
            return Err(LabelError::Empty(path.to_owned()));
        };
        let (layout, table) = match first.as_bytes() {
            [b'[', ..] => (Layout::Items, table_of(path, items(path, &text)?)),
            [b'{', ..] => (Layout::Lines, table_of(path, objects(path, &text)?)),
            _ => (Layout::Lines, Table::read(path, &text, &[])),
        };
        let read = table.and_then(|table| Self::of(path, table));
        read.map_err(|error| match (layout, error) {
            (
                Layout::Items,
                LabelError::Line {
                    path,
                    line,
                    found,
                    expected,
                },
            ) => LabelError::Entry {
                path,
                entry: line,
                found,
                expected,
            },
            (_, error) => error,
        })
    }

    fn of(path: &Path, table: Table) -> Result<Self, LabelError> {
        let Table {
            lines,
            split,
            decisions,
        } = table;
        if let Some(line) = lines.iter().find(|line| line.name.contains("://")) {
            let expected = "a path, absolute or relative to the folder of this file";
            return Err(LabelError::line(path, line.number, &line.name, expected));
        }
        let (classes, labels) = classify(path, &lines)?;
        let entries = lines.into_iter().zip(labels).map(|(line, label)| {
            let path = line.name.strip_prefix("./").unwrap_or(&line.name);
            ManifestEntry {
                path: path.to_owned(),
                label,
                split: line.split,
            }
        });
        Ok(Self {
            entries: entries.collect(),
            classes,
            split,
            decisions,
        })
    }
}

pub(crate) type Objects = Vec<(usize, Map<String, Value>)>;

/// The entries of a JSON array, numbered from 1.
pub(crate) fn items(path: &Path, text: &str) -> Result<Objects, LabelError> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let items: Vec<Map<String, Value>> =
        serde_json::from_str(text).map_err(|error| json(path, &error))?;
    if items.is_empty() {
        return Err(LabelError::Empty(path.to_owned()));
    }
    Ok((1..).zip(items).collect())
}

/// The objects of JSON lines.
pub(crate) fn objects(path: &Path, text: &str) -> Result<Objects, LabelError> {
    let object = |(number, line): (usize, &str)| {
        let object = serde_json::from_str(line);
        let object = object.map_err(|error| match text::lines(text).nth(1) {
            // One object over several lines.
            Some(_) if number == 1 => json(path, &error),
            _ => LabelError::line(
                path,
                number,
                line,
                "a JSON object such as {\"path\": \"a.jpg\", \"label\": \"cat\"}",
            ),
        });
        Ok((number, object?))
    };
    text::lines(text).map(object).collect()
}

fn json(path: &Path, error: &serde_json::Error) -> LabelError {
    LabelError::Json {
        path: path.to_owned(),
        reason: excerpt(&error.to_string()),
        expected: "a list of objects such as [{\"path\": \"a.jpg\", \"label\": \"cat\", \"split\": \"train\"}], or one \
                   object per line",
    }
}

/// The table of objects, whose keys are titles.
fn table_of(path: &Path, objects: Objects) -> Result<Table, LabelError> {
    let titles: BTreeSet<&String> = objects
        .iter()
        .flat_map(|(_, object)| object.keys())
        .collect();
    let titles: Vec<String> = titles.into_iter().cloned().collect();
    let field = |object: &Map<String, Value>, title: &String| match object.get(title) {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => text.clone(),
        Some(value) => value.to_string(),
    };
    let mut rows = vec![Row {
        number: 0,
        fields: titles.clone(),
    }];
    rows.extend(objects.iter().map(|(number, object)| Row {
        number: *number,
        fields: titles.iter().map(|title| field(object, title)).collect(),
    }));
    Table::of_rows(path, &rows, true, &[])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Manifest, String> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        Manifest::read(file.path()).map_err(|error| error.to_string())
    }

    #[test]
    fn tables_and_json_say_the_same() {
        let expected = read("path,label,split\na/1.jpg,cat,train\nb.png,dog,val\n").unwrap();
        assert_eq!(expected.split.as_deref(), Some("split"));
        assert_eq!(
            expected.classes,
            Classes::Named(vec!["cat".into(), "dog".into()])
        );
        let entry = |path: &str, label, split: &str| ManifestEntry {
            path: path.to_owned(),
            label,
            split: Some(split.to_owned()),
        };
        let entries = [entry("a/1.jpg", 0, "train"), entry("b.png", 1, "val")];
        assert_eq!(expected.entries, entries);
        for text in [
            "split\tpath\tlabel\ntrain\ta/1.jpg\tcat\nval\t./b.png\tdog\n",
            r#"[{"path": "a/1.jpg", "label": "cat", "split": "train"},
                {"path": "b.png", "label": "dog", "split": "val", "width": 3}]"#,
            "{\"path\": \"a/1.jpg\", \"label\": \"cat\", \"split\": \"train\"}\n\n\
             {\"split\": \"val\", \"label\": \"dog\", \"path\": \"b.png\"}\n",
        ] {
            assert_eq!(read(text).unwrap().entries, entries, "{text}");
        }
        let numbers = read(r#"[{"image": "a.jpg", "label": 2}, {"image": "b.jpg", "label": 0}]"#);
        let numbers = numbers.unwrap();
        assert_eq!(
            (numbers.classes, numbers.split),
            (Classes::Numbered(3), None)
        );
    }

    #[test]
    fn errors_name_the_line_or_the_entry() {
        for (text, expected) in [
            ("path,label\na.jpg,\n", "line 2: found `a.jpg,`"),
            (
                "path,label\nhttps://a/b.jpg,0\n",
                "line 2: found `https://a/b.jpg`, expected a path",
            ),
            (
                r#"[{"path": "a.jpg", "label": 1}, {"path": "b.jpg"}]"#,
                "entry 2: found",
            ),
            (
                r#"[{"path": "a.jpg", "label": 1}, 3]"#,
                "expected a list of objects such as",
            ),
            (
                "{\"path\": \"a.jpg\", \"label\": 1}\n{\n",
                "line 2: found `{`",
            ),
            ("{\n\"path\": 3}\n", "or one object per line"),
            ("\n", "is empty"),
            ("[]", "is empty"),
            ("a.jpg,0,train\n", "columns without titles"),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }
}
