//! Listing several files at the same time, where waiting for a server takes most of the time.

use std::panic;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use crate::{DataError, storage};

/// Number of files of a server that are listed at the same time.
const LISTED: usize = 16;

/// Calls `list` with the index of each file, and returns the results in their order. Files on disk are listed one after
/// another.
///
/// # Errors
/// That of the first file that cannot be listed.
pub(crate) fn of_files<T: Send>(
    files: &[PathBuf],
    list: impl Fn(usize) -> Result<T, DataError> + Sync,
) -> Result<Vec<T>, DataError> {
    match files.iter().any(|file| storage::is_remote(file)) {
        true => in_threads(LISTED.min(files.len()), files.len(), list),
        false => (0..files.len()).map(list).collect(),
    }
}

fn in_threads<T: Send>(
    threads: usize,
    count: usize,
    list: impl Fn(usize) -> Result<T, DataError> + Sync,
) -> Result<Vec<T>, DataError> {
    let next = AtomicUsize::new(0);
    let failed = AtomicBool::new(false);
    // The files before one that fails have been begun, so that the first error is always found.
    let list_some = || {
        let mut found = Vec::new();
        while !failed.load(Ordering::Relaxed) {
            let index = next.fetch_add(1, Ordering::Relaxed);
            if index >= count {
                break;
            }
            let listed = list(index);
            failed.fetch_or(listed.is_err(), Ordering::Relaxed);
            found.push((index, listed));
        }
        found
    };
    let mut found: Vec<_> = thread::scope(|scope| {
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(list_some)).collect();
        let joined = threads.into_iter().map(|thread| {
            let joined = thread.join();
            joined.unwrap_or_else(|panic| panic::resume_unwind(panic))
        });
        joined.flatten().collect()
    });
    found.sort_unstable_by_key(|(index, _)| *index);
    found.into_iter().map(|(_, listed)| listed).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_are_in_the_order_of_the_files() {
        let found = in_threads(4, 50, |index| Ok(index * 10)).unwrap();
        assert!(found.into_iter().eq((0..50).map(|index| index * 10)));
        assert!(in_threads(4, 0, Ok).unwrap().is_empty());
    }

    #[test]
    fn the_first_error_is_found() {
        for _ in 0..20 {
            let failed = in_threads(4, 50, |index| match index {
                7 | 8 | 30 => Err(DataError::Empty(format!("{index}").into())),
                index => Ok(index),
            });
            assert_eq!(failed.unwrap_err().to_string(), "7 is empty");
        }
    }
}
