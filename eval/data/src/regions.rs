//! Images that are parts of larger files.

use std::fs::File;
use std::io::{Cursor, Read};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use crate::{DataError, Image};

/// Longest encoded image that is read. The largest of ImageNet has 15 MB.
pub(crate) const MAX_IMAGE_BYTES: u64 = 1 << 28;

/// A file with images.
#[derive(Debug)]
pub(crate) enum Container {
    /// On disk. It is opened for each image, because there may be more shards than a process may have
    /// files open.
    File(PathBuf),
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
            Self::File(path) | Self::Memory(path, _) => path,
        }
    }

    /// Its contents from the beginning, and their length.
    pub fn open(&self) -> Result<(Box<dyn Read + '_>, u64), DataError> {
        match self {
            Self::File(path) => {
                let file = File::open(path).map_err(DataError::io(path))?;
                let length = file.metadata().map_err(DataError::io(path))?.len();
                Ok((Box::new(file), length))
            }
            Self::Memory(_, bytes) => Ok((Box::new(Cursor::new(bytes)), bytes.len() as u64)),
        }
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
                let mut bytes = vec![0; length];
                let file = File::open(path).map_err(DataError::io(path))?;
                let read = file.read_exact_at(&mut bytes, offset);
                read.map_err(DataError::io(path))?;
                bytes
            }
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
