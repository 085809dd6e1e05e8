//! Images that are parts of larger files.

use std::borrow::Cow;
use std::fs::File;
use std::io::{Cursor, Read};
use std::path::PathBuf;

use crate::DataError;
use crate::sample::{Image, Sample};
use crate::storage::{self, Source};
use crate::store::Store;

/// A file with images.
#[derive(Debug)]
pub(crate) enum Container {
    /// On disk. It is opened for each image, because there may be more shards than a process can have
    /// open files.
    File(PathBuf),
    /// On disk, and kept open: for small images, where opening takes longer than reading.
    Open(PathBuf, Source),
    /// Unpacked, with the path in its archive.
    Memory(PathBuf, Vec<u8>),
}

/// Position of an image in a container.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Region {
    pub container: u32,
    pub offset: u64,
    pub size: u64,
}

/// Images by slot.
#[derive(Debug)]
pub(crate) struct Regions {
    pub containers: Vec<Container>,
    pub regions: Vec<Region>,
    /// Channels, height and width, if the images are not encoded.
    pub shape: Option<[usize; 3]>,
    pub runs: Runs,
}

/// Which images are read one after another from one place.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Runs {
    /// All those of a container.
    Containers,
    /// Those of this many bytes of a container.
    Parts(u64),
    /// Each by itself, because everything is in memory or small.
    None,
}

impl Container {
    /// A shard or archive.
    pub fn of_archive(path: PathBuf) -> Result<Self, DataError> {
        // An object stays open, so that all of it is of one version.
        Ok(match storage::is_remote(&path) {
            true => {
                let object = Source::open(&path)?;
                Self::Open(path, object)
            }
            false => Self::File(path),
        })
    }

    /// Its file, for errors.
    pub fn path(&self) -> &PathBuf {
        match self {
            Self::File(path) | Self::Open(path, _) | Self::Memory(path, _) => path,
        }
    }

    /// Its contents from the beginning, and their length.
    pub fn open(&self) -> Result<(Box<dyn Read + '_>, u64), DataError> {
        match self {
            // Opened again, because a reader moves the position of its file.
            Self::File(path) | Self::Open(path, _) => {
                let file = Source::open(path)?;
                let length = file.size(path)?;
                Ok((Box::new(file.input()), length))
            }
            Self::Memory(_, bytes) => Ok((Box::new(Cursor::new(bytes)), bytes.len() as u64)),
        }
    }

    /// Its contents, of at most `limit` bytes.
    pub fn contents(&self, limit: u64) -> Result<Cow<'_, [u8]>, DataError> {
        if let Self::Memory(_, bytes) = self {
            self.check_length(bytes.len() as u64, limit)?;
            return Ok(bytes.into());
        }
        let (reader, length) = self.open()?;
        self.check_length(length, limit)?;
        let mut bytes = Vec::with_capacity(length as usize);
        // The file may grow meanwhile, or not be a regular file.
        let read = reader.take(limit + 1).read_to_end(&mut bytes);
        read.map_err(DataError::io(self.path()))?;
        self.check_length(bytes.len() as u64, limit)?;
        Ok(bytes.into())
    }

    fn check_length(&self, size: u64, limit: u64) -> Result<(), DataError> {
        if size <= limit {
            return Ok(());
        }
        let path = self.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let folder = path.parent().unwrap_or(path);
        Err(DataError::too_large(folder, &name, size, limit))
    }
}

impl Store for Regions {
    fn read(&self, sample: &Sample) -> Result<Image, DataError> {
        let Region {
            container,
            offset,
            size,
        } = self.regions[sample.slot];
        let length = size as usize;
        let bytes = match &self.containers[container as usize] {
            Container::File(path) => {
                let file = File::open(path).map_err(DataError::io(path))?;
                Source::File(file).read_at(path, offset, length)?
            }
            Container::Open(path, file) => file.read_at(path, offset, length)?,
            Container::Memory(_, bytes) => bytes[offset as usize..][..length].to_vec(),
        };
        Ok(match self.shape {
            None => Image::Encoded(bytes),
            Some(shape) => Image::Pixels {
                shape,
                pixels: bytes,
            },
        })
    }

    fn size(&self, sample: &Sample) -> Result<u64, DataError> {
        Ok(self.regions[sample.slot].size)
    }

    fn read_ahead(&self, samples: &mut dyn Iterator<Item = &Sample>) {
        for sample in samples {
            let Region {
                container,
                offset,
                size,
            } = self.regions[sample.slot];
            match &self.containers[container as usize] {
                Container::Open(_, file) => file.read_ahead(offset..offset + size),
                Container::File(_) | Container::Memory(..) => {}
            }
        }
    }

    fn run(&self, sample: &Sample) -> Option<u64> {
        let Region {
            container, offset, ..
        } = self.regions[sample.slot];
        match self.runs {
            Runs::Containers => Some(container.into()),
            Runs::Parts(bytes) => Some((u64::from(container) << 40) | (offset / bytes)),
            Runs::None => None,
        }
    }
}
