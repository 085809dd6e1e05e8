use std::path::PathBuf;
use std::time::Duration;

use thiserror::Error;

/// Why remote data cannot be read. Every message names the object, without credentials.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum RemoteError {
    /// A location that cannot be used.
    #[error("cannot use {location}: {reason}")]
    Location {
        /// The location.
        location: String,
        /// Why, and what to write instead.
        reason: String,
    },
    /// An object does not exist.
    #[error("{location} does not exist; check its name{hint}")]
    NotFound {
        /// The object.
        location: String,
        /// What else may be wrong.
        hint: &'static str,
    },
    /// The credentials are missing or do not suffice.
    #[error("access to {location} is denied ({reason}); {hint}")]
    Denied {
        /// The object.
        location: String,
        /// What the server said.
        reason: String,
        /// The variables that hold the credentials.
        hint: &'static str,
    },
    /// An object is not the one that was opened.
    #[error(
        "{location} changed while it was in use (it was {before}, and is {after} now); start again, so that \
         everything is read from one version"
    )]
    Changed {
        /// The object.
        location: String,
        /// Version and size at first.
        before: String,
        /// Version and size now.
        after: String,
    },
    /// A server that sends whole files only.
    #[error(
        "the server of {location} ignores requests for a range of bytes; download the file, or use a server that \
         supports them"
    )]
    NoRanges {
        /// The object.
        location: String,
    },
    /// All tries have failed.
    #[error("cannot read {location}: {reason} (gave up after {tries} tries in {} s)", elapsed.as_secs())]
    Failed {
        /// The object.
        location: String,
        /// The last failure.
        reason: String,
        /// Number of tries.
        tries: u32,
        /// How long they took.
        elapsed: Duration,
    },
    /// A failure that another try would not change.
    #[error("cannot read {location}: {reason}")]
    Permanent {
        /// The object.
        location: String,
        /// The failure.
        reason: String,
    },
    /// The folder of cached data cannot be used.
    #[error("cannot use the cache {}: {reason}", path.display())]
    Cache {
        /// The folder.
        path: PathBuf,
        /// Why.
        reason: String,
    },
}
