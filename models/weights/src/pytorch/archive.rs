use std::borrow::Cow;
use std::io::{Cursor, Read};

use topk_pickle::Vocabulary;
use zip::CompressionMethod;
use zip::read::ZipArchive;
use zip::result::ZipError;

use crate::error::FormatError;
use crate::loaded::{Loaded, ReadOptions};
use crate::pickle::{StorageRef, Torch};
use crate::pytorch::{Storages, find, state_dict, storage_len};
use crate::state_dict::check_name;

/// Maximum ratio of decompressed bytes to the size of the file. A tenth of this is usual for quantised
/// weights; other weights hardly compress at all.
const MAX_INFLATION: u64 = 32;

/// Number of decompressed bytes that are always allowed.
const FREE_BYTES: u64 = 1 << 16;

/// Maximum size in bytes of the entry with the byte order.
const MAX_BYTE_ORDER: usize = 16;

/// The entries of a zip file, with counts of the bytes read so far.
struct Archive<'a> {
    zip: ZipArchive<Cursor<&'a [u8]>>,
    root: String,
    bytes: u64,
    read: u64,
    inflated: u64,
}

/// Whether a file is a zip archive.
pub(crate) fn is_zip(bytes: &[u8]) -> bool {
    bytes.starts_with(b"PK\x03\x04")
}

/// Reads a file of PyTorch 1.6 or later.
pub(crate) fn read(bytes: &[u8], options: ReadOptions) -> Result<Loaded, FormatError> {
    let mut archive = Archive::new(bytes)?;
    if archive.has("byteorder") {
        let order = archive.entry("byteorder", MAX_BYTE_ORDER)?;
        if order != b"little" {
            return Err(FormatError::Entry {
                name: archive.name("byteorder"),
                problem: "is not `little`: save the file again on a little-endian machine"
                    .to_owned(),
            });
        }
    }
    if archive.has("constants.pkl") {
        return Err(FormatError::TorchScript);
    }
    let pickle = archive.entry("data.pkl", Torch::MAX_BYTES)?;
    let pickle = topk_pickle::parse(&pickle)?;
    state_dict(find(&pickle, options)?, &pickle, &mut archive)
}

impl<'a> Archive<'a> {
    fn new(bytes: &'a [u8]) -> Result<Self, FormatError> {
        let zip = ZipArchive::new(Cursor::new(bytes))?;
        if zip.has_duplicate_names() {
            return Err(ZipError::InvalidArchive("two entries have the same name".into()).into());
        }
        let names = zip.file_names_raw();
        let root = names.filter_map(root).min();
        let root = root.ok_or(FormatError::Entry {
            name: "data.pkl".to_owned(),
            problem: "is missing: torch.save did not write this zip file".to_owned(),
        })?;
        Ok(Self {
            zip,
            root,
            bytes: bytes.len() as u64,
            read: 0,
            inflated: 0,
        })
    }

    fn name(&self, name: &str) -> String {
        format!("{}{name}", self.root)
    }

    fn has(&self, name: &str) -> bool {
        self.zip.index_for_name(&self.name(name)).is_some()
    }

    /// The bytes of an entry, if there are at most `limit`.
    fn entry(&mut self, name: &str, limit: usize) -> Result<Vec<u8>, FormatError> {
        let name = self.name(name);
        let problem = |problem: String| FormatError::Entry {
            name: name.clone(),
            problem,
        };
        let entry = self.zip.by_name(&name).map_err(|error| match error {
            ZipError::FileNotFound => problem("is missing".to_owned()),
            error => error.into(),
        })?;
        let compression = entry.compression();
        if !matches!(
            compression,
            CompressionMethod::Stored | CompressionMethod::Deflated
        ) {
            return Err(problem(format!(
                "is compressed with {compression}, expected deflate"
            )));
        }
        let size = entry.size();
        if size > limit as u64 {
            return Err(problem(format!(
                "has {size} bytes, expected at most {limit}"
            )));
        }
        // Overlapping entries would be read several times.
        self.read += entry.compressed_size();
        self.inflated += size;
        let most = self.bytes.saturating_mul(MAX_INFLATION);
        if self.read > self.bytes || self.inflated > most.saturating_add(FREE_BYTES) {
            return Err(problem(format!(
                "expands the file from {1} bytes to {0}: rejected as a zip bomb",
                self.inflated, self.bytes
            )));
        }
        let mut bytes = Vec::with_capacity(size as usize);
        let result = entry.take(size + 1).read_to_end(&mut bytes);
        result.map_err(|error| problem(format!("cannot be decompressed: {error}")))?;
        if bytes.len() as u64 != size {
            let got = bytes.len();
            return Err(problem(format!("has {got} bytes, expected {size}")));
        }
        Ok(bytes)
    }
}

/// The folder of the pickle, with its slash, if this is the name of the pickle.
fn root(name: &[u8]) -> Option<String> {
    let name = str::from_utf8(name).ok()?;
    check_name(name).ok()?;
    let root = name.strip_suffix("data.pkl")?;
    let is_folder = |name: &str| !name.is_empty() && !name.contains('/');
    let is_root = root.is_empty() || root.strip_suffix('/').is_some_and(is_folder);
    is_root.then(|| root.to_owned())
}

impl Storages for Archive<'_> {
    fn read(&mut self, key: &str, storage: &StorageRef) -> Result<Cow<'_, [u8]>, FormatError> {
        let expected = storage_len(key, storage)?;
        let name = format!("data/{key}");
        let bytes = self.entry(&name, expected)?;
        if bytes.len() != expected {
            return Err(FormatError::Entry {
                name: self.name(&name),
                problem: format!("has {} bytes, expected {expected}", bytes.len()),
            });
        }
        Ok(bytes.into())
    }
}
