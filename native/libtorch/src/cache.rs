use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::owned_pages;

/// Alignment of allocated blocks, and unit of their lengths, in bytes.
const PAGE: usize = 4 << 10;
/// Alignment and unit of memory that is mapped from or returned to the system, in bytes.
pub(crate) const HUGE_PAGE: usize = 2 << 20;

/// Allocated blocks, and free blocks kept for later allocations.
///
/// Best fit: a block is carved from the smallest sufficient free block; adjacent free blocks are coalesced. New memory
/// is mapped only if no free block is large enough; before that, free memory in excess of an eighth of the peak
/// allocation is returned to the system.
#[derive(Debug, Default)]
pub(crate) struct Cache {
    /// Address and length of allocated blocks.
    allocated: HashMap<usize, usize>,
    /// Address and length of free blocks; no two are adjacent.
    free_blocks: BTreeMap<usize, usize>,
    /// The same as length and address.
    free_by_length: BTreeSet<(usize, usize)>,
    allocated_len: usize,
    free_len: usize,
    /// Peak of `allocated_len`.
    peak_allocated_len: usize,
}

impl Cache {
    /// Allocates at least `len` bytes and returns their address; `None` if memory is exhausted.
    pub(crate) fn allocate(&mut self, len: usize) -> Option<usize> {
        let len = len.checked_next_multiple_of(PAGE)?;
        let fits = self.free_by_length.range((len, 0)..).next();
        let address = match fits {
            Some(&(_, address)) => address,
            None => self.grow(len)?,
        };
        let found = self.remove(address);
        self.insert(address + len, found - len);
        self.allocated.insert(address, len);
        self.allocated_len += len;
        self.peak_allocated_len = self.peak_allocated_len.max(self.allocated_len);
        Some(address)
    }

    /// Frees an allocated block; returns false if the address is not that of one.
    pub(crate) fn free(&mut self, address: usize) -> bool {
        let Some(len) = self.allocated.remove(&address) else {
            return false;
        };
        self.allocated_len -= len;
        self.insert(address, len);
        true
    }

    /// Returns all free huge pages to the system.
    pub(crate) fn trim(&mut self) {
        self.release(usize::MAX);
    }

    /// Maps memory from the system; returns the address of a free block of at least `len` bytes.
    fn grow(&mut self, len: usize) -> Option<usize> {
        let new = len.checked_next_multiple_of(HUGE_PAGE)?;
        let peak = self.peak_allocated_len.max(self.allocated_len + len);
        let excess = (self.allocated_len + self.free_len + new).saturating_sub(peak + peak / 8);
        self.release(excess);
        let address = system::map(new).or_else(|| {
            self.trim();
            system::map(new)
        })?;
        owned_pages::add(address, new);
        Some(self.insert(address, new))
    }

    /// Returns at least `len` bytes of free huge pages to the system, or all if there are fewer.
    fn release(&mut self, mut len: usize) {
        let longest_first: Vec<_> = self.free_by_length.iter().rev().copied().collect();
        for (found, address) in longest_first {
            if len == 0 || found < HUGE_PAGE {
                return;
            }
            let start = address.next_multiple_of(HUGE_PAGE);
            let whole = (address + found).saturating_sub(start) / HUGE_PAGE;
            let released = whole.min(len.div_ceil(HUGE_PAGE)) * HUGE_PAGE;
            // Before another thread can map them.
            owned_pages::remove(start, released);
            // SAFETY: free blocks are unused, and these pages leave the free blocks if this succeeds.
            let unmapped = unsafe { system::unmap(start, released) };
            if !unmapped {
                owned_pages::add(start, released);
            } else if released > 0 {
                self.remove(address);
                self.insert(address, start - address);
                self.insert(start + released, address + found - start - released);
                len = len.saturating_sub(released);
            }
        }
    }

    /// Adds a free block, coalesced with its neighbours; returns the address of the result.
    fn insert(&mut self, mut address: usize, mut len: usize) -> usize {
        if len == 0 {
            return address;
        }
        let before = self.free_blocks.range(..address).next_back();
        if let Some((&before, &before_len)) = before
            && before + before_len == address
        {
            len += self.remove(before);
            address = before;
        }
        if self.free_blocks.contains_key(&(address + len)) {
            len += self.remove(address + len);
        }
        self.free_blocks.insert(address, len);
        self.free_by_length.insert((len, address));
        self.free_len += len;
        address
    }

    /// Removes the free block at this address; returns its length.
    fn remove(&mut self, address: usize) -> usize {
        let len = self
            .free_blocks
            .remove(&address)
            .expect("the address is that of a free block");
        self.free_by_length.remove(&(len, address));
        self.free_len -= len;
        len
    }
}

mod system {
    use std::ptr;

    use super::{HUGE_PAGE, PAGE};

    /// Maps `len` bytes of zeros, aligned to huge pages; `None` if memory is exhausted.
    pub(super) fn map(len: usize) -> Option<usize> {
        let longer = len.checked_add(HUGE_PAGE - PAGE)?;
        // SAFETY: a new mapping, at an address that the system chooses.
        let mapped = unsafe {
            libc::mmap(
                ptr::null_mut(),
                longer,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
                -1,
                0,
            )
        };
        if mapped == libc::MAP_FAILED {
            return None;
        }
        let mapped = mapped.expose_provenance();
        // The highest aligned address: the kernel places each mapping below the previous one, so that they are adjacent.
        let end = mapped + longer;
        let start = (end - len) / HUGE_PAGE * HUGE_PAGE;
        // SAFETY: these are the unused ends of the new mapping; the advice does not change its contents.
        unsafe {
            unmap(mapped, start - mapped);
            unmap(start + len, end - start - len);
            libc::madvise(
                ptr::with_exposed_provenance_mut(start),
                len,
                libc::MADV_HUGEPAGE,
            );
        }
        Some(start)
    }

    /// Unmaps pages; returns whether that succeeded.
    ///
    /// # Safety
    /// The pages must come from [`map`] and must not be in use.
    pub(super) unsafe fn unmap(start: usize, len: usize) -> bool {
        // SAFETY: as the caller promises.
        len == 0 || unsafe { libc::munmap(ptr::with_exposed_provenance_mut(start), len) } == 0
    }
}

#[cfg(test)]
mod tests {
    use std::{ptr, slice};

    use proptest::collection::vec;
    use proptest::prelude::*;
    use proptest::test_runner::RngSeed;

    use super::*;

    /// # Safety
    /// The block must be allocated from a cache and at least this long.
    unsafe fn bytes<'a>(address: usize, len: usize) -> &'a mut [u8] {
        // SAFETY: mapped, initialised by the kernel, and owned by the caller.
        unsafe { slice::from_raw_parts_mut(ptr::with_exposed_provenance_mut(address), len) }
    }

    /// Whether the fields of the cache are consistent.
    fn is_consistent(cache: &Cache) -> bool {
        let by_length = cache
            .free_blocks
            .iter()
            .map(|(&address, &len)| (len, address));
        let ends = cache
            .free_blocks
            .iter()
            .map(|(&address, &len)| address + len);
        let starts = cache.free_blocks.keys().skip(1).copied();
        by_length.collect::<BTreeSet<_>>() == cache.free_by_length
            && ends.zip(starts).all(|(end, start)| end < start)
            && cache.free_len == cache.free_blocks.values().sum::<usize>()
            && cache.allocated_len == cache.allocated.values().sum::<usize>()
    }

    fn held(cache: &Cache) -> usize {
        cache.allocated_len + cache.free_len
    }

    fn config() -> ProptestConfig {
        ProptestConfig {
            cases: 100,
            failure_persistence: None,
            rng_seed: RngSeed::Fixed(1),
            ..ProptestConfig::default()
        }
    }

    proptest! {
        #![proptest_config(config())]

        #[test]
        fn allocated_blocks_do_not_overlap(
            steps in vec((any::<bool>(), 1..3_000_000_usize, any::<prop::sample::Index>()), 1..200),
        ) {
            let mut cache = Cache::default();
            let mut pieces: Vec<(usize, usize, u8)> = Vec::new();
            for (mark, (allocate, len, which)) in (0..=255).cycle().zip(steps) {
                if allocate || pieces.is_empty() {
                    let address = cache.allocate(len).unwrap();
                    prop_assert_eq!(address % PAGE, 0);
                    // SAFETY: just allocated.
                    unsafe { bytes(address, len).fill(mark) };
                    pieces.push((address, len, mark));
                } else {
                    let (address, len, mark) = pieces.swap_remove(which.index(pieces.len()));
                    // SAFETY: not freed yet.
                    let bytes = unsafe { bytes(address, len) };
                    prop_assert!(bytes.iter().all(|&byte| byte == mark));
                    prop_assert!(cache.free(address));
                    prop_assert!(!cache.free(address));
                }
                prop_assert!(is_consistent(&cache));
            }
            for (address, _, _) in pieces {
                cache.free(address);
            }
            cache.trim();
            prop_assert!(is_consistent(&cache));
            prop_assert_eq!(held(&cache), 0);
        }

        #[test]
        fn at_most_an_eighth_more_than_the_peak_is_held(
            steps in vec((any::<bool>(), 1..40_usize, any::<prop::sample::Index>()), 1..200),
        ) {
            let mut cache = Cache::default();
            let mut pieces = Vec::new();
            for (allocate, huge_pages, which) in steps {
                if allocate || pieces.is_empty() {
                    pieces.push(cache.allocate(huge_pages * HUGE_PAGE).unwrap());
                } else {
                    cache.free(pieces.swap_remove(which.index(pieces.len())));
                }
                prop_assert!(is_consistent(&cache));
                prop_assert!(held(&cache) <= cache.peak_allocated_len + cache.peak_allocated_len / 8);
            }
        }
    }

    #[test]
    fn repeated_steps_map_no_new_memory() {
        const LEN: usize = 12 << 20;
        let mut cache = Cache::default();
        let mut step = || {
            let forward = [(); 3].map(|()| cache.allocate(LEN).unwrap());
            let backward = forward.map(|activations| {
                let gradients = cache.allocate(LEN).unwrap();
                assert!(cache.free(activations));
                gradients
            });
            assert!(backward.iter().all(|&gradients| cache.free(gradients)));
            (held(&cache), cache.free_blocks.clone())
        };
        let first = step();
        assert_eq!(first.0, 4 * LEN);
        assert_eq!(step(), first);
    }

    #[test]
    fn requests_beyond_the_systems_memory_fail() {
        let mut cache = Cache::default();
        assert_eq!(cache.allocate(usize::MAX), None);
        assert_eq!(cache.allocate(usize::MAX / 2), None);
        let address = cache.allocate(1).unwrap();
        assert!(!cache.free(address + PAGE));
        assert!(cache.free(address));
    }
}
