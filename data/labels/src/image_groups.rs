//! Groups of images, such as the factors of ImageNet-X.

use std::collections::{BTreeSet, HashMap};
use std::path::Path;

use serde_json::Value;
use topk_files::excerpt;

use crate::manifest::{Objects, items, objects};
use crate::table::{Row, rows};
use crate::{LabelError, text};

/// Titles of the column of images.
const IMAGE_TITLES: [&str; 6] = ["file_name", "filename", "image", "path", "file", "name"];

/// Titles of columns that have the class of an image, even where there are only two.
const CLASS_TITLES: [&str; 3] = ["class", "label", "target"];

/// Largest number of groups.
const MAX_GROUPS: usize = 1000;

/// The groups that images belong to, each to any number: ImageNet-X has such a table of 16 factors of variation (Idrissi
/// et al., "ImageNet-X: Understanding Model Mistakes with Factor of Variation Annotations", ICLR 2023).
#[derive(Clone, Debug)]
pub struct ImageGroups {
    names: Vec<String>,
    /// Groups of each image, by the name in the file.
    members: HashMap<String, Vec<u32>>,
}

impl ImageGroups {
    /// Reads a table with a row for each image and a column for each group, in which 1 or `true` means that the image
    /// belongs to it, and 0, `false` or nothing that it does not. The column `file_name`, `filename`, `image`, `path`, `file`
    /// or `name` has the image. Columns with other values are ignored.
    ///
    /// The file is CSV or TSV with a line of titles, an array of JSON objects, or one JSON object per line.
    ///
    /// # Errors
    /// If the file cannot be read or has no column of images, no groups, more than 1,000, or an image twice.
    pub fn read(path: &Path) -> Result<Self, LabelError> {
        let text = text::read(path)?;
        let Some((_, first)) = text::lines(&text).next() else {
            return Err(LabelError::Empty(path.to_owned()));
        };
        let rows = match first.as_bytes() {
            [b'[', ..] => items(path, &text)?,
            [b'{', ..] => objects(path, &text)?,
            _ => table(path, &text)?,
        };
        Self::of(path, rows)
    }

    fn of(path: &Path, rows: Objects) -> Result<Self, LabelError> {
        let groups_error = |reason: String| LabelError::Groups {
            path: path.to_owned(),
            reason,
        };
        let titles: BTreeSet<&String> = rows.iter().flat_map(|(_, row)| row.keys()).collect();
        let image = IMAGE_TITLES
            .iter()
            .find(|title| titles.iter().any(|known| known == *title));
        let Some(image) = image else {
            return Err(groups_error(format!(
                "it lacks a column with the names of the images, titled {}",
                IMAGE_TITLES.join(", ")
            )));
        };
        let is_group = |title: &str| {
            let mut values = rows.iter().map(|(_, row)| membership(row.get(title)));
            title != *image && !CLASS_TITLES.contains(&title) && values.all(|value| value.is_some())
        };
        let names: Vec<String> = (titles.into_iter())
            .filter(|title| is_group(title))
            .cloned()
            .collect();
        if !(1..=MAX_GROUPS).contains(&names.len()) {
            return Err(groups_error(format!(
                "{} columns have only the values 0 and 1, but there must be 1 to {MAX_GROUPS} groups",
                names.len()
            )));
        }
        let mut members = HashMap::with_capacity(rows.len());
        for (number, row) in &rows {
            let name = match row.get(*image) {
                Some(Value::String(name)) if !name.is_empty() => name,
                other => {
                    let found = other.map_or_else(String::new, Value::to_string);
                    return Err(LabelError::line(
                        path,
                        *number,
                        &found,
                        "the name of an image",
                    ));
                }
            };
            let groups = (0..).zip(&names);
            let groups = groups.filter(|(_, title)| membership(row.get(*title)) == Some(true));
            let groups = groups.map(|(group, _)| group).collect();
            if members.insert(key(name).to_owned(), groups).is_some() {
                let name = excerpt(key(name));
                return Err(groups_error(format!("{name} is in it twice")));
            }
        }
        Ok(Self { names, members })
    }

    /// Names of the groups.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// The groups of an image as indices of [`names`](Self::names), ascending; `None` if the file does not have it. Folders
    /// in the names do not matter.
    pub fn of_image(&self, name: &str) -> Option<&[u32]> {
        self.members.get(key(name)).map(Vec::as_slice)
    }
}

/// The name of an image without its folders.
fn key(name: &str) -> &str {
    name.rsplit(['/', '\\']).next().unwrap_or(name)
}

/// Whether a value says that an image belongs to a group; `None` if it says something else.
fn membership(value: Option<&Value>) -> Option<bool> {
    match value {
        None | Some(Value::Null) => Some(false),
        Some(Value::Bool(value)) => Some(*value),
        Some(Value::Number(number)) => match number.as_f64() {
            Some(0.0) => Some(false),
            Some(1.0) => Some(true),
            _ => None,
        },
        Some(Value::String(text)) => match text.to_ascii_lowercase().as_str() {
            "" | "0" | "0.0" | "false" => Some(false),
            "1" | "1.0" | "true" => Some(true),
            _ => None,
        },
        Some(Value::Array(_) | Value::Object(_)) => None,
    }
}

/// The rows of a table with titles.
fn table(path: &Path, text: &str) -> Result<Objects, LabelError> {
    let (rows, _) = rows(path, text)?;
    let mut rows = rows.into_iter();
    let Some(Row { fields: titles, .. }) = rows.next() else {
        return Err(LabelError::Empty(path.to_owned()));
    };
    let objects = rows.map(|Row { number, fields }| {
        if fields.len() != titles.len() {
            let expected = format!("{} columns as in the first line", titles.len());
            return Err(LabelError::line(path, number, &fields.join(","), expected));
        }
        let fields = titles
            .iter()
            .cloned()
            .zip(fields.into_iter().map(Value::from));
        Ok((number, fields.collect()))
    });
    objects.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<ImageGroups, String> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        ImageGroups::read(file.path()).map_err(|error| error.to_string())
    }

    #[test]
    fn tables_and_json_say_the_same() {
        // As of ImageNet-X, with columns that are not groups.
        let lines = r#"{"file_name":"ILSVRC2012_val_00000002.JPEG","class":762,"pose":1,"color":0,"justification":"a pan","larger":1}
{"file_name":"ILSVRC2012_val_00000001.JPEG","class":0,"pose":0,"color":0,"justification":"","larger":0}"#;
        let array = format!("[{}]", lines.replace('\n', ","));
        let csv = "file_name,class,pose,color,justification,larger\n\
                   ILSVRC2012_val_00000002.JPEG,762,1,0,\"a, pan\",1\nILSVRC2012_val_00000001.JPEG,0,0,0,,0\n";
        for text in [
            lines,
            &array,
            csv,
            &csv.replace("a, pan", "pan").replace(',', "\t"),
        ] {
            let groups = read(text).unwrap();
            let mut names = groups.names().to_vec();
            names.sort_unstable();
            assert_eq!(names, ["color", "larger", "pose"], "{text}");
            let of = |name: &str| {
                let found = groups.of_image(name)?.iter();
                Some(
                    found
                        .map(|&group| &*groups.names()[group as usize])
                        .collect::<Vec<_>>(),
                )
            };
            let mut second = of("n07584110/ILSVRC2012_val_00000002.JPEG").unwrap();
            second.sort_unstable();
            assert_eq!(second, ["larger", "pose"]);
            assert_eq!(of("ILSVRC2012_val_00000001.JPEG"), Some(vec![]));
            assert_eq!(of("ILSVRC2012_val_00000003.JPEG"), None);
        }
    }

    #[test]
    fn other_files_are_errors() {
        let error = |text: &str| read(text).unwrap_err();
        assert!(error("").ends_with("is empty"));
        assert!(
            error("a,b\n1,0\n")
                .contains("it lacks a column with the names of the images, titled file_name")
        );
        assert!(error("image,class\na.jpg,7\n").contains("0 columns have only the values 0 and 1"));
        assert!(error("image,dark\na.jpg,1\nx/a.jpg,0\n").contains("a.jpg is in it twice"));
        assert!(error("image,dark\na.jpg,1\n,0\n").contains("line 3"));
    }
}
