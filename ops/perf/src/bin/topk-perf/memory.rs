//! Counts allocated bytes.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicBool, AtomicIsize, Ordering::Relaxed};

/// The system's allocator, which counts while [`peak`] runs a function.
struct Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

static COUNTS: AtomicBool = AtomicBool::new(false);
/// Bytes allocated less bytes freed since counting began, and the most that this ever was.
static ALLOCATED: AtomicIsize = AtomicIsize::new(0);
static PEAK: AtomicIsize = AtomicIsize::new(0);

/// Runs a function and returns how many bytes more than before were allocated at the peak, by all
/// threads together.
pub fn peak(function: &mut dyn FnMut()) -> usize {
    ALLOCATED.store(0, Relaxed);
    PEAK.store(0, Relaxed);
    COUNTS.store(true, Relaxed);
    function();
    COUNTS.store(false, Relaxed);
    PEAK.load(Relaxed).max(0) as usize
}

fn count(bytes: isize) {
    if COUNTS.load(Relaxed) {
        let allocated = ALLOCATED.fetch_add(bytes, Relaxed) + bytes;
        PEAK.fetch_max(allocated, Relaxed);
    }
}

// SAFETY: every request goes to the system's allocator as it is.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        // SAFETY: the caller keeps the contract, which is the same.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        // SAFETY: as above.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count(-(layout.size() as isize));
        // SAFETY: as above; the pointer is from the same allocator.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(size as isize - layout.size() as isize);
        // SAFETY: as above.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_what_is_allocated_at_a_time() {
        let bytes = peak(&mut || {
            for _ in 0..10 {
                let mut bytes = vec![1u8; 1 << 20];
                bytes.resize(1 << 21, 2);
                std::hint::black_box(&bytes);
            }
        });
        // Other tests may allocate meanwhile, though not as much.
        assert!((1 << 21..3 << 20).contains(&bytes), "{bytes}");
    }
}
