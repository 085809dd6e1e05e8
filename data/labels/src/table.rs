//! Tables of images and labels: their separator, line of titles, and columns.

use std::collections::{HashMap, HashSet};
use std::path::Path;

use topk_files::excerpt;

use crate::label_list::{file_name, keys};
use crate::{LabelError, classes, imagenet, text};

/// Titles of columns of images, the most likely first.
const IMAGE_TITLES: [&str; 22] = [
    "image",
    "filename",
    "file_name",
    "file",
    "path",
    "filepath",
    "file_path",
    "image_path",
    "img_path",
    "image_name",
    "img_name",
    "image_file",
    "imagename",
    "image_id",
    "imageid",
    "img",
    "img_id",
    "fname",
    "name",
    "id",
    "key",
    "url",
];

/// Titles of columns of labels, the most likely first.
const LABEL_TITLES: [&str; 26] = [
    "label",
    "labels",
    "target",
    "targets",
    "y",
    "class_index",
    "class_idx",
    "class_id",
    "classid",
    "label_idx",
    "label_id",
    "fine_label",
    "class",
    "classes",
    "category_id",
    "category",
    "wnid",
    "synset",
    "class_name",
    "classname",
    "label_name",
    "breed",
    "species",
    "label_group",
    "variety",
    "ground_truth",
];

/// Titles of columns that say which split an image belongs to.
const SPLIT_TITLES: [&str; 6] = ["split", "set", "subset", "partition", "fold", "usage"];

/// Extensions of images in names.
const EXTENSIONS: [&str; 11] = [
    "jpg", "jpeg", "png", "ppm", "bmp", "pgm", "tif", "tiff", "webp", "gif", "jfif",
];

/// An image and its label.
#[derive(Debug)]
pub(crate) struct Line {
    /// Number of the line, from 1.
    pub number: usize,
    pub name: String,
    pub label: String,
    /// What the column of splits has, if there is one.
    pub split: Option<String>,
}

/// The images and labels of a table.
#[derive(Debug)]
pub(crate) struct Table {
    pub lines: Vec<Line>,
    /// Title of the column of splits.
    pub split: Option<String>,
    /// How columns and titles were told apart, where that is not obvious.
    pub decisions: Vec<String>,
}

/// A line as fields.
pub(crate) struct Row {
    /// Number of the line, from 1.
    pub number: usize,
    pub fields: Vec<String>,
}

impl Table {
    /// Reads a table; `images` are the names of the images for which it is read.
    pub fn read(path: &Path, text: &str, images: &[&str]) -> Result<Self, LabelError> {
        let (rows, separated) = rows(path, text)?;
        Self::of_rows(path, &rows, separated, images)
    }

    /// Finds the columns of rows, whose first may have titles; `separated` says whether fields may contain spaces.
    pub fn of_rows(
        path: &Path,
        rows: &[Row],
        separated: bool,
        images: &[&str],
    ) -> Result<Self, LabelError> {
        let columns = rows.first().map_or(0, |row| row.fields.len());
        if let Some(row) = rows.iter().find(|row| row.fields.len() != columns) {
            let expected = format!("{columns} columns as in the first line");
            let found = row.fields.join(",");
            return Err(LabelError::line(path, row.number, &found, expected));
        }
        if columns < 2 {
            let row = &rows[0];
            let expected = "a name and a label separated by a tab, comma or space";
            let found = row.fields.join(",");
            return Err(LabelError::line(path, row.number, &found, expected));
        }
        let known: HashSet<&str> = images.iter().flat_map(|image| keys(image)).collect();
        let table = Layout {
            path,
            rows,
            columns,
            known: &known,
        };
        let titles = table.titles()?;
        let (name, label, mut decisions) = match titles {
            Some(titles) => table.by_title(titles)?,
            None => table.by_contents()?,
        };
        let mut split = None;
        if let Some(titles) = titles.filter(|_| separated) {
            let title = |column: usize| excerpt(&titles[column]);
            decisions.insert(
                0,
                format!(
                    "images from column {}, labels from {}",
                    title(name),
                    title(label)
                ),
            );
            split = titles
                .iter()
                .position(|title| is_any(title, &SPLIT_TITLES))
                .filter(|column| ![name, label].contains(column));
        }
        let split_title = split.and_then(|column| Some(titles?[column].clone()));
        let rows = rows.iter().skip(usize::from(titles.is_some()));
        let mut lines = Vec::with_capacity(rows.len());
        for row in rows {
            let [name, label] = [name, label].map(|column| row.fields[column].trim().to_owned());
            if name.is_empty() || label.is_empty() {
                let expected = "a name and a label";
                return Err(LabelError::line(
                    path,
                    row.number,
                    &row.fields.join(","),
                    expected,
                ));
            }
            lines.push(Line {
                number: row.number,
                name,
                label,
                split: split.map(|column| row.fields[column].trim().to_owned()),
            });
        }
        Ok(Self {
            lines,
            split: split_title,
            decisions,
        })
    }
}

/// The rows of a table, and whether it has separators other than spaces.
pub(crate) fn rows(path: &Path, text: &str) -> Result<(Vec<Row>, bool), LabelError> {
    let all = |separator| text::lines(text).all(|(_, line)| line.contains(separator));
    let some = |separator| text::lines(text).any(|(_, line)| line.contains(separator));
    // Names may contain the other separators.
    let separator = match () {
        () if all('\t') => b'\t',
        () if all(',') => b',',
        () if all(';') => b';',
        // A line without one is reported.
        () if some('\t') => b'\t',
        () if some(',') => b',',
        () => {
            let row = |(number, line): (usize, &str)| {
                let (name, label) = line.rsplit_once([' ', '\t']).ok_or_else(|| {
                    let expected = "a name and a label separated by a tab, comma or space";
                    LabelError::line(path, number, line, expected)
                })?;
                Ok(Row {
                    number,
                    fields: vec![name.trim().to_owned(), label.to_owned()],
                })
            };
            let rows = text::lines(text).map(row).collect::<Result<_, _>>()?;
            return Ok((rows, false));
        }
    };
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut reader = csv::ReaderBuilder::new()
        .has_headers(false)
        .flexible(true)
        .delimiter(separator)
        .trim(csv::Trim::All)
        .from_reader(text.as_bytes());
    let mut rows = Vec::new();
    for record in reader.records() {
        let record = record.map_err(|error| LabelError::Columns {
            path: path.to_owned(),
            reason: excerpt(&error.to_string()),
        })?;
        if record.iter().all(str::is_empty) {
            continue;
        }
        let number = record.position().map_or(0, csv::Position::line) as usize;
        let fields = record.iter().map(str::to_owned).collect();
        rows.push(Row { number, fields });
    }
    Ok((rows, true))
}

/// A table whose columns are to be found.
struct Layout<'a> {
    path: &'a Path,
    rows: &'a [Row],
    columns: usize,
    known: &'a HashSet<&'a str>,
}

impl<'a> Layout<'a> {
    /// The first line, if it consists of titles.
    fn titles(&self) -> Result<Option<&'a [String]>, LabelError> {
        let (first, rest) = self.rows.split_first().expect("there is a row");
        let fields = &first.fields;
        if fields
            .iter()
            .any(|field| is_image(field) || self.is_known(field))
        {
            return Ok(None);
        }
        let is_title =
            |field: &String| is_any(field, &IMAGE_TITLES) || is_any(field, &LABEL_TITLES);
        let titled = fields.iter().any(is_title);
        // Titles differ in kind from what is below them.
        let below = |column: usize, is: &dyn Fn(&str) -> bool| {
            !rest.is_empty() && rest.iter().all(|row| is(&row.fields[column]))
        };
        let number = |field: &str| classes::index(field).is_some();
        let image = |field: &str| is_image(field) || self.is_known(field);
        let wnid = |field: &str| imagenet::is_wnid(field);
        let differs = |column: usize| {
            let field = &fields[column];
            [&number as &dyn Fn(&str) -> bool, &image, &wnid]
                .into_iter()
                .any(|kind| !kind(field) && below(column, kind))
        };
        if titled || (0..self.columns).any(differs) {
            return Ok(Some(fields));
        }
        Ok(None)
    }

    /// The columns of images and labels with these titles.
    fn by_title(&self, titles: &[String]) -> Result<Found, LabelError> {
        let rest = &self.rows[1..];
        let column = |known: &[&str]| {
            let mut known = known.iter();
            known.find_map(|known| titles.iter().position(|title| same(title, known)))
        };
        let images = |column: usize| {
            let is_image =
                |row: &Row| is_image(&row.fields[column]) || self.is_known(&row.fields[column]);
            !rest.is_empty() && rest.iter().filter(|row| is_image(row)).count() * 2 > rest.len()
        };
        let by_values: Vec<usize> = (0..self.columns).filter(|&column| images(column)).collect();
        let titled = column(&IMAGE_TITLES);
        let name = match (
            titled.filter(|column| images(*column)),
            by_values.as_slice(),
        ) {
            (Some(column), _) | (None, &[column]) => Some(column),
            (None, _) => titled,
        };
        let labels: Vec<usize> = LABEL_TITLES
            .iter()
            .filter_map(|known| titles.iter().position(|title| same(title, known)))
            .filter(|column| Some(*column) != name)
            .collect();
        let (name, label) = match (name, labels.first()) {
            (Some(name), Some(&label)) => (name, label),
            // Of two columns, one title is enough.
            (Some(name), None) if self.columns == 2 => (name, 1 - name),
            (None, Some(&label)) if self.columns == 2 => (1 - label, label),
            (None, None) if self.columns == 2 => (0, 1),
            (name, _) => {
                let what = if name.is_none() {
                    "the images"
                } else {
                    "the labels"
                };
                return Err(self.unclear(format!(
                    "it is unclear which of the columns {} has {what}",
                    titles.join(", ")
                )));
            }
        };
        let other = labels
            .iter()
            .find(|&&other| other != label && !self.agree(label, other));
        if let Some(&other) = other {
            return Err(self.unclear(format!(
                "the columns {} and {} both look like labels, but have different classes",
                titles[label], titles[other]
            )));
        }
        Ok((name, label, Vec::new()))
    }

    /// The columns of images and labels of a table without titles.
    fn by_contents(&self) -> Result<Found, LabelError> {
        let all = |column: usize, is: &dyn Fn(&str) -> bool| {
            self.rows.iter().all(|row| is(&row.fields[column]))
        };
        let image = |field: &str| is_image(field) || self.is_known(field);
        if self.columns == 2 {
            let swapped = all(1, &image) && !all(0, &image);
            return Ok(match swapped {
                true => (1, 0, vec!["images from the second column".to_owned()]),
                false => (0, 1, Vec::new()),
            });
        }
        let columns = |is: &dyn Fn(&str) -> bool| -> Vec<usize> {
            (0..self.columns)
                .filter(|&column| all(column, is))
                .collect()
        };
        let wnid = |field: &str| imagenet::is_wnid(field);
        match (columns(&image).as_slice(), columns(&wnid).as_slice()) {
            // Tiny ImageNet's annotations have a box after the wnid.
            (&[name], &[label]) => {
                let decision = format!("WordNet IDs from column {}", label + 1);
                Ok((name, label, vec![decision]))
            }
            _ => Err(self.unclear(format!(
                "it has {} columns without titles, so it is unclear which one has the labels",
                self.columns
            ))),
        }
    }

    /// Whether two columns divide the rows into the same classes.
    fn agree(&self, one: usize, other: usize) -> bool {
        let (mut forward, mut back) = (HashMap::new(), HashMap::new());
        self.rows[1..].iter().all(|row| {
            let (one, other) = (&row.fields[one], &row.fields[other]);
            *forward.entry(one).or_insert(other) == other
                && *back.entry(other).or_insert(one) == one
        })
    }

    fn is_known(&self, field: &str) -> bool {
        let field = field.strip_prefix("./").unwrap_or(field);
        self.known.contains(field) || self.known.contains(file_name(field))
    }

    fn unclear(&self, reason: String) -> LabelError {
        LabelError::Columns {
            path: self.path.to_owned(),
            reason: excerpt(&reason),
        }
    }
}

/// Columns of images and labels, and decisions.
type Found = (usize, usize, Vec<String>);

fn is_any(title: &str, known: &[&str]) -> bool {
    known.iter().any(|known| same(title, known))
}

/// Whether a title is the known one, in any case, with `_` for spaces and hyphens.
fn same(title: &str, known: &str) -> bool {
    let title = title
        .trim()
        .trim_start_matches('#')
        .trim()
        .to_ascii_lowercase();
    title.replace([' ', '-'], "_") == known
}

fn is_image(name: &str) -> bool {
    let extension = name.rsplit_once('.').map_or("", |(_, extension)| extension);
    EXTENSIONS
        .iter()
        .any(|known| known.eq_ignore_ascii_case(extension))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str, images: &[&str]) -> Result<Vec<(String, String)>, String> {
        let table = Table::read(Path::new("list.csv"), text, images);
        let table = table.map_err(|error| error.to_string())?;
        let lines = table.lines.into_iter();
        Ok(lines.map(|line| (line.name, line.label)).collect())
    }

    #[test]
    fn columns_are_found_by_title_or_contents() {
        let images = ["a.jpg", "b.jpg"];
        for text in [
            "image,category\na.jpg,2\nb.jpg,10\n",
            "id,breed\na,2\nb,10\n",
            "foo,bar\na.jpg,2\nb.jpg,10\n",
            "foo bar\na.jpg 2\nb.jpg 10\n",
            "label,filename\r\n2,a.jpg\r\n10,b.jpg\r\n",
            ",file,label,split\n0,a.jpg,2,train\n1,b.jpg,10,val\n",
            "file;Class ID;class name\na.jpg;2;cat\nb.jpg;10;dog\n",
            "2,a.jpg\n10,b.jpg\n",
            "\"a.jpg\",2\n\"b.jpg\",10\n",
        ] {
            let lines = read(text, &images).unwrap();
            assert_eq!(lines.len(), 2, "{text}");
            assert!(
                lines[0].0.starts_with('a') && lines[1].0.starts_with('b'),
                "{text}"
            );
            assert_eq!((&*lines[0].1, &*lines[1].1), ("2", "10"), "{text}");
        }
        let quoted = read("image,label\n\"a, b.jpg\",\"tench, fish\"\n", &["a, b.jpg"]).unwrap();
        assert_eq!(quoted, [("a, b.jpg".to_owned(), "tench, fish".to_owned())]);
        let tiny = read("val_0.JPEG\tn03444034\t0\t32\t44\t62\n", &["val_0.JPEG"]).unwrap();
        assert_eq!(tiny[0].1, "n03444034");
    }

    #[test]
    fn ambiguous_columns_are_errors() {
        let images = ["a.jpg", "b.jpg"];
        for (text, expected) in [
            ("a.jpg,1,2\nb.jpg,2,3\n", "has 3 columns without titles"),
            (
                "image,x,z\na.jpg,1,2\nb.jpg,2,3\n",
                "which of the columns image, x, z has the labels",
            ),
            (
                "image,label,category\na.jpg,1,2\nb.jpg,2,2\n",
                "label and category both look like labels",
            ),
            (
                "image,label\na.jpg,1,2\n",
                "line 2: found `a.jpg,1,2`, expected 2 columns",
            ),
            ("image,label\na.jpg,\n", "line 2"),
        ] {
            let error = read(text, &images).unwrap_err();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }
}
