use std::collections::{BTreeMap, BTreeSet, HashMap};

/// What is handed out begins at a page and is a multiple of one long.
const PAGE: usize = 4 << 10;
/// What comes from the system, or goes back to it, begins at a huge page and is a multiple of one long.
const HUGE_PAGE: usize = 2 << 20;

/// Memory that is handed out, and memory that came back and is kept for whoever is next.
///
/// A piece is cut from the smallest kept one that is long enough, and neighbours become one again when they come
/// back. New memory is only taken if no kept piece is long enough, and what is then kept in excess of an eighth of the
/// most that was ever in use is given back to the system first.
#[derive(Debug, Default)]
pub(crate) struct Cache {
    /// Address and length of what is handed out.
    in_use: HashMap<usize, usize>,
    /// Address and length of what is kept; no two are neighbours.
    kept: BTreeMap<usize, usize>,
    /// The same as length and address.
    kept_by_length: BTreeSet<(usize, usize)>,
    in_use_len: usize,
    kept_len: usize,
    /// The largest that `in_use_len` has been.
    most_in_use: usize,
}

impl Cache {
    /// The address of at least so many bytes; `None` if the system has no more.
    pub(crate) fn take(&mut self, len: usize) -> Option<usize> {
        let len = len.checked_next_multiple_of(PAGE)?;
        let fits = self.kept_by_length.range((len, 0)..).next();
        let address = match fits {
            Some(&(_, address)) => address,
            None => self.grow(len)?,
        };
        let found = self.remove(address);
        self.keep(address + len, found - len);
        self.in_use.insert(address, len);
        self.in_use_len += len;
        self.most_in_use = self.most_in_use.max(self.in_use_len);
        Some(address)
    }

    /// Takes back what it handed out, and returns whether it did hand that out.
    pub(crate) fn put_back(&mut self, address: usize) -> bool {
        let Some(len) = self.in_use.remove(&address) else {
            return false;
        };
        self.in_use_len -= len;
        self.keep(address, len);
        true
    }

    /// Gives all huge pages that are kept back to the system.
    pub(crate) fn empty(&mut self) {
        self.give_back(usize::MAX);
    }

    /// The address of a kept piece of at least this length that comes from the system.
    fn grow(&mut self, len: usize) -> Option<usize> {
        let new = len.checked_next_multiple_of(HUGE_PAGE)?;
        let most = self.most_in_use.max(self.in_use_len + len);
        let excess = (self.in_use_len + self.kept_len + new).saturating_sub(most + most / 8);
        self.give_back(excess);
        let address = system::map(new).or_else(|| {
            self.empty();
            system::map(new)
        })?;
        Some(self.keep(address, new))
    }

    /// Gives back at least so many bytes, or all that can be.
    fn give_back(&mut self, mut len: usize) {
        let longest_first: Vec<_> = self.kept_by_length.iter().rev().copied().collect();
        for (found, address) in longest_first {
            if len == 0 || found < HUGE_PAGE {
                return;
            }
            let start = address.next_multiple_of(HUGE_PAGE);
            let whole = (address + found).saturating_sub(start) / HUGE_PAGE;
            let given = whole.min(len.div_ceil(HUGE_PAGE)) * HUGE_PAGE;
            // SAFETY: nobody uses what is kept, and it is no longer kept if this succeeds.
            if given > 0 && unsafe { system::unmap(start, given) } {
                self.remove(address);
                self.keep(address, start - address);
                self.keep(start + given, address + found - start - given);
                len = len.saturating_sub(given);
            }
        }
    }

    /// Keeps a piece, as one with its neighbours, and returns the address of that.
    fn keep(&mut self, mut address: usize, mut len: usize) -> usize {
        if len == 0 {
            return address;
        }
        let before = self.kept.range(..address).next_back();
        if let Some((&before, &before_len)) = before
            && before + before_len == address
        {
            len += self.remove(before);
            address = before;
        }
        if self.kept.contains_key(&(address + len)) {
            len += self.remove(address + len);
        }
        self.kept.insert(address, len);
        self.kept_by_length.insert((len, address));
        self.kept_len += len;
        address
    }

    /// Keeps the piece at this address no longer, and returns its length.
    fn remove(&mut self, address: usize) -> usize {
        let len = self.kept.remove(&address).expect("a piece that is kept");
        self.kept_by_length.remove(&(len, address));
        self.kept_len -= len;
        len
    }
}

mod system {
    use std::ptr;

    use super::{HUGE_PAGE, PAGE};

    /// So many bytes of huge pages, all zero; `None` if there are no more.
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
        // The last that is aligned: the system puts a mapping below the one before it, and they become neighbours.
        let end = mapped + longer;
        let start = (end - len) / HUGE_PAGE * HUGE_PAGE;
        // SAFETY: both ends of the new mapping, which nobody uses; the advice changes no contents.
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

    /// Gives pages back, and returns whether the system took them.
    ///
    /// # Safety
    /// They must have come from [`map`], and nobody may use them.
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
    /// A cache must have handed out so much there, and not got it back.
    unsafe fn bytes<'a>(address: usize, len: usize) -> &'a mut [u8] {
        // SAFETY: mapped, initialized by the system, and nobody else's.
        unsafe { slice::from_raw_parts_mut(ptr::with_exposed_provenance_mut(address), len) }
    }

    /// Whether what the cache says of itself is so.
    fn is_sound(cache: &Cache) -> bool {
        let by_length = cache.kept.iter().map(|(&address, &len)| (len, address));
        let ends = cache.kept.iter().map(|(&address, &len)| address + len);
        let starts = cache.kept.keys().skip(1).copied();
        by_length.collect::<BTreeSet<_>>() == cache.kept_by_length
            && ends.zip(starts).all(|(end, start)| end < start)
            && cache.kept_len == cache.kept.values().sum::<usize>()
            && cache.in_use_len == cache.in_use.values().sum::<usize>()
    }

    fn held(cache: &Cache) -> usize {
        cache.in_use_len + cache.kept_len
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
        fn nobody_gets_what_another_has(
            steps in vec((any::<bool>(), 1..3_000_000_usize, any::<prop::sample::Index>()), 1..200),
        ) {
            let mut cache = Cache::default();
            let mut pieces: Vec<(usize, usize, u8)> = Vec::new();
            for (mark, (take, len, which)) in (0..=255).cycle().zip(steps) {
                if take || pieces.is_empty() {
                    let address = cache.take(len).unwrap();
                    prop_assert_eq!(address % PAGE, 0);
                    // SAFETY: just handed out.
                    unsafe { bytes(address, len).fill(mark) };
                    pieces.push((address, len, mark));
                } else {
                    let (address, len, mark) = pieces.swap_remove(which.index(pieces.len()));
                    // SAFETY: not yet put back.
                    let bytes = unsafe { bytes(address, len) };
                    prop_assert!(bytes.iter().all(|&byte| byte == mark));
                    prop_assert!(cache.put_back(address));
                    prop_assert!(!cache.put_back(address));
                }
                prop_assert!(is_sound(&cache));
            }
            for (address, _, _) in pieces {
                cache.put_back(address);
            }
            cache.empty();
            prop_assert!(is_sound(&cache));
            prop_assert_eq!(held(&cache), 0);
        }

        #[test]
        fn an_eighth_more_is_kept_than_was_in_use(
            steps in vec((any::<bool>(), 1..40_usize, any::<prop::sample::Index>()), 1..200),
        ) {
            let mut cache = Cache::default();
            let mut pieces = Vec::new();
            for (take, huge_pages, which) in steps {
                if take || pieces.is_empty() {
                    pieces.push(cache.take(huge_pages * HUGE_PAGE).unwrap());
                } else {
                    cache.put_back(pieces.swap_remove(which.index(pieces.len())));
                }
                prop_assert!(is_sound(&cache));
                prop_assert!(held(&cache) <= cache.most_in_use + cache.most_in_use / 8);
            }
        }
    }

    #[test]
    fn a_step_takes_nothing_new_after_the_first() {
        const LEN: usize = 12 << 20;
        let mut cache = Cache::default();
        let mut step = || {
            let forward = [(); 3].map(|()| cache.take(LEN).unwrap());
            let backward = forward.map(|activations| {
                let gradients = cache.take(LEN).unwrap();
                assert!(cache.put_back(activations));
                gradients
            });
            assert!(backward.iter().all(|&gradients| cache.put_back(gradients)));
            (held(&cache), cache.kept.clone())
        };
        let first = step();
        assert_eq!(first.0, 4 * LEN);
        assert_eq!(step(), first);
    }

    #[test]
    fn there_is_no_more_than_the_system_has() {
        let mut cache = Cache::default();
        assert_eq!(cache.take(usize::MAX), None);
        assert_eq!(cache.take(usize::MAX / 2), None);
        let address = cache.take(1).unwrap();
        assert!(!cache.put_back(address + PAGE));
        assert!(cache.put_back(address));
    }
}
