//! Memory of blocks: it counts as held as long as it is used, and is then used again, because fresh memory costs more
//! than the copy of a block: the system clears it, page by page.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use crate::statistics::Statistics;

/// Gives memory for blocks, and takes it back.
#[derive(Clone, Debug)]
pub(crate) struct Buffers(Arc<Pool>);

#[derive(Debug)]
struct Pool {
    /// Bytes of a whole block. Others, such as small objects, have memory of just their size.
    block: usize,
    /// Most buffers that wait for their next use.
    most: usize,
    spare: Mutex<Vec<Vec<u8>>>,
    statistics: Arc<Statistics>,
}

/// Memory for a block.
#[derive(Debug)]
pub(crate) struct Buffer {
    /// What it has so far.
    pub bytes: Vec<u8>,
    length: usize,
    pool: Arc<Pool>,
}

impl Buffers {
    /// Memory for blocks of `block` bytes, of which `parallel` are received at the same time: as many buffers wait when
    /// none is received.
    pub fn new(block: usize, parallel: usize, statistics: &Arc<Statistics>) -> Self {
        Self(Arc::new(Pool {
            block,
            most: parallel,
            spare: Mutex::default(),
            statistics: Arc::clone(statistics),
        }))
    }

    /// An empty buffer for this many bytes.
    pub fn take(&self, length: usize) -> Buffer {
        let pool = Arc::clone(&self.0);
        pool.statistics.hold(length);
        let spare = match length == pool.block {
            true => pool.spare().pop(),
            false => None,
        };
        Buffer {
            bytes: spare.unwrap_or_else(|| Vec::with_capacity(length)),
            length,
            pool,
        }
    }
}

impl Pool {
    fn spare(&self) -> MutexGuard<'_, Vec<Vec<u8>>> {
        self.spare.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Buffer {
    /// Its bytes. The memory goes back once nothing uses them any more.
    pub fn freeze(self) -> Bytes {
        Bytes::from_owner(self)
    }
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        self.pool.statistics.release(self.length);
        let mut bytes = std::mem::take(&mut self.bytes);
        if bytes.capacity() >= self.pool.block {
            let mut spare = self.pool.spare();
            if spare.len() < self.pool.most {
                bytes.clear();
                spare.push(bytes);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn buffers() -> (Buffers, Arc<Statistics>) {
        let statistics = Arc::default();
        (Buffers::new(100, 4, &statistics), statistics)
    }

    #[test]
    fn memory_is_held_until_the_bytes_are_gone_and_then_used_again() {
        let (buffers, statistics) = buffers();
        let mut first = buffers.take(100);
        first.bytes.extend([7; 100]);
        let address = first.bytes.as_ptr();
        let first = first.freeze();
        let part = first.slice(10..20);
        drop(first);
        let other = buffers.take(100);
        assert_ne!(other.bytes.as_ptr(), address);
        assert_eq!(part, [7; 10][..]);
        drop(part);
        let again = buffers.take(100);
        assert_eq!(again.bytes.as_ptr(), address);
        assert!(again.bytes.is_empty());
        assert_eq!(statistics.counts().most_held, 200);
    }

    #[test]
    fn few_buffers_wait_and_only_those_of_whole_blocks() {
        let (buffers, _) = buffers();
        let blocks: Vec<Bytes> = (0..10).map(|_| buffers.take(100).freeze()).collect();
        drop(blocks);
        drop(buffers.take(8));
        assert_eq!(buffers.0.spare().len(), 4);
        assert!(buffers.take(8).bytes.capacity() < 100);
    }
}
