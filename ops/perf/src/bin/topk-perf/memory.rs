//! Counts allocated bytes.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::atomic::{AtomicIsize, Ordering::Relaxed};

use rayon::ThreadPoolBuilder;

/// The system's allocator, counting the allocations of some threads.
struct Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

thread_local! {
    /// Whether this thread is counted. It has no destructor, so the allocator may read it at any time.
    static COUNTS: Cell<bool> = const { Cell::new(false) };
}

/// Bytes allocated minus bytes freed by the counted threads, and the maximum of that number.
static ALLOCATED: AtomicIsize = AtomicIsize::new(0);
static PEAK: AtomicIsize = AtomicIsize::new(0);

/// Runs a function in a new pool and returns the peak number of bytes that its threads allocated
/// together, or `None` if the threads cannot be started. Not for concurrent calls.
pub fn peak(threads: usize, function: &mut (dyn FnMut() + Send)) -> Option<usize> {
    let pool = ThreadPoolBuilder::new().num_threads(threads).build().ok()?;
    pool.broadcast(|_| COUNTS.set(true));
    ALLOCATED.store(0, Relaxed);
    PEAK.store(0, Relaxed);
    pool.install(function);
    let peak = PEAK.load(Relaxed);
    // Memory that the threads free when they end must not affect a later count.
    pool.broadcast(|_| COUNTS.set(false));
    Some(peak.max(0) as usize)
}

fn count(bytes: isize) {
    if COUNTS.get() {
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
    fn peak_is_the_largest_simultaneous_allocation() {
        let outside = vec![0u8; 1 << 22];
        let bytes = peak(2, &mut || {
            for _ in 0..10 {
                let mut bytes = vec![1u8; 1 << 20];
                bytes.resize(1 << 21, 2);
                std::hint::black_box(&bytes);
            }
        })
        .unwrap();
        drop(outside);
        assert!((1 << 21..(1 << 21) + 4096).contains(&bytes), "{bytes}");
    }
}
