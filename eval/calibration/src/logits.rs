use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use rayon::prelude::*;
use serde::Deserialize;
use thiserror::Error;
use zip::result::ZipError;

use crate::LogitsWriter;
use crate::npy;
use crate::parquet;
use crate::rows::{Dtype, Rows, integers};

/// Files of logits that cannot be read or written.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum LogitsError {
    /// The extension is not that of a supported format.
    #[error("{path}: expected a file name that ends in .npz, .safetensors or .parquet")]
    Extension {
        /// The file.
        path: PathBuf,
    },
    /// Reading failed.
    #[error("cannot read {path}: {error}")]
    Read {
        /// The file.
        path: PathBuf,
        /// The cause.
        error: io::Error,
    },
    /// Writing failed.
    #[error("cannot write {path}: {error}")]
    Write {
        /// The file.
        path: PathBuf,
        /// The cause.
        error: io::Error,
    },
    /// The file is not of the format that its name says.
    #[error("{path} is not a file of this format, or is damaged: {reason}")]
    Format {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// An array is missing.
    #[error(
        "{path} has no array `{name}`, only {}; expected `logits` with a row per image and `labels`",
        if found.is_empty() { "none at all".to_owned() } else { found.join(", ") }
    )]
    Missing {
        /// The file.
        path: PathBuf,
        /// The array.
        name: &'static str,
        /// The arrays that it has.
        found: Vec<String>,
    },
    /// An array cannot be used.
    #[error("{path}: the array `{name}` {reason}")]
    Array {
        /// The file.
        path: PathBuf,
        /// The array.
        name: &'static str,
        /// What is wrong.
        reason: String,
    },
    /// A column is missing.
    #[error(
        "{path} has no column `{name}`, only {}; expected `logits`, a list of floats for each image, and `label`",
        found.join(", ")
    )]
    MissingColumn {
        /// The file.
        path: PathBuf,
        /// The column.
        name: &'static str,
        /// The columns that it has.
        found: Vec<String>,
    },
    /// A column cannot be used.
    #[error("{path}: the column `{name}` {reason}")]
    Column {
        /// The file.
        path: PathBuf,
        /// The column.
        name: &'static str,
        /// What is wrong.
        reason: String,
    },
    /// The number of logits of an image is wrong.
    #[error("image {index} has {found} logits, expected {expected}")]
    Row {
        /// Index of the image.
        index: u64,
        /// Number of logits.
        found: usize,
        /// Expected number.
        expected: usize,
    },
    /// A part of an interrupted run does not fit the run.
    #[error(
        "{path} {reason}: remove it, and evaluate all images again without --resume, or leave out --logits"
    )]
    Part {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The part of another process cannot be added.
    #[error("{path} cannot be added to the logits of this process: it {reason}")]
    ForeignPart {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// A row cannot be used.
    #[error("{path}: the logits of image {index} have {reason}")]
    Values {
        /// The file.
        path: PathBuf,
        /// Index of the image.
        index: u64,
        /// What is wrong.
        reason: &'static str,
    },
}

/// File format of logits.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum LogitsFormat {
    /// A zip archive of NumPy arrays, not compressed.
    Npz,
    /// Safetensors.
    Safetensors,
    /// Parquet, with a row for each image.
    Parquet,
}

impl LogitsFormat {
    /// The format for a file name, chosen by its extension, ignoring case.
    ///
    /// # Errors
    /// [`LogitsError::Extension`] for another extension.
    pub fn of(path: &Path) -> Result<Self, LogitsError> {
        let extension = path.extension().and_then(|extension| extension.to_str());
        match extension.map(str::to_ascii_lowercase).as_deref() {
            Some("npz") => Ok(Self::Npz),
            Some("safetensors") => Ok(Self::Safetensors),
            Some("parquet") => Ok(Self::Parquet),
            _ => Err(LogitsError::Extension {
                path: path.to_owned(),
            }),
        }
    }
}

/// The logits and the true class of each image, in a file.
///
/// A file has the arrays `logits`, floats of shape `[images, classes]`; `labels`, integers of shape `[images]`; and
/// optionally `indices`, which identify the images. Without them, images are numbered from 0. In Parquet they are the
/// columns `logits`, lists of floats, `label` and `index`.
#[derive(Debug)]
pub struct Logits {
    path: PathBuf,
    rows: Rows,
    labels: Vec<u32>,
    indices: Vec<u64>,
}

/// An array in a file.
struct Array {
    file: File,
    /// Position of its data in bytes.
    first: u64,
    dtype: Dtype,
    shape: Vec<usize>,
}

/// The logits of one image.
pub(crate) struct Row<'a> {
    /// Index of the image.
    pub(crate) index: u64,
    pub(crate) label: usize,
    pub(crate) logits: &'a [f32],
}

impl Logits {
    /// Opens a file. Logits are read later, in blocks.
    ///
    /// # Errors
    /// If the file cannot be read, lacks an array or column, or their shapes or types do not fit.
    pub fn open(path: &Path) -> Result<Self, LogitsError> {
        match LogitsFormat::of(path)? {
            LogitsFormat::Npz => Self::of_arrays(path, npz(path)?),
            LogitsFormat::Safetensors => Self::of_arrays(path, safetensors(path)?),
            LogitsFormat::Parquet => parquet::read(path),
        }
    }

    fn of_arrays(path: &Path, mut arrays: BTreeMap<String, Array>) -> Result<Self, LogitsError> {
        let names: Vec<String> = arrays.keys().map(|name| format!("`{name}`")).collect();
        let missing = |name| LogitsError::Missing {
            path: path.to_owned(),
            name,
            found: names.clone(),
        };
        let wrong = |name, reason| LogitsError::Array {
            path: path.to_owned(),
            name,
            reason,
        };
        let logits = arrays.remove("logits").ok_or_else(|| missing("logits"))?;
        let labels = arrays.remove("labels").ok_or_else(|| missing("labels"))?;
        let &[images, classes] = &logits.shape[..] else {
            let reason = format!(
                "has the shape {:?}, expected [images, classes]",
                logits.shape
            );
            return Err(wrong("logits", reason));
        };
        if images == 0 || classes == 0 || !logits.dtype.is_float() {
            let reason = match logits.dtype.is_float() {
                true => format!("is empty: its shape is {:?}", logits.shape),
                false => format!("has integers ({}), expected floats", logits.dtype.numpy()),
            };
            return Err(wrong("logits", reason));
        }
        let read = |name: &'static str, array: &Array, end: u64| {
            if array.shape != [images] || array.dtype.is_float() {
                let found = (array.dtype.numpy(), &array.shape);
                let reason =
                    format!("has the type and shape {found:?}, expected {images} integers");
                return Err(wrong(name, reason));
            }
            let values = integers(&array.file, array.first, array.dtype, images, end);
            let values = values.map_err(|error| LogitsError::Read {
                path: path.to_owned(),
                error,
            })?;
            values.map_err(|(at, value)| {
                wrong(
                    name,
                    format!("has {value} at {at}, which is not in 0..{end}"),
                )
            })
        };
        let labels = read("labels", &labels, classes as u64)?;
        let indices = match arrays.remove("indices") {
            Some(indices) => read("indices", &indices, i64::MAX as u64)?,
            None => (0..images as u64).collect(),
        };
        Ok(Self {
            path: path.to_owned(),
            rows: Rows {
                first: logits.first,
                stride: (classes * logits.dtype.size()) as u64,
                dtype: logits.dtype,
                classes,
                file: logits.file,
            },
            labels: labels.into_iter().map(|label| label as u32).collect(),
            indices,
        })
    }

    /// The logits of several files as of one, such as of the shards of an evaluation, which are copied to a temporary file.
    ///
    /// # Errors
    /// If there are none, they differ in the number of classes, two have an image with the same index, or they cannot be
    /// copied.
    pub fn join(parts: &[Self]) -> Result<Self, LogitsError> {
        let classes = parts.first().map_or(0, Self::classes);
        // In the order of the images, so that the order of the files does not matter.
        let mut order = Vec::new();
        for (of, part) in parts.iter().enumerate() {
            if part.classes() != classes {
                return Err(LogitsError::Array {
                    path: part.path.clone(),
                    name: "logits",
                    reason: format!(
                        "has {} classes, but the first file has {classes}",
                        part.classes()
                    ),
                });
            }
            let rows = part.indices.iter().enumerate();
            order.extend(rows.map(|(row, &index)| (index, of, row)));
        }
        order.sort_unstable();
        if let Some(pair) = order.windows(2).find(|pair| pair[0].0 == pair[1].0) {
            let (index, of, _) = pair[1];
            return Err(LogitsError::Array {
                path: parts[of].path.clone(),
                name: "indices",
                reason: format!("has image {index}, which another file or row has too"),
            });
        }
        let mut writer = LogitsWriter::temporary(classes)?;
        let mut logits = Vec::new();
        for (index, of, row) in order {
            parts[of].read(row, 1, &mut logits)?;
            writer.push(index, parts[of].labels[row], &logits)?;
        }
        writer.finish()
    }

    pub(crate) fn new(path: PathBuf, rows: Rows, labels: Vec<u32>, indices: Vec<u64>) -> Self {
        Self {
            path,
            rows,
            labels,
            indices,
        }
    }

    /// Number of images.
    pub fn images(&self) -> usize {
        self.labels.len()
    }

    /// Number of classes.
    pub fn classes(&self) -> usize {
        self.rows.classes
    }

    /// What identifies each image.
    pub fn indices(&self) -> &[u64] {
        &self.indices
    }

    /// The index of the first image of which another class has a higher logit than this one, of `predicted` for each row:
    /// the predictions are then not those of these logits.
    ///
    /// # Errors
    /// If the logits cannot be read.
    ///
    /// # Panics
    /// If there are more predictions than images, or one is not a class.
    pub fn contradiction(&self, predicted: &[u32]) -> Result<Option<u64>, LogitsError> {
        let mut logits = Vec::new();
        for (row, &class) in predicted.iter().enumerate() {
            self.read(row, 1, &mut logits)?;
            let highest = logits[class as usize];
            if logits.iter().any(|&logit| logit > highest) {
                return Ok(Some(self.indices[row]));
            }
        }
        Ok(None)
    }

    pub(crate) fn labels(&self) -> &[u32] {
        &self.labels
    }

    pub(crate) fn rows(&self) -> &Rows {
        &self.rows
    }

    /// Calls `of_row` for these rows, which are ascending, in parallel, and `of_block` with what it returned for each
    /// block of rows, in order.
    pub(crate) fn for_each_block<T: Send>(
        &self,
        rows: &[usize],
        of_row: impl Fn(Row<'_>) -> T + Sync,
        mut of_block: impl FnMut(Vec<T>),
    ) -> Result<(), LogitsError> {
        /// Numbers in a block: 4 MiB.
        const BLOCK: usize = 1 << 20;
        let per_block = (BLOCK / self.classes()).clamp(1, 4096);
        let mut logits = Vec::new();
        let mut rest = rows;
        while let Some(&first) = rest.first() {
            let count = per_block.min(self.images() - first);
            let (block, others) = rest.split_at(rest.partition_point(|&row| row < first + count));
            rest = others;
            self.read(first, count, &mut logits)?;
            let results = block.par_iter().map(|&row| {
                let start = (row - first) * self.classes();
                of_row(Row {
                    index: self.indices[row],
                    label: self.labels[row] as usize,
                    logits: &logits[start..start + self.classes()],
                })
            });
            of_block(results.collect());
        }
        Ok(())
    }

    /// Replaces the contents of `to` with the logits of `count` images from `row` on.
    pub(crate) fn read(
        &self,
        row: usize,
        count: usize,
        to: &mut Vec<f32>,
    ) -> Result<(), LogitsError> {
        let read = self.rows.read(row, count, to);
        read.map_err(|error| LogitsError::Read {
            path: self.path.clone(),
            error,
        })?;
        let mut rows = (row..).zip(to.chunks(self.classes()));
        rows.try_for_each(|(row, logits)| self.check(row, logits))
    }

    /// What `of_row` returns for these rows, which are ascending.
    pub(crate) fn map<T: Send>(
        &self,
        rows: &[usize],
        of_row: impl Fn(Row<'_>) -> T + Sync,
    ) -> Result<Vec<T>, LogitsError> {
        let mut all = Vec::with_capacity(rows.len());
        self.for_each_block(rows, of_row, |block| all.extend(block))?;
        Ok(all)
    }

    fn check(&self, row: usize, logits: &[f32]) -> Result<(), LogitsError> {
        let reason = if logits
            .iter()
            .any(|logit| logit.is_nan() || *logit == f32::INFINITY)
        {
            "NaN or infinite values"
        } else if logits[self.labels[row] as usize] == f32::NEG_INFINITY {
            "-inf for the true class"
        } else {
            return Ok(());
        };
        Err(LogitsError::Values {
            path: self.path.clone(),
            index: self.indices[row],
            reason,
        })
    }
}

/// The arrays of an archive of NumPy's. Compressed ones are unpacked to unnamed temporary files.
fn npz(path: &Path) -> Result<BTreeMap<String, Array>, LogitsError> {
    let open = || File::open(path).map_err(|error| unreadable(path, error));
    let damaged = |error: ZipError| match error {
        ZipError::Io(error) => unreadable(path, error),
        error => format(path, error.to_string()),
    };
    let mut archive = zip::ZipArchive::new(open()?).map_err(damaged)?;
    let mut arrays = BTreeMap::new();
    for at in 0..archive.len() {
        let mut member = archive.by_index(at).map_err(damaged)?;
        let name = member.name().map_err(damaged)?.into_owned();
        let Some(name) = name.strip_suffix(".npy").map(str::to_owned) else {
            continue;
        };
        if !["logits", "labels", "indices"].contains(&&*name) {
            continue;
        }
        let (mut file, start) = match member.compression() {
            zip::CompressionMethod::Stored => {
                let start = member.data_start();
                (
                    open()?,
                    start.ok_or_else(|| format(path, "its index is incomplete".to_owned()))?,
                )
            }
            _ => {
                let mut file = tempfile::tempfile().map_err(|error| unreadable(path, error))?;
                io::copy(&mut member, &mut file).map_err(|error| unreadable(path, error))?;
                (file, 0)
            }
        };
        file.seek(SeekFrom::Start(start))
            .map_err(|error| unreadable(path, error))?;
        let header = npy::read_header(&mut file)
            .map_err(|reason| format(path, format!("`{name}` {reason}")))?;
        let first = file
            .stream_position()
            .map_err(|error| unreadable(path, error))?;
        let array = Array {
            file,
            first,
            dtype: header.dtype,
            shape: header.shape,
        };
        array.check_length(path, &name)?;
        arrays.insert(name, array);
    }
    Ok(arrays)
}

/// A tensor in the header of a safetensors file.
#[derive(Deserialize)]
struct Tensor {
    dtype: String,
    shape: Vec<usize>,
    data_offsets: [u64; 2],
}

/// The arrays of a safetensors file.
fn safetensors(path: &Path) -> Result<BTreeMap<String, Array>, LogitsError> {
    /// Files of logits have few tensors.
    const MAX_HEADER: u64 = 1 << 20;
    let open = || File::open(path).map_err(|error| unreadable(path, error));
    let mut file = open()?;
    let mut length = [0; 8];
    let short = |error: io::Error| format(path, error.to_string());
    file.read_exact(&mut length).map_err(short)?;
    let length = u64::from_le_bytes(length);
    if length > MAX_HEADER {
        return Err(format(
            path,
            format!("its header would have {length} bytes"),
        ));
    }
    let mut header = vec![0; length as usize];
    file.read_exact(&mut header).map_err(short)?;
    let tensors: BTreeMap<String, serde_json::Value> =
        serde_json::from_slice(&header).map_err(|error| format(path, error.to_string()))?;
    let mut arrays = BTreeMap::new();
    for (name, tensor) in tensors {
        if name == "__metadata__" {
            continue;
        }
        let tensor: Tensor = serde_json::from_value(tensor)
            .map_err(|error| format(path, format!("`{name}`: {error}")))?;
        let Some(dtype) = Dtype::from_safetensors(&tensor.dtype) else {
            return Err(format(
                path,
                format!("`{name}` has the type {}", tensor.dtype),
            ));
        };
        let array = Array {
            file: open()?,
            first: (8 + length).saturating_add(tensor.data_offsets[0]),
            dtype,
            shape: tensor.shape,
        };
        array.check_length(path, &name)?;
        arrays.insert(name, array);
    }
    Ok(arrays)
}

impl Array {
    /// Checks before anything is allocated that the data is in the file.
    fn check_length(&self, path: &Path, name: &str) -> Result<(), LogitsError> {
        let sides = self.shape.iter().map(|&side| side as u64);
        let bytes = sides
            .chain([self.dtype.size() as u64])
            .try_fold(1, u64::checked_mul);
        let end = bytes.and_then(|bytes| bytes.checked_add(self.first));
        let length = self
            .file
            .metadata()
            .map_err(|error| unreadable(path, error))?
            .len();
        if end.is_some_and(|end| end <= length) {
            return Ok(());
        }
        let shape = &self.shape;
        Err(format(
            path,
            format!("it ends before the end of `{name}` with shape {shape:?}"),
        ))
    }
}

pub(crate) fn unreadable(path: &Path, error: io::Error) -> LogitsError {
    LogitsError::Read {
        path: path.to_owned(),
        error,
    }
}

pub(crate) fn format(path: &Path, reason: String) -> LogitsError {
    LogitsError::Format {
        path: path.to_owned(),
        reason,
    }
}
