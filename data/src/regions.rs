//! Images that are parts of larger files.

use std::borrow::Cow;
use std::fs::File;
use std::io::{Cursor, Read};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use topk_files::excerpt;

use crate::{DataError, Image};

/// Longest encoded image that is read. The largest of ImageNet has 15 MB.
pub(crate) const MAX_IMAGE_BYTES: u64 = 1 << 28;

/// A file with images.
#[derive(Debug)]
pub(crate) enum Container {
    /// On disk. It is opened for each image, because there may be more shards than a process may have
    /// files open.
    File(PathBuf),
    /// On disk, and kept open: for small images, of which opening takes longer than reading.
    Open(PathBuf, File),
    /// Unpacked, with the name of what it was in.
    Memory(PathBuf, Vec<u8>),
}

/// Where an image lies.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Region {
    pub container: u32,
    pub offset: u64,
    pub size: u64,
}

/// Images by their places.
#[derive(Debug)]
pub(crate) struct Regions {
    pub containers: Vec<Container>,
    pub regions: Vec<Region>,
    /// Channels, height and width, where the images are not encoded.
    pub shape: Option<[usize; 3]>,
}

impl Container {
    /// Its file, for errors.
    pub fn path(&self) -> &PathBuf {
        match self {
            Self::File(path) | Self::Open(path, _) | Self::Memory(path, _) => path,
        }
    }

    /// Its contents from the beginning, and their length.
    pub fn open(&self) -> Result<(Box<dyn Read + '_>, u64), DataError> {
        match self {
            // Opened again, because a reader moves on in its file.
            Self::File(path) | Self::Open(path, _) => {
                let file = File::open(path).map_err(DataError::io(path))?;
                let length = file.metadata().map_err(DataError::io(path))?.len();
                Ok((Box::new(file), length))
            }
            Self::Memory(_, bytes) => Ok((Box::new(Cursor::new(bytes)), bytes.len() as u64)),
        }
    }

    /// All of its contents, if they are at most so many bytes.
    pub fn contents(&self, limit: u64) -> Result<Cow<'_, [u8]>, DataError> {
        if let Self::Memory(_, bytes) = self {
            self.check_length(bytes.len() as u64, limit)?;
            return Ok(bytes.into());
        }
        let (reader, length) = self.open()?;
        self.check_length(length, limit)?;
        let mut bytes = Vec::with_capacity(length as usize);
        // The file may grow meanwhile, or be no file at all.
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
        Err(DataError::TooLarge {
            path: path.parent().unwrap_or(path).to_owned(),
            name: excerpt(&name),
            size,
            limit,
        })
    }
}

impl Regions {
    /// The image of this index.
    pub fn read(&self, index: usize) -> Result<Image, DataError> {
        let Region {
            container,
            offset,
            size,
        } = self.regions[index];
        let length = size as usize;
        let bytes = match &self.containers[container as usize] {
            Container::File(path) => {
                let file = File::open(path).map_err(DataError::io(path))?;
                read_at(path, &file, offset, length)?
            }
            Container::Open(path, file) => read_at(path, file, offset, length)?,
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
}

fn read_at(path: &Path, file: &File, offset: u64, length: usize) -> Result<Vec<u8>, DataError> {
    let mut bytes = vec![0; length];
    let read = file.read_exact_at(&mut bytes, offset);
    read.map_err(DataError::io(path))?;
    Ok(bytes)
}
