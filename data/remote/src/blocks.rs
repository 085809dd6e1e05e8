//! Blocks of objects in memory, and reading them ahead.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use crate::RemoteError;
use crate::client::Client;
use crate::object::Object;

/// Most blocks that are read ahead at the same time.
const PARALLEL: usize = 32;

/// The numbers of the object and the block.
type Key = (u128, u64);

/// Blocks by object and number; those used longest ago make room for new ones.
#[derive(Debug)]
pub(crate) struct Blocks {
    state: Mutex<State>,
    ready: Condvar,
    /// Most bytes of blocks.
    capacity: usize,
    /// Blocks that may be read ahead at the same time.
    pub parallel: usize,
    /// Blocks that may wait to be read ahead.
    waiting: usize,
}

#[derive(Debug, Default)]
struct State {
    slots: HashMap<Key, Slot>,
    by_use: BTreeMap<u64, Key>,
    uses: u64,
    bytes: usize,
    /// What to read ahead, in order.
    queue: VecDeque<(Arc<Object>, u64)>,
    queued: HashSet<Key>,
    running: usize,
}

#[derive(Debug)]
enum Slot {
    Loading,
    Ready { bytes: Bytes, used: u64 },
}

impl Blocks {
    pub fn new(capacity: usize, block: usize) -> Self {
        // What is being received may take an eighth of the memory.
        let fits = capacity / block.max(1);
        Self {
            state: Mutex::default(),
            ready: Condvar::new(),
            capacity,
            parallel: (fits / 8).clamp(1, PARALLEL),
            waiting: (fits / 2).max(1),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A block, which this thread reads unless another is reading it.
    pub fn get(
        &self,
        client: &Arc<Client>,
        object: &Arc<Object>,
        block: u64,
    ) -> Result<Bytes, RemoteError> {
        let key = (object.number, block);
        let mut state = self.state();
        loop {
            match state.slots.get(&key) {
                Some(Slot::Ready { .. }) => return Ok(state.touch(&key)),
                Some(Slot::Loading) => {
                    state = self
                        .ready
                        .wait(state)
                        .unwrap_or_else(PoisonError::into_inner);
                }
                None => break,
            }
        }
        state.slots.insert(key, Slot::Loading);
        drop(state);
        let filling = Filling {
            client,
            key: Some(key),
        };
        let loaded = client.block_on(client.block(object, block));
        filling.finish(loaded)
    }

    /// Reads blocks ahead that are neither in memory nor on their way, as many as may wait.
    pub fn read_ahead(
        &self,
        client: &Arc<Client>,
        object: &Arc<Object>,
        blocks: impl Iterator<Item = u64>,
    ) {
        let mut state = self.state();
        for block in blocks {
            let key = (object.number, block);
            if state.slots.contains_key(&key) || state.queued.contains(&key) {
                continue;
            }
            if state.queue.len() >= self.waiting {
                break;
            }
            state.queued.insert(key);
            state.queue.push_back((Arc::clone(object), block));
        }
        while state.running < self.parallel {
            let Some(first) = state.next() else { break };
            state.running += 1;
            let client = Arc::clone(client);
            client.threads.handle().clone().spawn(async move {
                let mut job = Some(first);
                while let Some((object, block)) = job {
                    let key = (object.number, block);
                    let filling = Filling {
                        client: &client,
                        key: Some(key),
                    };
                    let loaded = client.block(&object, block).await;
                    // Whoever needs the block tries again, and reports the error.
                    let _ = filling.finish(loaded);
                    job = client.blocks.next_job();
                }
            });
        }
    }

    /// The next block to read ahead; ends a task if there is none.
    fn next_job(&self) -> Option<(Arc<Object>, u64)> {
        let mut state = self.state();
        let next = state.next();
        if next.is_none() {
            state.running -= 1;
        }
        next
    }
}

impl State {
    /// Takes a block to read ahead from the queue, and marks it as being read.
    fn next(&mut self) -> Option<(Arc<Object>, u64)> {
        loop {
            let (object, block) = self.queue.pop_front()?;
            let key = (object.number, block);
            self.queued.remove(&key);
            if let Entry::Vacant(slot) = self.slots.entry(key) {
                slot.insert(Slot::Loading);
                return Some((object, block));
            }
        }
    }

    /// A block that is ready, which becomes the most recently used one.
    fn touch(&mut self, key: &Key) -> Bytes {
        self.uses += 1;
        let now = self.uses;
        let Some(Slot::Ready { bytes, used }) = self.slots.get_mut(key) else {
            unreachable!("the caller found the block ready")
        };
        let (bytes, before) = (bytes.clone(), std::mem::replace(used, now));
        self.by_use.remove(&before);
        self.by_use.insert(now, *key);
        bytes
    }

    /// Adds a block, for which those used longest ago make room.
    fn insert(&mut self, key: Key, bytes: Bytes, capacity: usize) {
        while self.bytes + bytes.len() > capacity {
            let Some((_, oldest)) = self.by_use.pop_first() else {
                break;
            };
            if let Some(Slot::Ready { bytes, .. }) = self.slots.remove(&oldest) {
                self.bytes -= bytes.len();
            }
        }
        self.uses += 1;
        self.bytes += bytes.len();
        self.by_use.insert(self.uses, key);
        let used = self.uses;
        self.slots.insert(key, Slot::Ready { bytes, used });
    }
}

/// A slot that is being filled. Dropping it wakes those who wait for the block.
struct Filling<'a> {
    client: &'a Arc<Client>,
    key: Option<Key>,
}

impl Filling<'_> {
    fn finish(mut self, loaded: Result<Bytes, RemoteError>) -> Result<Bytes, RemoteError> {
        let blocks = &self.client.blocks;
        if let Ok(bytes) = &loaded
            && let Some(key) = self.key.take()
        {
            blocks.state().insert(key, bytes.clone(), blocks.capacity);
            blocks.ready.notify_all();
        }
        loaded
    }
}

impl Drop for Filling<'_> {
    fn drop(&mut self) {
        if let Some(key) = self.key.take() {
            let blocks = &self.client.blocks;
            blocks.state().slots.remove(&key);
            blocks.ready.notify_all();
        }
    }
}

impl Client {
    /// A block from the cache on disk or the server.
    async fn block(
        self: &Arc<Self>,
        object: &Arc<Object>,
        block: u64,
    ) -> Result<Bytes, RemoteError> {
        let range = object.block_range(self.options.block, block);
        let length = (range.end - range.start) as usize;
        let mut buffer = self.buffers.take(length);
        if self.disk.is_some() {
            let (client, id) = (Arc::clone(self), object.id.clone());
            let read = tokio::task::spawn_blocking(move || {
                let disk = client.disk.as_ref();
                let found =
                    disk.is_some_and(|disk| disk.get(&id, block, length, &mut buffer.bytes));
                (buffer, found)
            });
            match read.await {
                Ok((read, true)) => {
                    self.statistics.cached(length);
                    return Ok(read.freeze());
                }
                Ok((read, false)) => buffer = read,
                Err(_) => buffer = self.buffers.take(length),
            }
        }
        self.receive(object, range, &mut buffer.bytes).await?;
        let bytes = buffer.freeze();
        if self.disk.is_some() {
            let (client, id, kept) = (Arc::clone(self), object.id.clone(), bytes.clone());
            let put = tokio::task::spawn_blocking(move || match &client.disk {
                Some(disk) => disk.put(&id, block, &kept).is_ok(),
                None => true,
            });
            if !matches!(put.await, Ok(true)) {
                self.statistics.cache_failed();
            }
        }
        Ok(bytes)
    }
}
