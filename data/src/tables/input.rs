//! Parquet files as the library reads them.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::Path;

use bytes::Bytes;
use parquet::errors;
use parquet::file::reader::{ChunkReader, Length};

#[cfg(feature = "remote")]
use std::io::{Seek, SeekFrom};
#[cfg(feature = "remote")]
use std::sync::Arc;
#[cfg(feature = "remote")]
use topk_remote::{Object, Reader, Record};

use crate::DataError;
use crate::storage::{Purpose, Source};

/// Bytes that are read at once where the length is not known, such as of the header of a page.
#[cfg(feature = "remote")]
const CHUNK: usize = 1 << 12;

/// A parquet file.
pub(super) enum Input {
    File(File),
    /// An object, and the record if its rows are being listed.
    #[cfg(feature = "remote")]
    Remote(Arc<Object>, Listing),
}

/// How an object is read to list its rows: small parts, that are recorded.
#[cfg(feature = "remote")]
#[derive(Clone)]
pub(super) enum Listing {
    Recorded(Arc<Record>),
    Unrecorded,
    /// It is read for its images.
    No,
}

/// Keeps what was read of an object.
#[derive(Default)]
pub(super) struct Listed(#[cfg(feature = "remote")] Option<Arc<Record>>);

impl Listed {
    /// Its rows are listed.
    pub fn finish(self) {
        #[cfg(feature = "remote")]
        if let Some(record) = self.0 {
            record.finish();
        }
    }
}

/// A part of a parquet file.
pub(super) enum Part {
    File(BufReader<File>),
    #[cfg(feature = "remote")]
    Remote(BufReader<Reader>),
}

impl Input {
    /// Opens a file, for its list of images or for images, and returns its length and what to call when its images are
    /// listed.
    pub fn open(path: &Path, listing: bool) -> Result<(Self, u64, Listed), DataError> {
        let source = Source::open(path)?;
        let length = source.size(path)?;
        #[cfg_attr(
            not(feature = "remote"),
            expect(unused_mut, reason = "files have no record")
        )]
        let mut listed = Listed::default();
        let input = match source {
            Source::File(file) => Self::File(file),
            #[cfg(feature = "remote")]
            Source::Remote(object) => {
                let listing = match listing {
                    true => match Purpose::Rows.record(&object)? {
                        Some(record) => {
                            listed.0 = Some(Arc::clone(&record));
                            Listing::Recorded(record)
                        }
                        None => Listing::Unrecorded,
                    },
                    false => Listing::No,
                };
                Self::Remote(object, listing)
            }
        };
        let _ = (listing, Purpose::Rows);
        Ok((input, length, listed))
    }

    #[cfg(feature = "remote")]
    fn reader(object: &Arc<Object>, listing: &Listing) -> Reader {
        let object = Arc::clone(object);
        match listing {
            Listing::Recorded(record) => Reader::recorded(object, Arc::clone(record)).direct(),
            Listing::Unrecorded => Reader::new(object).direct(),
            Listing::No => Reader::new(object),
        }
    }
}

impl Length for Input {
    fn len(&self) -> u64 {
        match self {
            Self::File(file) => file.len(),
            #[cfg(feature = "remote")]
            Self::Remote(object, _) => object.size(),
        }
    }
}

impl ChunkReader for Input {
    type T = Part;

    fn get_read(&self, start: u64) -> errors::Result<Part> {
        match self {
            Self::File(file) => Ok(Part::File(file.get_read(start)?)),
            #[cfg(feature = "remote")]
            Self::Remote(object, listing) => {
                let mut reader = Self::reader(object, listing);
                reader.seek(SeekFrom::Start(start))?;
                Ok(Part::Remote(BufReader::with_capacity(CHUNK, reader)))
            }
        }
    }

    fn get_bytes(&self, start: u64, length: usize) -> errors::Result<Bytes> {
        match self {
            Self::File(file) => file.get_bytes(start, length),
            #[cfg(feature = "remote")]
            Self::Remote(object, listing) => {
                // The length is the file's claim.
                let rest = object.size().saturating_sub(start);
                if length as u64 > rest {
                    return Err(errors::ParquetError::EOF(format!(
                        "{length} bytes at byte {start} of {}",
                        object.size()
                    )));
                }
                let mut reader = Self::reader(object, listing);
                reader.seek(SeekFrom::Start(start))?;
                let mut bytes = vec![0; length];
                reader.read_exact(&mut bytes)?;
                Ok(bytes.into())
            }
        }
    }
}

impl Read for Part {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::File(file) => file.read(buffer),
            #[cfg(feature = "remote")]
            Self::Remote(reader) => reader.read(buffer),
        }
    }
}
