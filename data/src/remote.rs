//! What programs set up and report about data that is not on this machine. In builds that read files only these
//! functions accept paths of files.

use std::path::{Path, PathBuf};

use crate::{DataError, storage};

/// Where data from elsewhere is kept on this machine.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct RemoteCache {
    /// The folder; none if blocks of data are only kept in memory.
    pub folder: Option<PathBuf>,
    /// Most bytes of blocks in it [default: 50 GB].
    pub size: Option<u64>,
}

/// The path without user, password and query if it is an address; these are used for requests, and cannot appear in
/// what is printed or saved later.
///
/// # Errors
/// If it is not a valid address, or this build reads files only.
pub fn admit(path: &Path) -> Result<PathBuf, DataError> {
    Ok(storage::admit(path)?.into_owned())
}

/// The file itself, or a copy of it on this machine if it is elsewhere: for models, checkpoints and lists.
///
/// # Errors
/// If it cannot be downloaded.
pub fn local(path: &Path) -> Result<PathBuf, DataError> {
    Ok(storage::local(path)?.into_owned())
}

/// Whether a path is an address.
pub fn is_remote(path: &Path) -> bool {
    storage::is_remote(path)
}

/// Sets the cache of this process. Call it before anything is read.
///
/// # Errors
/// If the folder cannot be used, or this build reads files only.
pub fn configure(cache: RemoteCache) -> Result<(), DataError> {
    if cache == RemoteCache::default() {
        return Ok(());
    }
    #[cfg(feature = "remote")]
    {
        let defaults = topk_remote::Options::from_env();
        topk_remote::Client::configure(topk_remote::Options {
            cache: cache.folder,
            cache_size: cache.size.unwrap_or(defaults.cache_size),
            ..defaults
        })?;
        Ok(())
    }
    #[cfg(not(feature = "remote"))]
    Err(DataError::NoRemote("a cache of remote data".to_owned()))
}

/// One line about what was transferred so far, with the number of retries; `None` if nothing was.
pub fn transferred() -> Option<String> {
    #[cfg(feature = "remote")]
    return topk_remote::Client::transferred().map(|counts| counts.to_string());
    #[cfg(not(feature = "remote"))]
    None
}
