use std::collections::HashSet;
use std::fmt;

use parquet::basic::{ConvertedType, LogicalType, Type};
use parquet::file::metadata::ParquetMetaData;
use parquet::schema::types::ColumnDescPtr;
use serde_json::Value;

use topk_labels::imagenet;
use topk_labels::{Classes, MAX_CLASSES};

/// Names of the columns of images and of labels, the usual one first.
const IMAGES: [&str; 11] = [
    "image",
    "img",
    "jpg",
    "png",
    "jpeg",
    "webp",
    "image_bytes",
    "img_bytes",
    "picture",
    "photo",
    "bytes",
];
const LABELS: [&str; 16] = [
    "label",
    "labels",
    "fine_label",
    "target",
    "targets",
    "y",
    "class",
    "class_id",
    "class_idx",
    "class_index",
    "label_id",
    "class_label",
    "category",
    "category_id",
    "cls",
    "class_name",
];

/// Indices of the columns of a file.
#[derive(Debug)]
pub(crate) struct Columns {
    pub image: usize,
    pub path: Option<usize>,
    pub label: Option<usize>,
    /// Names of the columns of images and labels, and of other columns that may be labels.
    pub image_name: String,
    pub label_name: String,
    pub others: Vec<String>,
}

impl Columns {
    /// Finds the columns by their names and types. The error is what is missing.
    pub fn find(metadata: &ParquetMetaData) -> Result<Self, String> {
        let columns = metadata.file_metadata().schema_descr().columns();
        let find = |name: &[&str]| {
            let is_it = |column: &ColumnDescPtr| {
                let parts = column.path().parts();
                column.max_rep_level() == 0
                    && parts.len() == name.len()
                    && parts
                        .iter()
                        .zip(name)
                        .all(|(a, b)| a.eq_ignore_ascii_case(b))
            };
            columns.iter().position(is_it)
        };
        let image = Self::image(columns, &find)?;
        let image_name = columns[image].path().parts()[0].clone();
        let features = features(metadata);
        // Columns of classes according to the metadata.
        let classes = features.iter().flat_map(|features| features.keys());
        let mut classes = classes.filter(|name| class_names(&features, name).is_some());
        let only = classes.next().filter(|_| classes.next().is_none()).cloned();
        let named = LABELS.iter().map(|&name| name.to_owned());
        let mut labels: Vec<usize> = named
            .chain(only)
            .filter_map(|name| find(&[&name]))
            .filter(|&column| column != image)
            .collect();
        let mut seen = HashSet::new();
        labels.retain(|column| seen.insert(*column));
        let name = |column: &usize| columns[*column].path().string();
        let label = labels.first().copied();
        let path = find(&[&image_name, "path"]);
        // A column of nulls may have any type.
        let is_text = |column: &usize| columns[*column].physical_type() == Type::BYTE_ARRAY;
        Ok(Self {
            image,
            path: path.filter(is_text),
            label,
            label_name: label.as_ref().map(name).unwrap_or_default(),
            others: labels.iter().skip(1).map(name).collect(),
            image_name: name(&image),
        })
    }

    /// The column of images: the bytes of a group, or a column of bytes, with a usual name; or the only one.
    fn image(
        columns: &[ColumnDescPtr],
        find: &impl Fn(&[&str]) -> Option<usize>,
    ) -> Result<usize, String> {
        let named = |name: &&str| find(&[name, "bytes"]).or_else(|| find(&[name]));
        if let Some(image) = IMAGES.iter().find_map(named) {
            let column = &columns[image];
            return match column.physical_type() == Type::BYTE_ARRAY && !is_utf8(column) {
                true => Ok(image),
                false => Err(format!(
                    "column {} does not contain bytes",
                    column.path().string()
                )),
            };
        }
        let is_bytes = |column: &ColumnDescPtr| {
            column.max_rep_level() == 0
                && column.physical_type() == Type::BYTE_ARRAY
                && !is_utf8(column)
        };
        let mut bytes = (0..columns.len()).filter(|&column| is_bytes(&columns[column]));
        match (bytes.next(), bytes.next()) {
            (Some(image), None) => Ok(image),
            _ => {
                let names: Vec<String> = columns.iter().map(|c| c.path().string()).collect();
                let names = names.join(", ");
                Err(format!(
                    "no column named image.bytes or image; the columns are: {names}"
                ))
            }
        }
    }

    /// The classes of the labels in the file's metadata; empty if there are none.
    pub fn classes(&self, metadata: &ParquetMetaData) -> Classes {
        let features = features(metadata);
        let Some(names) = class_names(&features, &self.label_name) else {
            return Classes::Numbered(0);
        };
        let imagenet = imagenet::synsets().iter().map(|synset| synset.names);
        if imagenet.eq(names.iter().map(String::as_str)) {
            return Classes::Imagenet;
        }
        Classes::Named(names)
    }
}

impl fmt::Display for Columns {
    /// Which columns are read.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            image_name,
            label_name,
            others,
            ..
        } = self;
        write!(f, "images from column {image_name}, ")?;
        match (label_name.as_str(), others.as_slice()) {
            ("", _) => f.write_str("no column of labels"),
            (label, []) => write!(f, "labels from {label}"),
            (label, others) => write!(f, "labels from {label}, not {}", others.join(", ")),
        }
    }
}

type Features = Option<serde_json::Map<String, Value>>;

/// The metadata that `datasets` writes for each column, under the key `huggingface`.
fn features(metadata: &ParquetMetaData) -> Features {
    let entries = metadata.file_metadata().key_value_metadata()?;
    let entry = entries.iter().find(|entry| entry.key == "huggingface")?;
    let mut json: Value = serde_json::from_str(entry.value.as_deref()?).ok()?;
    match json.pointer_mut("/info/features")?.take() {
        Value::Object(features) => Some(features),
        _ => None,
    }
}

/// The names of the classes of a column.
fn class_names(features: &Features, column: &str) -> Option<Vec<String>> {
    let feature = features.as_ref()?.get(column)?;
    let is_classes = feature
        .get("_type")
        .is_some_and(|kind| kind == "ClassLabel");
    let names = feature.get("names").filter(|_| is_classes)?.as_array()?;
    let names: Vec<String> = names
        .iter()
        .map(|name| name.as_str().map(str::to_owned))
        .collect::<Option<_>>()?;
    (1..=MAX_CLASSES).contains(&names.len()).then_some(names)
}

fn is_utf8(column: &ColumnDescPtr) -> bool {
    column.converted_type() == ConvertedType::UTF8
        || matches!(column.logical_type_ref(), Some(LogicalType::String))
}
