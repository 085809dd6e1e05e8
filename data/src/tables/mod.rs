//! Images in parquet files, as written by Hugging Face's `datasets`: a column `image` of encoded images and
//! their paths, and a column of labels, whose class names are in the file's metadata. Columns of bytes
//! without paths, and labels that are text, are read as well.

mod cursor;
mod guard;
mod input;
mod schema;

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use parquet::column::reader::{ColumnReader, ColumnReaderImpl};
use parquet::data_type::DataType;
use parquet::file::metadata::ColumnChunkMetaData;
use parquet::file::reader::FileReader;
use parquet::file::serialized_reader::SerializedFileReader;

use crate::listing::Listing;
use crate::sample::{Image, Sample};
use crate::storage::{self, Source};
use crate::store::{Store, check_size};
use crate::{DataError, Format, Options, Warnings, listed, shards};
use cursor::Cursors;
use guard::{damaged, guarded};
use input::{Input, Listed};
use schema::Columns;
use topk_labels::{Classes, MAX_CLASSES};

/// Number of values that are decoded at once.
const BATCH: usize = 1 << 10;

/// Longest path of an image.
const MAX_PATH_BYTES: usize = 1 << 12;

/// Rows with images in parquet files.
///
/// Pages are decompressed under a lock, which takes much less time than decoding the images. Threads may
/// read rows in any order; rows soon after one that was read recently are fast. Memory holds some pages,
/// never a file or a group of rows.
#[derive(Debug)]
pub(crate) struct Tables {
    paths: Vec<PathBuf>,
    groups: Vec<Group>,
    cursors: Mutex<Cursors>,
}

/// A group of rows.
#[derive(Clone, Copy, Debug)]
struct Group {
    /// Index of its file.
    table: usize,
    /// Its index in the file.
    index: usize,
    /// Index of the column of images.
    column: usize,
    /// Its first row: counted in its file while that is listed, then over all files.
    start: usize,
    /// Number of its rows.
    rows: usize,
    /// Where the column of images is, in bytes.
    bytes: (u64, u64),
}

/// Where a column of a group is: its first byte and its length.
fn chunk(column: &ColumnChunkMetaData) -> (u64, u64) {
    let starts = [
        Some(column.data_page_offset()),
        column.dictionary_page_offset(),
    ];
    let starts = starts
        .into_iter()
        .flatten()
        .filter_map(|start| u64::try_from(start).ok());
    let length = u64::try_from(column.compressed_size()).unwrap_or(0);
    (starts.min().unwrap_or(0), length)
}

/// Label and path of each row.
#[derive(Default)]
struct Rows {
    labels: Vec<Option<u32>>,
    /// Labels that are text, whose classes are known at the end.
    texts: Vec<Option<String>>,
    paths: Vec<Option<String>>,
}

/// Lists the rows of all files.
pub(crate) fn list(
    path: &Path,
    options: &Options,
    warnings: &mut Warnings,
) -> Result<Listing, DataError> {
    let paths = shards::files(path, Format::Parquet, "parquet", options, warnings)?;
    let mut groups = Vec::new();
    let mut rows = Rows::default();
    let mut numbered = Vec::new();
    let mut classes = None;
    let listed = listed::of_files(&paths, |table| {
        let (mut rows, mut groups) = (Rows::default(), Vec::new());
        let mut warnings = Warnings::default();
        let classes = rows.add(table, &paths[table], &mut groups, &mut warnings)?;
        Ok((rows, groups, warnings, classes))
    });
    for (file, (found, of_file, more, classes_of_file)) in paths.iter().zip(listed?) {
        warnings.extend(more);
        if *classes.get_or_insert_with(|| classes_of_file.clone()) != classes_of_file {
            return Err(damaged(
                file,
                "its classes differ from those of the other files",
            ));
        }
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        numbered.extend((0..found.labels.len()).map(|row| format!("{name}/{row:05}")));
        let before = rows.labels.len();
        groups.extend(of_file.into_iter().map(|group| Group {
            start: group.start + before,
            ..group
        }));
        rows.append(found);
    }
    if rows.labels.is_empty() {
        return Err(DataError::Empty(path.to_owned()));
    }
    if rows.texts.iter().any(Option::is_some) {
        classes = Some(rows.classify(path)?);
    }
    let largest = rows.labels.iter().flatten().max();
    let counted = largest.map_or(0, |&label| label as usize + 1);
    let classes = classes.filter(|classes| !classes.is_empty());
    let names = names(rows.paths).unwrap_or(numbered);
    let samples = names.into_iter().zip(rows.labels).enumerate();
    Ok(Listing {
        path: path.to_owned(),
        labels: None,
        classes: classes.unwrap_or(Classes::Numbered(counted)),
        samples: samples
            .map(|(slot, (name, label))| Sample { name, label, slot })
            .collect(),
        store: Box::new(Tables {
            paths,
            groups,
            cursors: Mutex::default(),
        }),
    })
}

/// The paths as names, if every image has a unique one.
fn names(paths: Vec<Option<String>>) -> Option<Vec<String>> {
    let names: Vec<String> = paths.into_iter().collect::<Option<_>>()?;
    let mut sorted: Vec<&str> = names.iter().map(String::as_str).collect();
    sorted.sort_unstable();
    let unique = sorted.windows(2).all(|pair| pair[0] != pair[1]);
    (unique && sorted.first().is_some_and(|first| !first.is_empty())).then_some(names)
}

impl Rows {
    /// Adds the rows of a file and returns its classes, which are empty if they have no names.
    fn add(
        &mut self,
        table: usize,
        path: &Path,
        groups: &mut Vec<Group>,
        warnings: &mut Warnings,
    ) -> Result<Classes, DataError> {
        let (file, length, listed) = open(path, true)?;
        let metadata = file.metadata();
        let columns = Columns::find(metadata).map_err(|reason| damaged(path, reason))?;
        let classes = columns.classes(metadata);
        warnings.decide(columns.to_string());
        for (index, group) in metadata.row_groups().iter().enumerate() {
            let rows = group.num_rows();
            // Each image takes some bytes, which limits the memory for labels and paths.
            let count = u64::try_from(rows).ok().filter(|&rows| rows <= length);
            let count = count.ok_or_else(|| {
                damaged(
                    path,
                    format!("row group {index} has {rows} rows in {length} bytes"),
                )
            })? as usize;
            let start = self.labels.len();
            groups.push(Group {
                table,
                index,
                column: columns.image,
                start,
                rows: count,
                bytes: chunk(group.column(columns.image)),
            });

            let labels = match columns.label {
                Some(column) => labels(path, &file, index, column, count)?,
                None => Labels::Numbers(vec![None; count]),
            };
            match labels {
                Labels::Numbers(labels) => {
                    for (row, label) in labels.into_iter().enumerate() {
                        let label = checked(path, start + row, label, &classes)?;
                        self.labels.push(label);
                        self.texts.push(None);
                    }
                }
                Labels::Texts(texts) => {
                    self.labels.extend(vec![None; count]);
                    self.texts.extend(texts);
                }
            }
            let paths = match columns.path {
                Some(column) => strings(path, &file, index, column, count)?,
                None => vec![None; count],
            };
            self.paths.extend(paths);
        }
        listed.finish();
        Ok(classes)
    }

    /// Adds the rows of a later file.
    fn append(&mut self, file: Self) {
        self.labels.extend(file.labels);
        self.texts.extend(file.texts);
        self.paths.extend(file.paths);
    }

    /// Sets the labels of rows whose labels are text, and returns the classes.
    fn classify(&mut self, path: &Path) -> Result<Classes, DataError> {
        let present: Vec<&str> = self.texts.iter().flatten().map(String::as_str).collect();
        let numbers = self.labels.iter().any(Option::is_some);
        let found = Classes::of_texts(&present).filter(|_| !numbers);
        let (classes, found) = found.ok_or_else(|| {
            let reason = "its labels are not the same kind of text in all files, or over the limit of classes";
            damaged(path, reason)
        })?;
        let mut found = found.into_iter();
        let labels = self.texts.iter().zip(&mut self.labels);
        for (_, label) in labels.filter(|(text, _)| text.is_some()) {
            *label = found.next();
        }
        Ok(classes)
    }
}

/// The labels of a group of rows.
enum Labels {
    Numbers(Vec<Option<i64>>),
    Texts(Vec<Option<String>>),
}

/// The label of a value. −1 means that there is none, as in test sets.
fn checked(
    path: &Path,
    record: usize,
    label: Option<i64>,
    classes: &Classes,
) -> Result<Option<u32>, DataError> {
    let Some(label) = label.filter(|&label| label != -1) else {
        return Ok(None);
    };
    let classes = if classes.is_empty() {
        MAX_CLASSES
    } else {
        classes.len()
    };
    match u32::try_from(label) {
        Ok(class) if (class as usize) < classes => Ok(Some(class)),
        _ => Err(DataError::Label {
            path: path.to_owned(),
            record,
            label,
            classes,
        }),
    }
}

/// Labels of a column.
fn labels(
    path: &Path,
    file: &SerializedFileReader<Input>,
    group: usize,
    column: usize,
    count: usize,
) -> Result<Labels, DataError> {
    // Not a label, so an error.
    const FRACTION: i64 = i64::MIN;
    let level = level(file, column);
    let whole = |value: f64| match value.fract() == 0.0 && value.abs() < 1e9 {
        true => value as i64,
        false => FRACTION,
    };
    Ok(Labels::Numbers(match reader(path, file, group, column)? {
        ColumnReader::Int64ColumnReader(reader) => values(path, reader, level, count, |&v| v)?,
        ColumnReader::Int32ColumnReader(reader) => {
            values(path, reader, level, count, |&v| v.into())?
        }
        ColumnReader::BoolColumnReader(reader) => {
            values(path, reader, level, count, |&v| v.into())?
        }
        ColumnReader::FloatColumnReader(reader) => {
            values(path, reader, level, count, |&v| whole(v.into()))?
        }
        ColumnReader::DoubleColumnReader(reader) => {
            values(path, reader, level, count, |&v| whole(v))?
        }
        ColumnReader::ByteArrayColumnReader(_) => {
            return Ok(Labels::Texts(strings(path, file, group, column, count)?));
        }
        _ => return Err(damaged(path, "its labels are neither numbers nor text")),
    }))
}

/// Texts of a column; empty if they are not UTF-8 or too long for a path.
fn strings(
    path: &Path,
    file: &SerializedFileReader<Input>,
    group: usize,
    column: usize,
    count: usize,
) -> Result<Vec<Option<String>>, DataError> {
    let level = level(file, column);
    match reader(path, file, group, column)? {
        ColumnReader::ByteArrayColumnReader(reader) => {
            values(path, reader, level, count, |bytes| {
                let bytes = bytes.data();
                let text = if bytes.len() <= MAX_PATH_BYTES {
                    bytes
                } else {
                    b""
                };
                String::from_utf8(text.to_vec()).unwrap_or_default()
            })
        }
        _ => Err(damaged(path, "the paths of its images are not text")),
    }
}

/// The values of a column in a row group. Values whose definition level is not `present_level` are null.
fn values<T: DataType, V: Clone>(
    path: &Path,
    mut reader: ColumnReaderImpl<T>,
    present_level: i16,
    count: usize,
    value: impl Fn(&T::T) -> V,
) -> Result<Vec<Option<V>>, DataError> {
    let mut found = Vec::new();
    let (mut levels, mut decoded) = (Vec::new(), Vec::new());
    while found.len() < count {
        levels.clear();
        decoded.clear();
        let batch = BATCH.min(count - found.len());
        let read = || reader.read_records(batch, Some(&mut levels), None, &mut decoded);
        let (records, present, _) = guarded(path, read)?;
        if records == 0 {
            let rows = found.len();
            return Err(damaged(
                path,
                format!("a column ends after {rows} of {count} rows"),
            ));
        }
        if present == records {
            found.extend(decoded.iter().map(|v| Some(value(v))));
        } else {
            let mut decoded = decoded.iter();
            let value = |&level: &i16| {
                let value = (level == present_level).then(|| decoded.next().map(&value));
                value.flatten()
            };
            found.extend(levels.iter().map(value));
        }
    }
    Ok(found)
}

/// The definition level of values that are not null.
fn level(file: &SerializedFileReader<Input>, column: usize) -> i16 {
    let schema = file.metadata().file_metadata().schema_descr();
    schema.column(column).max_def_level()
}

/// A reader of a column in a row group.
fn reader(
    path: &Path,
    file: &SerializedFileReader<Input>,
    group: usize,
    column: usize,
) -> Result<ColumnReader, DataError> {
    let metadata = file.metadata().row_group(group).column(column);
    let starts = [
        Some(metadata.data_page_offset()),
        metadata.dictionary_page_offset(),
    ];
    let starts = starts.into_iter().flatten();
    // The library panics at these.
    if starts
        .chain([metadata.compressed_size()])
        .any(|number| number < 0)
    {
        let reason = format!("column {column} of row group {group} has a negative offset or size");
        return Err(damaged(path, reason));
    }
    guarded(path, || {
        file.get_row_group(group)?.get_column_reader(column)
    })
}

/// Opens a file and returns its length.
fn open(
    path: &Path,
    listing: bool,
) -> Result<(SerializedFileReader<Input>, u64, Listed), DataError> {
    let (file, length, listed) = Input::open(path, listing)?;
    if listing || !storage::is_remote(path) {
        DataError::check_placeholder(path)?;
    }
    let reader = guarded(path, || SerializedFileReader::new(file))?;
    Ok((reader, length, listed))
}

impl Tables {
    /// The group that a row is in, counted over all files.
    fn group_of(&self, row: usize) -> usize {
        self.groups.partition_point(|group| group.start <= row) - 1
    }
}

impl Store for Tables {
    fn read(&self, sample: &Sample) -> Result<Image, DataError> {
        let row = sample.slot;
        let index = self.group_of(row);
        let group = self.groups[index];
        let (path, row) = (&self.paths[group.table], row - group.start);
        let open = || {
            let (file, ..) = open(path, false)?;
            match reader(path, &file, group.index, group.column)? {
                ColumnReader::ByteArrayColumnReader(reader) => Ok(reader),
                _ => Err(damaged(path, "its columns have changed")),
            }
        };
        let bytes = {
            let mut cursors = self.cursors.lock().unwrap_or_else(PoisonError::into_inner);
            cursors.read(path, index, group.rows, row, open)?
        };
        let name = || format!("row {row} of row group {}", group.index);
        let bytes = bytes.ok_or_else(|| damaged(path, format!("{} has no image bytes", name())))?;
        check_size(path, &name(), bytes.len() as u64)?;
        Ok(Image::Encoded(bytes.data().to_vec()))
    }

    fn size(&self, _: &Sample) -> Result<u64, DataError> {
        Ok(0)
    }

    fn read_ahead(&self, samples: &mut dyn Iterator<Item = &Sample>) {
        for sample in samples {
            let group = self.groups[self.group_of(sample.slot)];
            let path = &self.paths[group.table];
            // Whoever reads the image reports the error.
            let Ok(file) = Source::open(path) else { return };
            // Where the row would be if all took the same space.
            let (start, length) = group.bytes;
            let row = (sample.slot - group.start) as u64;
            let at = |row: u64| {
                start + (u128::from(length) * u128::from(row) / group.rows as u128) as u64
            };
            file.read_ahead(at(row)..at(row + 1));
        }
    }

    fn run(&self, sample: &Sample) -> Option<u64> {
        Some(self.group_of(sample.slot) as u64)
    }
}
