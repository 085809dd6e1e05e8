use std::io::{self, Read, Seek, SeekFrom};
use std::sync::Arc;

use crate::RemoteError;
use crate::object::Object;
use crate::record::Record;

/// Number of blocks that are read ahead of a reader that moves forwards.
const AHEAD: u64 = 3;

/// Reads an object as a file, mostly forwards. Its errors have a [`RemoteError`] in them.
#[derive(Debug)]
pub struct Reader {
    object: Arc<Object>,
    record: Option<Arc<Record>>,
    direct: bool,
    position: u64,
    /// The last block that was read.
    block: Option<u64>,
}

impl Reader {
    /// A reader at the beginning of an object.
    pub fn new(object: Arc<Object>) -> Self {
        Self {
            object,
            record: None,
            direct: false,
            position: 0,
            block: None,
        }
    }

    /// A reader whose reads are recorded, or come from a record.
    pub fn recorded(object: Arc<Object>, record: Arc<Record>) -> Self {
        Self {
            record: Some(record),
            ..Self::new(object)
        }
    }

    /// Makes one request for each read, of just its bytes, instead of reading blocks: for small parts of large objects.
    #[must_use]
    pub fn direct(self) -> Self {
        Self {
            direct: true,
            ..self
        }
    }

    fn fill(&mut self, buffer: &mut [u8]) -> Result<(), RemoteError> {
        let (object, position) = (&self.object, self.position);
        if let Some(record) = &self.record
            && record.replay(position, buffer)
        {
            return Ok(());
        }
        if self.direct {
            object.read_directly(buffer, position)?;
            if let Some(record) = &self.record {
                record.add(position, buffer);
            }
            return Ok(());
        }
        let size = object.client()?.options.block as u64;
        let block = position / size;
        if self.block != Some(block) {
            // A jump is not followed by the blocks after it, such as in archives of large files.
            if self.block.is_none() || self.block == block.checked_sub(1) {
                object.read_range_ahead((block + 1) * size..(block + 1 + AHEAD) * size);
            }
            self.block = Some(block);
        }
        object.read_exact_at(buffer, position)?;
        if let Some(record) = &self.record {
            record.add(position, buffer);
        }
        Ok(())
    }
}

impl Read for Reader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let rest = self.object.size().saturating_sub(self.position);
        let length = buffer
            .len()
            .min(usize::try_from(rest).unwrap_or(usize::MAX));
        if length > 0 {
            self.fill(&mut buffer[..length]).map_err(io::Error::other)?;
        }
        self.position += length as u64;
        Ok(length)
    }
}

impl Seek for Reader {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let position = match to {
            SeekFrom::Start(position) => Some(position),
            SeekFrom::Current(step) => self.position.checked_add_signed(step),
            SeekFrom::End(step) => self.object.size().checked_add_signed(step),
        };
        self.position = position.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.position)
    }
}
