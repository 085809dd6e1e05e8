//! Which huge pages the cache has mapped, readable without its lock.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::cache::HUGE_PAGE;

/// Bits of the addresses of a process.
const ADDRESS_BITS: u32 = 47;

/// A bit for each huge page of the address space. The system provides memory for the parts that are written to: a few
/// pages.
static OWNED: [AtomicU64; (1 << ADDRESS_BITS) / HUGE_PAGE / 64] =
    [const { AtomicU64::new(0) }; (1 << ADDRESS_BITS) / HUGE_PAGE / 64];

/// Records that the cache has mapped these whole huge pages.
pub(crate) fn add(address: usize, len: usize) {
    for (word, bit) in bits(address, len) {
        word.fetch_or(bit, Ordering::Relaxed);
    }
}

/// Records that the cache has unmapped these whole huge pages.
pub(crate) fn remove(address: usize, len: usize) {
    for (word, bit) in bits(address, len) {
        word.fetch_and(!bit, Ordering::Relaxed);
    }
}

/// Whether this address, which is allocated, may be in a page of the cache: exact, but for addresses of more than
/// [`ADDRESS_BITS`].
///
/// Relaxed, because the thread that frees memory has got the address from the one that allocated it.
pub(crate) fn may_contain(address: usize) -> bool {
    let page = address / HUGE_PAGE;
    let word = OWNED.get(page / 64);
    word.is_none_or(|word| word.load(Ordering::Relaxed) >> (page % 64) & 1 == 1)
}

/// The bits of whole huge pages, each in its word.
fn bits(address: usize, len: usize) -> impl Iterator<Item = (&'static AtomicU64, u64)> {
    debug_assert!(address.is_multiple_of(HUGE_PAGE) && len.is_multiple_of(HUGE_PAGE));
    let pages = address / HUGE_PAGE..(address + len) / HUGE_PAGE;
    pages.filter_map(|page| Some((OWNED.get(page / 64)?, 1 << (page % 64))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_are_added_and_removed() {
        // Where no process has memory.
        let address = (1 << ADDRESS_BITS) - 130 * HUGE_PAGE;
        add(address, 130 * HUGE_PAGE);
        remove(address + 64 * HUGE_PAGE, 2 * HUGE_PAGE);
        for page in 0..130 {
            let expected = !(64..66).contains(&page);
            for offset in [0, HUGE_PAGE - 1] {
                let found = may_contain(address + page * HUGE_PAGE + offset);
                assert_eq!(found, expected, "{page}");
            }
        }
        remove(address, 130 * HUGE_PAGE);
        assert!(!may_contain(address));
        assert!(may_contain(1 << ADDRESS_BITS));
    }
}
