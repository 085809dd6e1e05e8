use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::panic::{self, AssertUnwindSafe};
use std::path::Path;

use half::f16;
use parquet::basic::{LogicalType, Type};
use parquet::column::reader::{ColumnReader, ColumnReaderImpl};
use parquet::data_type::DataType;
use parquet::errors::{self, ParquetError};
use parquet::file::reader::FileReader;
use parquet::file::serialized_reader::SerializedFileReader;
use parquet::schema::types::ColumnDescPtr;
use topk_files::excerpt;

use super::{INDEX, LABEL, LOGITS};
use crate::logits::{Logits, LogitsError, format, unreadable};
use crate::rows::{Dtype, Rows};

/// Numbers that are decoded at once: 4 MiB of floats.
const BLOCK: usize = 1 << 20;

/// Opens a file of this program, or of any other with such columns. Indices are optional, and the plural names of other
/// formats are understood too.
///
/// The logits are copied to an unnamed temporary file, so that any row can be read.
pub(crate) fn read(path: &Path) -> Result<Logits, LogitsError> {
    let file = File::open(path).map_err(|error| unreadable(path, error))?;
    let length = file.metadata().map_err(|error| unreadable(path, error))?;
    let table = Table {
        path,
        bytes: length.len(),
        reader: guarded(path, || SerializedFileReader::new(file))?,
    };
    let logits = table.logits_column()?;
    let label = table.integer_column(LABEL, "labels")?;
    let label = label.ok_or_else(|| table.missing(LABEL))?;
    let index = table.integer_column(INDEX, "indices")?;
    let classes = table.classes(logits)?;

    let temporary = |error| LogitsError::Write {
        path: std::env::temp_dir(),
        error,
    };
    let copy = tempfile::tempfile().map_err(temporary)?;
    let mut copy = BufWriter::with_capacity(1 << 20, copy);
    let (mut labels, mut indices) = (Vec::new(), Vec::new());
    for group in 0..table.reader.num_row_groups() {
        let rows = table.rows(group)?;
        table.logits(group, logits, rows, classes, |logits| {
            let mut bytes = logits.iter().map(|logit| logit.to_le_bytes());
            bytes
                .try_for_each(|bytes| copy.write_all(&bytes))
                .map_err(temporary)
        })?;
        let start = labels.len();
        let found = table.integers(group, label, rows, start, LABEL, classes as u64)?;
        labels.extend(found.into_iter().map(|label| label as u32));
        match index {
            Some(index) => {
                let end = i64::MAX as u64;
                indices.extend(table.integers(group, index, rows, start, INDEX, end)?);
            }
            None => indices.extend((start..start + rows).map(|row| row as u64)),
        }
    }
    let rows = Rows {
        file: copy
            .into_inner()
            .map_err(|error| temporary(error.into_error()))?,
        first: 0,
        stride: (classes * Dtype::F32.size()) as u64,
        dtype: Dtype::F32,
        classes,
    };
    Ok(Logits::new(path.to_owned(), rows, labels, indices))
}

struct Table<'p> {
    path: &'p Path,
    bytes: u64,
    reader: SerializedFileReader<File>,
}

impl Table<'_> {
    fn columns(&self) -> &[ColumnDescPtr] {
        self.reader
            .metadata()
            .file_metadata()
            .schema_descr()
            .columns()
    }

    /// The column of logits: the elements of a list of floats.
    fn logits_column(&self) -> Result<usize, LogitsError> {
        let mut columns = self.columns().iter();
        let found = columns.position(|column| column.path().parts()[0] == LOGITS);
        let at = found.ok_or_else(|| self.missing(LOGITS))?;
        let column = &self.columns()[at];
        let half = || {
            column.physical_type() == Type::FIXED_LEN_BYTE_ARRAY
                && matches!(column.logical_type_ref(), Some(LogicalType::Float16))
        };
        let floats = matches!(column.physical_type(), Type::FLOAT | Type::DOUBLE) || half();
        match floats && column.max_rep_level() == 1 && column.path().parts().len() <= 3 {
            true => Ok(at),
            false => Err(self.wrong(LOGITS, "is not a list of floats".to_owned())),
        }
    }

    /// A column of integers with one of these names, if there is one.
    fn integer_column(
        &self,
        name: &'static str,
        plural: &str,
    ) -> Result<Option<usize>, LogitsError> {
        let find = |name: &str| {
            let mut columns = self.columns().iter();
            columns.position(|column| column.path().parts() == [name])
        };
        let Some(at) = find(name).or_else(|| find(plural)) else {
            return Ok(None);
        };
        let column = &self.columns()[at];
        let integers = matches!(column.physical_type(), Type::INT32 | Type::INT64);
        match integers && column.max_rep_level() == 0 {
            true => Ok(Some(at)),
            false => Err(self.wrong(name, "is not of integers".to_owned())),
        }
    }

    /// Number of rows of a group.
    fn rows(&self, group: usize) -> Result<usize, LogitsError> {
        let rows = self.reader.metadata().row_group(group).num_rows();
        // Each row takes some bytes, which limits the memory for labels and indices.
        let count = u64::try_from(rows).ok().filter(|&rows| rows <= self.bytes);
        let bytes = self.bytes;
        let count = count.ok_or_else(|| {
            let reason = format!("row group {group} has {rows} rows in {bytes} bytes");
            format(self.path, reason)
        });
        Ok(count? as usize)
    }

    /// Number of logits of each image, by the metadata.
    fn classes(&self, column: usize) -> Result<usize, LogitsError> {
        let groups = self.reader.metadata().row_groups().iter();
        let mut rows = groups.map(|group| (group.num_rows(), group.column(column).num_values()));
        let (rows, values) = rows
            .find(|&(rows, _)| rows > 0)
            .ok_or_else(|| self.wrong(LOGITS, "is empty".to_owned()))?;
        let classes = usize::try_from(values / rows).unwrap_or(0);
        match values % rows == 0 && classes > 0 {
            true => Ok(classes),
            false => Err(self.wrong(
                LOGITS,
                format!("has lists of different lengths: {values} values in {rows} rows"),
            )),
        }
    }

    /// Calls `each` with the logits of the rows of a group, in blocks.
    fn logits(
        &self,
        group: usize,
        column: usize,
        rows: usize,
        classes: usize,
        each: impl FnMut(&[f32]) -> Result<(), LogitsError>,
    ) -> Result<(), LogitsError> {
        let lists = Lists {
            table: self,
            level: self.columns()[column].max_def_level(),
            rows,
            classes,
        };
        match self.column(group, column)? {
            ColumnReader::FloatColumnReader(reader) => lists.read(reader, |&value| value, each),
            ColumnReader::DoubleColumnReader(reader) => {
                lists.read(reader, |&value| value as f32, each)
            }
            ColumnReader::FixedLenByteArrayColumnReader(reader) => {
                let value = |bytes: &[u8]| match bytes {
                    &[low, high] => f16::from_le_bytes([low, high]).to_f32(),
                    _ => f32::NAN,
                };
                lists.read(reader, |bytes| value(bytes.data()), each)
            }
            _ => Err(self.wrong(LOGITS, "is not a list of floats".to_owned())),
        }
    }

    /// The integers of a group whose first row is `start` of the file. Each must be in 0..`end`.
    fn integers(
        &self,
        group: usize,
        column: usize,
        rows: usize,
        start: usize,
        name: &'static str,
        end: u64,
    ) -> Result<Vec<u64>, LogitsError> {
        let values: Vec<i64> = match self.column(group, column)? {
            ColumnReader::Int64ColumnReader(reader) => self.whole(reader, rows, name)?,
            ColumnReader::Int32ColumnReader(reader) => self.whole(reader, rows, name)?,
            _ => return Err(self.wrong(name, "is not of integers".to_owned())),
        };
        let checked = values.into_iter().enumerate().map(|(row, value)| {
            let valid = u64::try_from(value).ok().filter(|&value| value < end);
            valid.ok_or_else(|| {
                let row = start + row;
                self.wrong(
                    name,
                    format!("has {value} at {row}, which is not in 0..{end}"),
                )
            })
        });
        checked.collect()
    }

    /// The values of a column without repetition and null.
    fn whole<T: DataType>(
        &self,
        mut reader: ColumnReaderImpl<T>,
        rows: usize,
        name: &'static str,
    ) -> Result<Vec<i64>, LogitsError>
    where
        T::T: Copy + Into<i64>,
    {
        let (mut found, mut levels, mut values) = (Vec::new(), Vec::new(), Vec::new());
        while found.len() < rows {
            levels.clear();
            values.clear();
            let batch = BLOCK.min(rows - found.len());
            let read = || reader.read_records(batch, Some(&mut levels), None, &mut values);
            let (records, ..) = guarded(self.path, read)?;
            if records == 0 {
                return Err(self.short(name, found.len(), rows));
            }
            if values.len() != records {
                return Err(self.wrong(name, "has null".to_owned()));
            }
            found.extend(values.iter().map(|&value| value.into()));
        }
        Ok(found)
    }

    fn column(&self, group: usize, column: usize) -> Result<ColumnReader, LogitsError> {
        guarded(self.path, || {
            let group = self.reader.get_row_group(group)?;
            group.get_column_reader(column)
        })
    }

    fn missing(&self, name: &'static str) -> LogitsError {
        let mut found: Vec<String> = Vec::new();
        for column in self.columns() {
            found.push(format!("`{}`", column.path().parts()[0]));
        }
        found.dedup();
        LogitsError::MissingColumn {
            path: self.path.to_owned(),
            name,
            found,
        }
    }

    fn wrong(&self, name: &'static str, reason: String) -> LogitsError {
        LogitsError::Column {
            path: self.path.to_owned(),
            name,
            reason,
        }
    }

    fn short(&self, name: &str, found: usize, rows: usize) -> LogitsError {
        let reason = format!("`{name}` ends after {found} of {rows} rows of a group");
        format(self.path, reason)
    }
}

/// Lists of the same length in a group of rows.
struct Lists<'t> {
    table: &'t Table<'t>,
    /// The definition level of elements that are not null.
    level: i16,
    rows: usize,
    /// Length of each list.
    classes: usize,
}

impl Lists<'_> {
    fn read<T: DataType>(
        &self,
        mut reader: ColumnReaderImpl<T>,
        value: impl Fn(&T::T) -> f32,
        mut each: impl FnMut(&[f32]) -> Result<(), LogitsError>,
    ) -> Result<(), LogitsError> {
        let (mut definitions, mut repetitions, mut decoded) = (Vec::new(), Vec::new(), Vec::new());
        let mut logits = Vec::new();
        let mut done = 0;
        while done < self.rows {
            definitions.clear();
            repetitions.clear();
            decoded.clear();
            let batch = (BLOCK / self.classes).clamp(1, self.rows - done);
            let levels = (Some(&mut definitions), Some(&mut repetitions));
            let read = || reader.read_records(batch, levels.0, levels.1, &mut decoded);
            let (records, ..) = guarded(self.table.path, read)?;
            if records == 0 {
                return Err(self.table.short(LOGITS, done, self.rows));
            }
            let starts = |(at, &level): (usize, &i16)| (level == 0) == (at % self.classes == 0);
            let complete = decoded.len() == records * self.classes
                && definitions.iter().all(|&level| level == self.level)
                && repetitions.iter().enumerate().all(starts);
            if !complete {
                let classes = self.classes;
                let reason = format!("has null, or lists of other lengths than {classes}");
                return Err(self.table.wrong(LOGITS, reason));
            }
            logits.clear();
            logits.extend(decoded.iter().map(&value));
            each(&logits)?;
            done += records;
        }
        Ok(())
    }
}

/// Calls the parquet library, which panics on some kinds of damage. The reader must not be used after an error.
fn guarded<T>(path: &Path, call: impl FnOnce() -> errors::Result<T>) -> Result<T, LogitsError> {
    let result = panic::catch_unwind(AssertUnwindSafe(call));
    let error = match result {
        Ok(Ok(value)) => return Ok(value),
        Ok(Err(error)) => error,
        Err(_) => return Err(format(path, "a page is damaged".to_owned())),
    };
    match error {
        ParquetError::External(error) => match error.downcast::<io::Error>() {
            Ok(error) => Err(unreadable(path, *error)),
            Err(error) => Err(format(path, excerpt(&error.to_string()))),
        },
        error => Err(format(path, excerpt(&error.to_string()))),
    }
}
