use parquet::basic::Type;
use parquet::file::metadata::ParquetMetaData;
use serde_json::Value;

use topk_labels::imagenet;
use topk_labels::{Classes, MAX_CLASSES};

/// Names of the columns of images and of labels, the usual one first.
const IMAGES: [&str; 4] = ["image", "img", "jpg", "png"];
const LABELS: [&str; 3] = ["label", "labels", "fine_label"];

/// Indices of the columns of a file.
#[derive(Debug)]
pub(crate) struct Columns {
    pub image: usize,
    pub path: Option<usize>,
    pub label: Option<usize>,
    label_name: String,
}

impl Columns {
    /// Finds the columns by their names and types. The error is what is missing.
    pub fn find(metadata: &ParquetMetaData) -> Result<Self, String> {
        let columns = metadata.file_metadata().schema_descr().columns();
        let find = |name: &[&str]| {
            let is_it = |column: &parquet::schema::types::ColumnDescPtr| {
                column.max_rep_level() == 0 && column.path().parts() == name
            };
            columns.iter().position(is_it)
        };
        let image = IMAGES
            .iter()
            .find_map(|name| Some((name, find(&[name, "bytes"])?)));
        let Some((image_name, image)) = image else {
            let names: Vec<String> = columns.iter().map(|c| c.path().string()).collect();
            let names = names.join(", ");
            return Err(format!(
                "no column named image.bytes; the columns are: {names}"
            ));
        };
        if columns[image].physical_type() != Type::BYTE_ARRAY {
            return Err(format!("column {image_name}.bytes does not contain bytes"));
        }
        let features = features(metadata);
        let labels = LABELS.iter().map(|&name| name.to_owned());
        // Or the only column of classes according to the metadata.
        let others = features.iter().flat_map(|features| features.keys());
        let mut others = others.filter(|name| class_names(&features, name).is_some());
        let other = others.next().filter(|_| others.next().is_none()).cloned();
        let label = labels
            .chain(other)
            .find_map(|name| Some((find(&[&name])?, name)));
        let (label, label_name) = label.unzip();
        let path = find(&[image_name, "path"]);
        Ok(Self {
            image,
            path,
            label,
            label_name: label_name.unwrap_or_default(),
        })
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
