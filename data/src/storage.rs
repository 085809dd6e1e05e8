//! Files on disk and, with the feature `remote`, objects elsewhere, under the same kind of path.

use std::borrow::Cow;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use topk_files::Placeholder;

#[cfg(feature = "remote")]
use std::sync::Arc;
#[cfg(feature = "remote")]
use topk_remote::{Client, Kind, Object, Reader, Record, RemoteError};

use crate::DataError;

/// What reading a file for its list of images is recorded as; see [`Input::listing`].
#[derive(Clone, Copy, Debug)]
#[cfg_attr(
    not(feature = "remote"),
    expect(dead_code, reason = "reading files is not recorded")
)]
pub(crate) enum Purpose {
    /// Detecting the kind of a tar file.
    Detection,
    /// Listing the members of a tar file.
    Members,
    /// Listing a tar file in a tar file, by its position.
    Inner(u64),
    /// Listing the rows of a parquet file.
    Rows,
}

/// A path without credentials, as errors and descriptions may show it.
pub(crate) fn admit(path: &Path) -> Result<Cow<'_, Path>, DataError> {
    #[cfg(feature = "remote")]
    if topk_remote::is_remote(path) {
        return Ok(Cow::Owned(topk_remote::admit(path)?));
    }
    #[cfg(not(feature = "remote"))]
    if let Some((scheme, rest)) = remote_scheme(path) {
        // The host only: the rest may have credentials.
        let host = rest.split(['/', '?']).next().unwrap_or_default();
        let host = host.rsplit('@').next().unwrap_or_default();
        return Err(DataError::NoRemote(format!("{scheme}://{host}")));
    }
    Ok(Cow::Borrowed(path))
}

#[cfg(not(feature = "remote"))]
fn remote_scheme(path: &Path) -> Option<(&str, &str)> {
    let (scheme, rest) = path.to_str()?.split_once("://")?;
    let known = [
        "s3", "s3a", "gs", "az", "adl", "azure", "abfs", "abfss", "http", "https", "hf",
    ];
    known.contains(&scheme).then_some((scheme, rest))
}

/// Whether a path is an address.
pub(crate) fn is_remote(path: &Path) -> bool {
    #[cfg(feature = "remote")]
    return topk_remote::is_remote(path);
    #[cfg(not(feature = "remote"))]
    return remote_scheme(path).is_some();
}

#[cfg(feature = "remote")]
fn remote(path: &Path) -> Result<Option<Arc<Client>>, DataError> {
    match is_remote(path) {
        true => Ok(Some(Client::shared()?)),
        false => Ok(None),
    }
}

/// Checks that there is something at an address; paths of files are not checked.
pub(crate) fn check_exists(path: &Path) -> Result<(), DataError> {
    #[cfg(feature = "remote")]
    if let Some(client) = remote(path)?
        && client.kind(path)? == Kind::Missing
    {
        // Opening it has the better error.
        client.open(path)?;
    }
    let _ = path;
    Ok(())
}

pub(crate) fn is_file(path: &Path) -> Result<bool, DataError> {
    #[cfg(feature = "remote")]
    if let Some(client) = remote(path)? {
        return Ok(client.kind(path)? == Kind::File);
    }
    Ok(path.is_file())
}

pub(crate) fn is_dir(path: &Path) -> Result<bool, DataError> {
    #[cfg(feature = "remote")]
    if let Some(client) = remote(path)? {
        return Ok(client.kind(path)? == Kind::Folder);
    }
    Ok(path.is_dir())
}

/// Names of files and of folders.
pub(crate) type Names = (Vec<String>, Vec<String>);

/// The names at an address; `None` if the path is of a folder on disk.
pub(crate) fn names(path: &Path) -> Result<Option<Names>, DataError> {
    #[cfg(feature = "remote")]
    if let Some(client) = remote(path)? {
        let names = client.names(path)?;
        return Ok(Some((names.files, names.folders)));
    }
    let _ = path;
    Ok(None)
}

/// The addresses that match a pattern, sorted; `None` if it is a pattern of files on disk.
pub(crate) fn matching(pattern: &str) -> Result<Option<Vec<PathBuf>>, DataError> {
    #[cfg(feature = "remote")]
    if let Some(client) = remote(Path::new(pattern))? {
        let invalid = |error: glob::PatternError| DataError::Pattern {
            path: pattern.into(),
            found: error.msg.to_owned(),
            expected: "a valid pattern".to_owned(),
        };
        let compiled = glob::Pattern::new(pattern).map_err(invalid)?;
        let first = pattern.find(['*', '?', '[']).unwrap_or(pattern.len());
        let folder = pattern[..first]
            .rfind('/')
            .map_or("", |slash| &pattern[..slash]);
        // As in shells: `*` stays within a folder.
        let options = glob::MatchOptions {
            require_literal_separator: true,
            ..glob::MatchOptions::new()
        };
        let matches = |path: &Path| compiled.matches_path_with(path, options);
        return Ok(Some(client.matching(Path::new(folder), matches)?));
    }
    let _ = pattern;
    Ok(None)
}

/// Gives a file of a pattern what belongs to the pattern, such as a signature.
pub(crate) fn inherit(pattern: &Path, file: &Path) {
    #[cfg(feature = "remote")]
    topk_remote::share_query(pattern, file);
    let _ = (pattern, file);
}

/// A file on disk with the contents of a small file, such as a list of labels.
pub(crate) fn local(path: &Path) -> Result<Cow<'_, Path>, DataError> {
    let path = admit(path)?;
    #[cfg(feature = "remote")]
    if let Some(client) = remote(&path)? {
        return Ok(Cow::Owned(client.download(&path)?));
    }
    Ok(path)
}

/// The first bytes of a file, as many as [`Placeholder::of`] looks at.
pub(crate) fn first_bytes(path: &Path) -> Result<Vec<u8>, DataError> {
    #[cfg(feature = "remote")]
    if let Some(client) = remote(path)? {
        let object = client.open(path)?;
        let length = object.size().min(Placeholder::FIRST_BYTES as u64);
        let mut first = vec![0; length as usize];
        object.read_directly(&mut first, 0)?;
        return Ok(first);
    }
    Placeholder::first_bytes(path).map_err(DataError::io(path))
}

/// A file, read at any position.
#[derive(Debug)]
pub(crate) enum Source {
    File(File),
    #[cfg(feature = "remote")]
    Remote(Arc<Object>),
}

impl Source {
    pub fn open(path: &Path) -> Result<Self, DataError> {
        #[cfg(feature = "remote")]
        if let Some(client) = remote(path)? {
            return Ok(Self::Remote(client.open(path)?));
        }
        Ok(Self::File(File::open(path).map_err(DataError::io(path))?))
    }

    /// Its size in bytes.
    pub fn size(&self, path: &Path) -> Result<u64, DataError> {
        match self {
            Self::File(file) => Ok(file.metadata().map_err(DataError::io(path))?.len()),
            #[cfg(feature = "remote")]
            Self::Remote(object) => Ok(object.size()),
        }
    }

    /// Reads the bytes at a position.
    pub fn read_at(&self, path: &Path, offset: u64, length: usize) -> Result<Vec<u8>, DataError> {
        let mut bytes = vec![0; length];
        match self {
            Self::File(file) => file
                .read_exact_at(&mut bytes, offset)
                .map_err(DataError::io(path))?,
            #[cfg(feature = "remote")]
            Self::Remote(object) => object.read_exact_at(&mut bytes, offset)?,
        }
        Ok(bytes)
    }

    /// Begins to read bytes that will be needed soon.
    pub fn read_ahead(&self, range: Range<u64>) {
        #[cfg(feature = "remote")]
        if let Self::Remote(object) = self {
            object.read_ahead(std::iter::once(range));
            return;
        }
        let _ = range;
    }

    /// Its bytes from the beginning.
    pub fn input(self) -> Input {
        match self {
            Self::File(file) => Input::File(file),
            #[cfg(feature = "remote")]
            Self::Remote(object) => Input::Remote(Reader::new(object), None),
        }
    }
}

/// A file that is read from its beginning.
#[derive(Debug)]
pub(crate) enum Input {
    File(File),
    #[cfg(feature = "remote")]
    Remote(Reader, Option<Arc<Record>>),
}

impl Input {
    /// Opens a file to list its images, and returns its length. What is read of an object is kept on disk by its
    /// version, so that the next listing need not read it again.
    pub fn listing(path: &Path, purpose: Purpose) -> Result<(Self, u64), DataError> {
        let source = Source::open(path)?;
        let length = source.size(path)?;
        #[cfg(feature = "remote")]
        if let Source::Remote(object) = &source {
            let object = Arc::clone(object);
            let record = purpose.record(&object)?;
            let reader = match &record {
                Some(record) => Reader::recorded(object, Arc::clone(record)),
                None => Reader::new(object),
            };
            return Ok((Self::Remote(reader, record), length));
        }
        let _ = purpose;
        Ok((source.input(), length))
    }

    /// Keeps what was read of an object, once listing has succeeded.
    pub fn listed(&self) {
        #[cfg(feature = "remote")]
        if let Self::Remote(_, Some(record)) = self {
            record.finish();
        }
    }

    /// How many bytes to read at once when most of a file is skipped.
    pub fn chunk(&self, on_disk: usize, _remote: usize) -> usize {
        match self {
            Self::File(_) => on_disk,
            #[cfg(feature = "remote")]
            Self::Remote(..) => _remote,
        }
    }
}

#[cfg(feature = "remote")]
impl Purpose {
    /// The record of an object. Its name changes with what listing reads.
    pub fn record(self, object: &Object) -> Result<Option<Arc<Record>>, RemoteError> {
        let name = match self {
            Self::Detection => "detection-1".to_owned(),
            Self::Members => "members-1".to_owned(),
            Self::Inner(offset) => format!("inner-{offset}-1"),
            Self::Rows => "rows-1".to_owned(),
        };
        Client::shared()?.record(object, &name)
    }
}

impl Read for Input {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::File(file) => file.read(buffer),
            #[cfg(feature = "remote")]
            Self::Remote(reader, _) => reader.read(buffer),
        }
    }
}

impl Seek for Input {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        match self {
            Self::File(file) => file.seek(to),
            #[cfg(feature = "remote")]
            Self::Remote(reader, _) => reader.seek(to),
        }
    }
}
