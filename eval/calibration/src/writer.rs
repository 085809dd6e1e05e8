use std::collections::{HashMap, HashSet};
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use topk_files::OutputFile;
use zip::write::SimpleFileOptions;

use crate::logits::{Logits, LogitsError, LogitsFormat};
use crate::npy;
use crate::parquet;
use crate::rows::{Dtype, Rows};

/// Writes the logits of images as they are computed, in any order.
///
/// They are kept in a file beside the output, whose name ends in `.part`, until [`finish`](Self::finish) writes the
/// output in the order of the images. If the writer is dropped before, the file is removed, unless
/// [`save`](Self::save) was called: [`resume`](Self::resume) continues it.
///
/// Several processes write parts of a run with [`part`](Self::part), and one of them [adds](Self::add_part) those of the
/// others to its own.
#[derive(Debug)]
pub struct LogitsWriter {
    /// None for logits that are only kept while the writer or its [`Logits`] exist, and for a part.
    output: Option<PathBuf>,
    /// Where the logits are kept until then; the folder of an unnamed file.
    kept_at: PathBuf,
    /// None once it has become the output.
    part: Option<BufWriter<File>>,
    classes: usize,
    images: Vec<Image>,
    /// Whether a later run may resume from the part.
    saved: bool,
    /// The position in each part of another process up to which all images were added.
    added: HashMap<PathBuf, u64>,
}

/// Index and label of a written image.
#[derive(Clone, Copy, Debug)]
struct Image {
    index: u64,
    label: u32,
}

/// The first bytes of a part, before the number of classes and the identity of the model.
const MAGIC: &[u8; 8] = b"topklog1";
const IDENTITY: usize = 64;
const HEADER: u64 = 16 + IDENTITY as u64;
/// Bytes of a record before its logits: the index and the label.
const RECORD: u64 = 12;

impl LogitsWriter {
    /// A writer of a file in the [`LogitsFormat`] of its extension.
    ///
    /// # Errors
    /// If the extension is unknown, or the file beside it cannot be created.
    pub fn new(path: &Path, classes: usize) -> Result<Self, LogitsError> {
        Self::of_model(path, classes, "")
    }

    /// The same for a model with this identity, such as its SHA-256, of which up to 64 bytes count.
    ///
    /// # Errors
    /// Those of [`new`](Self::new).
    pub fn of_model(path: &Path, classes: usize, identity: &str) -> Result<Self, LogitsError> {
        LogitsFormat::of(path)?;
        let mut writer = Self::part(&part_of(path), classes, identity)?;
        writer.output = Some(path.to_owned());
        Ok(writer)
    }

    /// A writer without an output, for a process whose logits another adds to its own: to this file, which it replaces,
    /// and which somebody else removes.
    ///
    /// # Errors
    /// If the file cannot be created.
    pub fn part(path: &Path, classes: usize, identity: &str) -> Result<Self, LogitsError> {
        let mut file = OpenOptions::new();
        let file = file.read(true).write(true).create(true).truncate(true);
        Self::start(file.open(path), path.to_owned(), classes, identity)
    }

    /// A writer to an unnamed file in the system's folder for temporary files.
    ///
    /// # Errors
    /// If it cannot be created.
    pub fn temporary(classes: usize) -> Result<Self, LogitsError> {
        Self::start(tempfile::tempfile(), std::env::temp_dir(), classes, "")
    }

    fn start(
        file: io::Result<File>,
        kept_at: PathBuf,
        classes: usize,
        identity: &str,
    ) -> Result<Self, LogitsError> {
        let started = file.and_then(|file| {
            let mut part = BufWriter::with_capacity(1 << 20, file);
            part.write_all(&header(classes, identity))?;
            Ok(part)
        });
        match started {
            Ok(part) => Ok(Self {
                output: None,
                kept_at,
                part: Some(part),
                classes,
                images: Vec::new(),
                saved: false,
                added: HashMap::new(),
            }),
            Err(error) => Err(LogitsError::Write {
                path: kept_at,
                error,
            }),
        }
    }

    /// Continues the file of an interrupted run, which must have these images. Images that were written after the
    /// results of that run were saved are dropped.
    ///
    /// # Errors
    /// If the file does not exist, is of another model or number of classes, or lacks images.
    pub fn resume(
        path: &Path,
        classes: usize,
        identity: &str,
        indices: &[u64],
    ) -> Result<Self, LogitsError> {
        LogitsFormat::of(path)?;
        let part = part_of(path);
        let wrong = |reason: String| LogitsError::Part {
            path: part.clone(),
            reason,
        };
        let unreadable = |error| LogitsError::Read {
            path: part.clone(),
            error,
        };
        let file = match OpenOptions::new().read(true).write(true).open(&part) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(wrong(
                    "does not exist, in which the interrupted run kept its logits".to_owned(),
                ));
            }
            Err(error) => return Err(unreadable(error)),
        };
        let mut reader = BufReader::new(&file);
        let mut found = [0; HEADER as usize];
        reader.read_exact(&mut found).map_err(unreadable)?;
        if found != header(classes, identity) {
            return Err(wrong("is of another model or program".to_owned()));
        }
        let length = file.metadata().map_err(unreadable)?.len();
        let stride = RECORD + 4 * classes as u64;
        let mut missing: HashSet<u64> = indices.iter().copied().collect();
        let mut images = Vec::new();
        for _ in 0..(length - HEADER) / stride {
            let image = Image::read(&mut reader).map_err(unreadable)?;
            if !missing.remove(&image.index) {
                break;
            }
            reader
                .seek_relative((stride - RECORD) as i64)
                .map_err(unreadable)?;
            images.push(image);
        }
        if !missing.is_empty() {
            return Err(wrong(format!(
                "lacks {} images of the interrupted run",
                missing.len()
            )));
        }
        let end = HEADER + images.len() as u64 * stride;
        let truncated = file
            .set_len(end)
            .and_then(|()| (&file).seek(SeekFrom::Start(end)));
        truncated.map_err(|error| LogitsError::Write {
            path: part.clone(),
            error,
        })?;
        Ok(Self {
            output: Some(path.to_owned()),
            kept_at: part,
            part: Some(BufWriter::with_capacity(1 << 20, file)),
            classes,
            images,
            saved: true,
            added: HashMap::new(),
        })
    }

    /// Adds an image: its index, which no other image has, its true class and its logits.
    ///
    /// # Errors
    /// If the number of logits is not that of the classes, or the file cannot be written.
    pub fn push(&mut self, index: u64, label: u32, logits: &[f32]) -> Result<(), LogitsError> {
        if logits.len() != self.classes {
            return Err(LogitsError::Row {
                index,
                found: logits.len(),
                expected: self.classes,
            });
        }
        self.write(Image { index, label }, |part| {
            let mut bytes = logits.iter().map(|logit| logit.to_le_bytes());
            bytes.try_for_each(|bytes| part.write_all(&bytes))
        })
    }

    /// Adds a record, whose logits `write` writes.
    fn write(
        &mut self,
        image: Image,
        write: impl FnOnce(&mut BufWriter<File>) -> io::Result<()>,
    ) -> Result<(), LogitsError> {
        let written = self.part.as_mut().map_or(Ok(()), |part| {
            image.write(part)?;
            write(part)
        });
        written.map_err(|error| self.unwritable(error))?;
        self.images.push(image);
        Ok(())
    }

    /// Adds these images from the [`part`](Self::part) of another process, whose model has this identity, unless they were
    /// added before. They are [kept](Self::save) as others are.
    ///
    /// # Errors
    /// If the part cannot be read, is of another model or number of classes, or lacks images.
    pub fn add_part(
        &mut self,
        path: &Path,
        identity: &str,
        indices: &[u64],
    ) -> Result<(), LogitsError> {
        let unreadable = |error| LogitsError::Read {
            path: path.to_owned(),
            error,
        };
        let foreign = |reason: String| LogitsError::ForeignPart {
            path: path.to_owned(),
            reason,
        };
        let requested: HashSet<u64> = indices.iter().copied().collect();
        let mut missing = requested.clone();
        for image in &self.images {
            missing.remove(&image.index);
        }
        if missing.is_empty() {
            return Ok(());
        }
        let file = File::open(path).map_err(unreadable)?;
        let length = file.metadata().map_err(unreadable)?.len();
        let mut reader = BufReader::with_capacity(1 << 20, file);
        let mut found = [0; HEADER as usize];
        reader.read_exact(&mut found).map_err(unreadable)?;
        if found != header(self.classes, identity) {
            return Err(foreign("is of another model or program".to_owned()));
        }
        let mut position = self.added.get(path).copied().unwrap_or(HEADER);
        reader.seek(SeekFrom::Start(position)).map_err(unreadable)?;
        let mut logits = vec![0; 4 * self.classes];
        let stride = RECORD + logits.len() as u64;
        let mut left_out = None;
        while position + stride <= length && !missing.is_empty() {
            let image = Image::read(&mut reader).map_err(unreadable)?;
            reader.read_exact(&mut logits).map_err(unreadable)?;
            if missing.remove(&image.index) {
                self.write(image, |part| part.write_all(&logits))?;
            } else if !requested.contains(&image.index) {
                left_out.get_or_insert(position);
            }
            position += stride;
        }
        self.added
            .insert(path.to_owned(), left_out.unwrap_or(position));
        match missing.len() {
            0 if self.saved => self.save(),
            0 => Ok(()),
            count => Err(foreign(format!("lacks {count} images"))),
        }
    }

    /// Keeps what was written so far for [`resume`](Self::resume), also if the process is killed.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn save(&mut self) -> Result<(), LogitsError> {
        self.saved = true;
        let flushed = self.part.as_mut().map_or(Ok(()), Write::flush);
        flushed.map_err(|error| self.unwritable(error))
    }

    /// Writes the output, if there is one, and opens the logits, in ascending order of the indices.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn finish(mut self) -> Result<Logits, LogitsError> {
        let part = self.part.take().expect("only this function takes it");
        let part = part
            .into_inner()
            .map_err(|error| self.unwritable(error.into_error()))?;
        let path = self.output.clone().unwrap_or_default();
        let logits = Logits::new(
            path.clone(),
            Rows {
                file: part,
                first: HEADER + RECORD,
                stride: RECORD + 4 * self.classes as u64,
                dtype: Dtype::F32,
                classes: self.classes,
            },
            self.images.iter().map(|image| image.label).collect(),
            self.images.iter().map(|image| image.index).collect(),
        );
        let order = order(&logits);
        if self.output.is_none() {
            return match order.is_sorted() {
                true => Ok(logits),
                false => Logits::join(&[logits]),
            };
        }
        let format = LogitsFormat::of(&path)?;
        let written = match format {
            LogitsFormat::Npz => write_npz(&path, &logits, &order),
            LogitsFormat::Safetensors => write_safetensors(&path, &logits, &order),
            LogitsFormat::Parquet => parquet::write(&path, &logits, &order),
        };
        written.map_err(|error| LogitsError::Write {
            path: path.clone(),
            error,
        })?;
        self.saved = false;
        // Reading Parquet would copy the logits once more.
        let in_order = format == LogitsFormat::Parquet && order.is_sorted();
        match in_order || logits.images() == 0 {
            true => Ok(logits),
            false => Logits::open(&path),
        }
    }

    fn unwritable(&self, error: io::Error) -> LogitsError {
        LogitsError::Write {
            path: self.kept_at.clone(),
            error,
        }
    }
}

impl Drop for LogitsWriter {
    fn drop(&mut self) {
        if self.output.is_some() && !self.saved {
            // A file that is left does no harm: the next run replaces it.
            let _ = fs::remove_file(&self.kept_at);
        }
    }
}

impl Image {
    fn read(from: &mut impl Read) -> io::Result<Self> {
        let (mut index, mut label) = ([0; 8], [0; 4]);
        from.read_exact(&mut index)?;
        from.read_exact(&mut label)?;
        Ok(Self {
            index: u64::from_le_bytes(index),
            label: u32::from_le_bytes(label),
        })
    }

    fn write(self, to: &mut impl Write) -> io::Result<()> {
        to.write_all(&self.index.to_le_bytes())?;
        to.write_all(&self.label.to_le_bytes())
    }
}

fn part_of(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".part");
    name.into()
}

fn header(classes: usize, identity: &str) -> [u8; HEADER as usize] {
    let mut header = [b' '; HEADER as usize];
    header[..8].copy_from_slice(MAGIC);
    header[8..16].copy_from_slice(&(classes as u64).to_le_bytes());
    for (to, byte) in header[16..].iter_mut().zip(identity.bytes()) {
        *to = byte;
    }
    header
}

/// The arrays other than the logits: their names and values, in the order of the images.
fn columns(logits: &Logits, order: &[usize]) -> [(&'static str, Vec<i64>); 2] {
    let labels = order.iter().map(|&row| logits.labels()[row].into());
    let indices = order.iter().map(|&row| logits.indices()[row] as i64);
    [("indices", indices.collect()), ("labels", labels.collect())]
}

fn order(logits: &Logits) -> Vec<usize> {
    let mut order: Vec<usize> = (0..logits.images()).collect();
    order.sort_by_key(|&row| logits.indices()[row]);
    order
}

fn write_rows(logits: &Logits, order: &[usize], to: &mut impl Write) -> io::Result<()> {
    let mut row = Vec::new();
    for &at in order {
        logits.rows().read(at, 1, &mut row)?;
        for logit in &row {
            to.write_all(&logit.to_le_bytes())?;
        }
    }
    Ok(())
}

fn write_integers(values: &[i64], to: &mut impl Write) -> io::Result<()> {
    let mut bytes = values.iter().map(|value| value.to_le_bytes());
    bytes.try_for_each(|bytes| to.write_all(&bytes))
}

fn write_npz(path: &Path, logits: &Logits, order: &[usize]) -> io::Result<()> {
    topk_files::write_with(path, |file: &mut BufWriter<OutputFile>| {
        let mut archive = zip::ZipWriter::new(file);
        let stored = SimpleFileOptions::default()
            .compression_method(zip::CompressionMethod::Stored)
            .last_modified_time(zip::DateTime::default());
        let images = logits.images();
        for (name, values) in columns(logits, order) {
            archive.start_file(format!("{name}.npy"), stored)?;
            npy::write_header(&mut archive, Dtype::I64, &[images])?;
            write_integers(&values, &mut archive)?;
        }
        archive.start_file("logits.npy", stored.large_file(true))?;
        npy::write_header(&mut archive, Dtype::F32, &[images, logits.classes()])?;
        let mut buffered = BufWriter::with_capacity(1 << 20, archive);
        write_rows(logits, order, &mut buffered)?;
        buffered
            .into_inner()
            .map_err(io::IntoInnerError::into_error)?
            .finish()?;
        Ok(())
    })
}

fn write_safetensors(path: &Path, logits: &Logits, order: &[usize]) -> io::Result<()> {
    let (images, classes) = (logits.images(), logits.classes());
    let columns = columns(logits, order);
    let mut header = serde_json::Map::new();
    let mut end = 0;
    let mut add = |name: &str, dtype: Dtype, shape: &[usize]| {
        let start = end;
        end += shape.iter().product::<usize>() * dtype.size();
        let tensor = serde_json::json!({
            "dtype": dtype.safetensors(),
            "shape": shape,
            "data_offsets": [start, end],
        });
        header.insert(name.to_owned(), tensor);
    };
    for (name, _) in &columns {
        add(name, Dtype::I64, &[images]);
    }
    add("logits", Dtype::F32, &[images, classes]);
    let mut header = serde_json::Value::from(header).to_string();
    header += &" ".repeat(header.len().next_multiple_of(8) - header.len());
    topk_files::write_with(path, |file| {
        file.write_all(&(header.len() as u64).to_le_bytes())?;
        file.write_all(header.as_bytes())?;
        for (_, values) in &columns {
            write_integers(values, file)?;
        }
        write_rows(logits, order, file)
    })
}
