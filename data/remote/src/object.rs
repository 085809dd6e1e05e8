use std::fmt;
use std::ops::Range;
use std::sync::{Arc, Weak};

use object_store::path::Path as Key;
use object_store::{ObjectMeta, ObjectStore};

use crate::RemoteError;
use crate::client::Client;
use crate::location::Location;

/// What tells one content of an object from another.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Version {
    /// The ETag, or the time of the last change.
    pub tag: String,
    /// Bytes.
    pub size: u64,
}

/// An object whose version is known. All of it that is read is of this version.
pub struct Object {
    pub(crate) client: Weak<Client>,
    pub(crate) location: Location,
    pub(crate) version: Version,
    pub(crate) store: Arc<dyn ObjectStore>,
    pub(crate) key: Key,
    /// Identifies location and version, also on disk.
    pub(crate) id: String,
    /// The same as a number, for blocks in memory.
    pub(crate) number: u128,
}

impl Object {
    pub(crate) fn new(
        client: &Arc<Client>,
        location: Location,
        version: Version,
    ) -> Result<Self, RemoteError> {
        let (store, key) = client.store(&location)?;
        let mut hasher = topk_files::Hasher::default();
        hasher.update(format!("{location}\n{}\n{}", version.tag, version.size));
        let mut id = hasher.finish();
        id.truncate(32);
        let number = u128::from_str_radix(&id, 16).expect("a hash in hexadecimal digits");
        Ok(Self {
            client: Arc::downgrade(client),
            location,
            version,
            store,
            key,
            id,
            number,
        })
    }

    /// Its size in bytes.
    pub fn size(&self) -> u64 {
        self.version.size
    }

    /// Its address.
    pub fn path(&self) -> std::path::PathBuf {
        self.location.to_string().into()
    }

    pub(crate) fn client(&self) -> Result<Arc<Client>, RemoteError> {
        self.client.upgrade().ok_or_else(|| RemoteError::Permanent {
            location: self.location.to_string(),
            reason: "its client has ended".to_owned(),
        })
    }

    /// Reads the whole buffer from a position.
    ///
    /// # Errors
    /// If that fails, the object has changed, or it ends before.
    pub fn read_exact_at(
        self: &Arc<Self>,
        buffer: &mut [u8],
        offset: u64,
    ) -> Result<(), RemoteError> {
        let client = self.client()?;
        self.end_of(buffer.len(), offset)?;
        let block = client.options.block as u64;
        let mut filled = 0;
        while filled < buffer.len() {
            let position = offset + filled as u64;
            let bytes = client.blocks.get(&client, self, position / block)?;
            let start = (position % block) as usize;
            let length = (bytes.len() - start).min(buffer.len() - filled);
            buffer[filled..filled + length].copy_from_slice(&bytes[start..start + length]);
            filled += length;
        }
        Ok(())
    }

    /// Reads the whole buffer from a position with one request, past the blocks in memory and on disk: for small parts
    /// of large objects.
    ///
    /// # Errors
    /// If that fails, the object has changed, or it ends before.
    pub fn read_directly(&self, buffer: &mut [u8], offset: u64) -> Result<(), RemoteError> {
        if buffer.is_empty() {
            return Ok(());
        }
        let client = self.client()?;
        let end = self.end_of(buffer.len(), offset)?;
        let mut bytes = Vec::with_capacity(buffer.len());
        client.block_on(client.receive(self, offset..end, &mut bytes))?;
        buffer.copy_from_slice(&bytes);
        Ok(())
    }

    /// The end of a range, which must be inside.
    fn end_of(&self, length: usize, offset: u64) -> Result<u64, RemoteError> {
        let end = offset.checked_add(length as u64);
        end.filter(|&end| end <= self.version.size)
            .ok_or_else(|| RemoteError::Permanent {
                location: self.location.to_string(),
                reason: format!("it ends at byte {}", self.version.size),
            })
    }

    /// Begins to read ranges that will be needed soon, as far as memory allows.
    pub fn read_ahead(self: &Arc<Self>, ranges: impl IntoIterator<Item = Range<u64>>) {
        let Ok(client) = self.client() else { return };
        let block = client.options.block as u64;
        let last = self.version.size.div_ceil(block);
        let blocks = ranges
            .into_iter()
            .filter(|range| !range.is_empty())
            .flat_map(|range| range.start / block..range.end.div_ceil(block).min(last));
        client.blocks.read_ahead(&client, self, blocks);
    }

    /// Begins to read one range.
    pub(crate) fn read_range_ahead(self: &Arc<Self>, range: Range<u64>) {
        self.read_ahead(std::iter::once(range));
    }

    /// The range of a block.
    pub(crate) fn block_range(&self, size: usize, block: u64) -> Range<u64> {
        let start = block * size as u64;
        start..(start + size as u64).min(self.version.size)
    }

    /// Checks that an answer is about the version that was opened.
    pub(crate) fn check(&self, meta: &ObjectMeta) -> Result<(), RemoteError> {
        let found = Version::of(meta);
        if found == self.version {
            return Ok(());
        }
        let shown = |version: &Version| match version.tag.as_str() {
            "" => format!("{} bytes", version.size),
            tag => format!("{} with {} bytes", tag, version.size),
        };
        Err(RemoteError::Changed {
            location: self.location.to_string(),
            before: shown(&self.version),
            after: shown(&found),
        })
    }
}

impl fmt::Debug for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Object")
            .field("location", &self.location)
            .field("version", &self.version)
            .finish_non_exhaustive()
    }
}
