//! Memory of blocks, which is used again: fresh memory costs more than the copy of a block, because the system clears it.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;

/// Most buffers that wait for their next use. One becomes free whenever a block makes room for another.
const SPARE: usize = 4;

/// Buffers of blocks that are no longer used.
#[derive(Clone, Debug, Default)]
pub(crate) struct Buffers(Arc<Mutex<Vec<Vec<u8>>>>);

/// Bytes whose memory returns to the buffers.
struct Block {
    bytes: Vec<u8>,
    buffers: Buffers,
}

impl Buffers {
    /// An empty buffer for at least this many bytes.
    pub fn take(&self, capacity: usize) -> Vec<u8> {
        let spare = self.0.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let mut buffer = spare.unwrap_or_default();
        buffer.reserve_exact(capacity);
        buffer
    }

    /// Bytes that return their memory once they are not used any more.
    pub fn shared(&self, bytes: Vec<u8>) -> Bytes {
        let buffers = self.clone();
        Bytes::from_owner(Block { bytes, buffers })
    }
}

impl AsRef<[u8]> for Block {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        let mut bytes = std::mem::take(&mut self.bytes);
        let spare = self.buffers.0.lock();
        let mut spare = spare.unwrap_or_else(PoisonError::into_inner);
        if spare.len() < SPARE {
            bytes.clear();
            spare.push(bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_used_again_once_the_bytes_are_gone() {
        let buffers = Buffers::default();
        let mut first = buffers.take(100);
        first.extend([7; 100]);
        let address = first.as_ptr();
        let first = buffers.shared(first);
        let part = first.slice(10..20);
        drop(first);
        let other = buffers.take(100);
        assert_ne!(other.as_ptr(), address);
        assert_eq!(part, [7; 10][..]);
        drop(part);
        let again = buffers.take(50);
        assert_eq!(again.as_ptr(), address);
        assert!(again.is_empty());
    }

    #[test]
    fn few_buffers_wait() {
        let buffers = Buffers::default();
        let blocks: Vec<Bytes> = (0..10).map(|_| buffers.shared(buffers.take(8))).collect();
        drop(blocks);
        assert_eq!(buffers.0.lock().unwrap().len(), SPARE);
    }
}
