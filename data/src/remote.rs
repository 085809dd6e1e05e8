//! What programs set up and report about data that is not on this machine. In builds that read files only these
//! functions accept paths of files.

use std::path::{Path, PathBuf};

use crate::{DataError, storage};

/// Where data from elsewhere is kept on this machine.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
#[cfg_attr(feature = "clap", derive(clap::Args))]
pub struct RemoteCache {
    /// Keep data from servers in this folder, which processes may share [default: in memory only]
    #[cfg_attr(
        feature = "clap",
        arg(
            id = "cache",
            long = "cache",
            value_name = "DIR",
            help_heading = "Data from servers"
        )
    )]
    pub folder: Option<PathBuf>,

    /// Size of --cache, such as 200GB or 1TB; data used longest ago is removed [default: 50GB]
    #[cfg_attr(
        feature = "clap",
        arg(
            id = "cache_size",
            long = "cache-size",
            value_name = "SIZE",
            requires = "cache",
            help_heading = "Data from servers",
            value_parser = bytes
        )
    )]
    pub size: Option<u64>,
}

/// Parses a number of bytes, such as `500MB`, `50GB`, `1.5TB` or `64GiB`.
#[cfg(any(feature = "clap", test))]
fn bytes(text: &str) -> Result<u64, String> {
    const UNITS: [(&str, f64); 7] = [
        ("MiB", 1048576.0),
        ("GiB", 1073741824.0),
        ("TiB", 1099511627776.0),
        ("MB", 1e6),
        ("GB", 1e9),
        ("TB", 1e12),
        ("B", 1.0),
    ];
    let invalid = || format!("`{text}` is not a size such as 50GB, 1.5TB or 64GiB");
    let unit = UNITS.iter().find(|(unit, _)| text.ends_with(unit));
    let (unit, factor) = unit.ok_or_else(invalid)?;
    let number = text[..text.len() - unit.len()].trim_end();
    let number: f64 = number.parse().map_err(|_| invalid())?;
    let bytes = number * factor;
    match (1.0..1e18).contains(&bytes) {
        true => Ok(bytes as u64),
        false => Err(invalid()),
    }
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

/// The same of what may be missing; `None` if it is, or if access is denied, which is what some servers answer about
/// objects that do not exist.
///
/// # Errors
/// Those of [`local`].
pub fn local_if_found(path: &Path) -> Result<Option<PathBuf>, DataError> {
    match local(path) {
        Ok(found) => Ok(Some(found)),
        #[cfg(feature = "remote")]
        Err(DataError::Remote(
            topk_remote::RemoteError::NotFound { .. } | topk_remote::RemoteError::Denied { .. },
        )) => Ok(None),
        Err(error) => Err(error),
    }
}

/// A folder that has these copies, which [`local`] made, under these names: of files that refer to each other.
///
/// # Errors
/// If it cannot be made, or this build reads files only.
pub fn gather(copies: &[(PathBuf, PathBuf)]) -> Result<PathBuf, DataError> {
    #[cfg(feature = "remote")]
    return Ok(topk_remote::Client::shared()?.gather(copies)?);
    #[cfg(not(feature = "remote"))]
    Err(DataError::NoRemote(format!("{} files", copies.len())))
}

/// The address of the folder that an object or a folder is in; `None` if that would leave its bucket, server or repository,
/// and for what is not an address.
pub fn parent(address: &Path) -> Option<PathBuf> {
    #[cfg(feature = "remote")]
    return topk_remote::parent(address);
    #[cfg(not(feature = "remote"))]
    {
        let _ = address;
        None
    }
}

/// Uses what belongs to the address of an object, such as a signature, for that of another.
pub fn share_query(address: &Path, other: &Path) {
    storage::inherit(address, other);
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

/// Number of requests to servers so far that repeated one that had failed.
pub fn retries() -> usize {
    #[cfg(feature = "remote")]
    return topk_remote::Client::transferred().map_or(0, |counts| counts.retried() as usize);
    #[cfg(not(feature = "remote"))]
    0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_units() {
        for (text, size) in [
            ("50GB", 50_000_000_000),
            ("1.5 TB", 1_500_000_000_000),
            ("64MiB", 64 << 20),
            ("1000B", 1000),
        ] {
            assert_eq!(bytes(text), Ok(size), "{text}");
        }
        for text in ["50", "GB", "-1GB", "0GB", "50 gb", "nanGB", "infTB", ""] {
            bytes(text).unwrap_err();
        }
    }
}
