use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use serde::Serialize;

/// What was transferred, counted while it happens.
#[derive(Debug, Default)]
pub(crate) struct Statistics {
    requests: AtomicU64,
    received: AtomicU64,
    from_cache: AtomicU64,
    held: AtomicUsize,
    most_held: AtomicUsize,
    retries: Mutex<BTreeMap<String, u64>>,
    cache_failures: AtomicU64,
}

/// What was transferred so far.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize)]
pub struct Counts {
    /// Requests, including those that failed.
    pub requests: u64,
    /// Bytes received from servers.
    pub received: u64,
    /// Bytes read from the cache on disk.
    pub from_cache: u64,
    /// Tries after a failure, by its cause.
    pub retries: BTreeMap<String, u64>,
    /// Blocks that could not be written to the cache on disk.
    pub cache_failures: u64,
    /// The most bytes that were in memory at a time: received blocks, and those being received.
    pub most_held: usize,
}

impl Statistics {
    pub fn request(&self) {
        self.requests.fetch_add(1, Ordering::Relaxed);
    }

    pub fn received(&self, bytes: usize) {
        self.received.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub fn cached(&self, bytes: usize) {
        self.from_cache.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub fn cache_failed(&self) {
        self.cache_failures.fetch_add(1, Ordering::Relaxed);
    }

    pub fn retry(&self, cause: &str) {
        let mut retries = self.retries.lock().unwrap_or_else(PoisonError::into_inner);
        *retries.entry(cause.to_owned()).or_default() += 1;
    }

    /// Counts memory for blocks.
    pub fn hold(&self, bytes: usize) {
        let held = self.held.fetch_add(bytes, Ordering::Relaxed) + bytes;
        self.most_held.fetch_max(held, Ordering::Relaxed);
    }

    pub fn release(&self, bytes: usize) {
        self.held.fetch_sub(bytes, Ordering::Relaxed);
    }

    pub fn counts(&self) -> Counts {
        let retries = self.retries.lock().unwrap_or_else(PoisonError::into_inner);
        Counts {
            requests: self.requests.load(Ordering::Relaxed),
            received: self.received.load(Ordering::Relaxed),
            from_cache: self.from_cache.load(Ordering::Relaxed),
            retries: retries.clone(),
            cache_failures: self.cache_failures.load(Ordering::Relaxed),
            most_held: self.most_held.load(Ordering::Relaxed),
        }
    }
}

impl Counts {
    /// Number of tries after a failure.
    pub fn retried(&self) -> u64 {
        self.retries.values().sum()
    }
}

impl fmt::Display for Counts {
    /// One line, such as `120 requests, 460.2 MB received, 2 retries (1 × HTTP 503, 1 × connection broken)`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let megabytes = |bytes: u64| bytes as f64 / 1e6;
        let retried = self.retried();
        write!(
            f,
            "{} requests, {:.1} MB received",
            self.requests,
            megabytes(self.received)
        )?;
        if self.from_cache > 0 {
            write!(f, ", {:.1} MB from the cache", megabytes(self.from_cache))?;
        }
        write!(
            f,
            ", {retried} {}",
            if retried == 1 { "retry" } else { "retries" }
        )?;
        if retried > 0 {
            let causes: Vec<String> = self
                .retries
                .iter()
                .map(|(cause, count)| format!("{count} × {cause}"))
                .collect();
            write!(f, " ({})", causes.join(", "))?;
        }
        if self.cache_failures > 0 {
            write!(
                f,
                ", {} blocks not cached because writing failed",
                self.cache_failures
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_the_causes_of_retries() {
        let statistics = Statistics::default();
        statistics.request();
        statistics.received(1_234_567);
        assert_eq!(
            statistics.counts().to_string(),
            "1 requests, 1.2 MB received, 0 retries"
        );
        for cause in ["HTTP 503", "timeout", "HTTP 503"] {
            statistics.retry(cause);
        }
        let expected = "1 requests, 1.2 MB received, 3 retries (2 × HTTP 503, 1 × timeout)";
        assert_eq!(statistics.counts().to_string(), expected);
        statistics.hold(10);
        statistics.hold(20);
        statistics.release(15);
        statistics.hold(1);
        assert_eq!(statistics.counts().most_held, 30);
    }
}
