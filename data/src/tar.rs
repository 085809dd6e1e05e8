//! The members of tar files and their positions, read header by header, with the long names of POSIX (pax)
//! and GNU. Nothing is unpacked. The `tar` crate is not used, because it does not give the positions of
//! members inside nested archives.

use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use topk_files::excerpt;

use crate::storage::{Input, Purpose};
use crate::{DataError, TarError, Warnings, walk};

const BLOCK: usize = 512;

/// Largest name or list of properties of a member.
const MAX_PROPERTIES: u64 = 1 << 20;

const SPARSE: &str = "is of a sparse file; repack without --sparse";
const LINK: &str = "is of a link to an image; repack with --dereference and --hard-dereference";

/// A file in an archive.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Member {
    /// Its name, without a leading `./`.
    pub name: String,
    /// Position of its contents in bytes.
    pub offset: u64,
    /// Length of its contents in bytes.
    pub size: u64,
}

/// The bytes of an archive.
pub(crate) trait Source: Read {
    /// Skips this many bytes. Returns false if the archive ends before.
    fn skip(&mut self, bytes: u64) -> io::Result<bool>;

    /// Called when everything that is needed has been read.
    fn listed(&self) {}
}

/// An uncompressed archive, of which only the headers are read.
pub(crate) struct Seekable {
    reader: BufReader<Input>,
    offset: u64,
    end: u64,
}

/// An archive that is read from beginning to end.
pub(crate) struct Stream<R>(pub R);

/// The files in an archive, in order.
pub(crate) struct Members<S> {
    path: PathBuf,
    source: S,
    start: u64,
    /// Position of the next byte.
    offset: u64,
    /// The file whose contents are next.
    current: Option<Member>,
    /// Whether the end mark was found, or is still to come.
    has_end: bool,
}

impl Members<Seekable> {
    /// Opens an uncompressed archive.
    pub fn open(path: &Path, purpose: Purpose) -> Result<Self, DataError> {
        let (file, length) = Input::listing(path, purpose)?;
        Ok(Self::from(path, 0, Seekable::new(file, 0, length)))
    }

    /// Opens an archive that is a member of the archive `path`. Positions of its members are relative to
    /// the beginning of `path`.
    pub fn within(path: &Path, archive: &Member) -> Result<Self, DataError> {
        let &Member {
            ref name,
            offset,
            size,
        } = archive;
        let (mut file, _) = Input::listing(path, Purpose::Inner(offset))?;
        let start = file.seek(SeekFrom::Start(offset));
        start.map_err(DataError::io(path))?;
        let source = Seekable::new(file, offset, offset + size);
        Ok(Self::from(&path.join(name), offset, source))
    }
}

impl<S: Source> Members<S> {
    /// The members of `source`; `path` is its name in errors.
    pub fn new(path: &Path, source: S) -> Self {
        Self::from(path, 0, source)
    }

    /// The members of an archive that begins at `start`.
    fn from(path: &Path, start: u64, source: S) -> Self {
        let path = path.to_owned();
        Self {
            path,
            source,
            start,
            offset: start,
            current: None,
            has_end: true,
        }
    }

    /// The next file; `None` after the last.
    pub fn next(&mut self) -> Result<Option<Member>, DataError> {
        if let Some(member) = self.current.take() {
            self.skip(&member.name, padded(member.size))?;
        }
        let mut long_name = None;
        let mut long_size = None;
        loop {
            let start = self.offset;
            let Some(header) = self.header()? else {
                return Ok(None);
            };
            let kind = header[156];
            let size = match number(&header[124..136]) {
                Some(size) => size,
                // Links and folders in old archives have none.
                None if matches!(kind, b'1'..=b'6') => 0,
                None => return Err(self.invalid(start, "has no size")),
            };
            match kind {
                b'L' => {
                    let mut name = self.properties("a long name", size)?;
                    name.truncate(name.iter().position(|&b| b == 0).unwrap_or(name.len()));
                    long_name = Some(name);
                }
                b'x' => {
                    let records = self.properties("the properties of a file", size)?;
                    let pax = pax(&records)
                        .ok_or_else(|| self.invalid(start, "has a malformed pax record"))?;
                    if pax.sparse {
                        return Err(self.invalid(start, SPARSE));
                    }
                    long_name = pax.name.or(long_name);
                    long_size = pax.size.or(long_size);
                }
                b'K' | b'g' => self.skip("properties", padded(size))?,
                b'S' => {
                    return Err(self.invalid(start, SPARSE));
                }
                0 | b'0' | b'7' => {
                    let name = long_name.take().unwrap_or_else(|| name(&header));
                    let name = self.utf8(name)?;
                    // Old archives mark folders this way.
                    if name.ends_with('/') {
                        self.skip(&name, padded(long_size.take().unwrap_or(size)))?;
                        continue;
                    }
                    let size = long_size.take().unwrap_or(size);
                    if size > i64::MAX as u64 - BLOCK as u64 {
                        return Err(
                            self.invalid(start, "has a size over the limit of file systems")
                        );
                    }
                    let offset = self.offset;
                    let member = Member { name, offset, size };
                    self.current = Some(member.clone());
                    return Ok(Some(member));
                }
                // Links, folders and devices have no contents, even if their size is not 0.
                b'1'..=b'6' => {
                    let name = self.utf8(long_name.take().unwrap_or_else(|| name(&header)))?;
                    long_size = None;
                    if matches!(kind, b'1' | b'2') && walk::is_image(&name) {
                        return Err(self.invalid(start, LINK));
                    }
                }
                _ => {
                    self.skip("a member of unknown kind", padded(size))?;
                    (long_name, long_size) = (None, None);
                }
            }
        }
    }

    /// Ends listing the archive, which may be before its last file.
    pub fn finish(&self) {
        self.source.listed();
    }

    /// After the last file, warns of a missing end mark.
    pub fn check_end(&self, warnings: &mut Warnings) {
        self.finish();
        if !self.has_end {
            let name = self.path.file_name().unwrap_or_default().to_string_lossy();
            let name = excerpt(&name);
            warnings.decide(format!(
                "{name} has no end mark: files may be missing if it was not downloaded completely"
            ));
        }
    }

    /// The contents of the file that [`next`](Self::next) returned last.
    pub fn contents(&mut self, limit: u64) -> Result<Vec<u8>, DataError> {
        let member = self.current.take().expect("a file precedes its contents");
        let Member { name, size, .. } = member;
        if size > limit {
            return Err(DataError::too_large(&self.path, &name, size, limit));
        }
        self.read(&name, size)
    }

    /// The next header; `None` at the end mark.
    fn header(&mut self) -> Result<Option<[u8; BLOCK]>, DataError> {
        let start = self.offset;
        let mut header = [0; BLOCK];
        let length = fill(&mut self.source, &mut header).map_err(DataError::io(&self.path))?;
        self.offset += length as u64;
        let compression = compression(&header).filter(|_| start == self.start);
        let compressed = |this: &Self, other: TarError| {
            this.error(compression.map_or(other, TarError::Compressed))
        };
        match length {
            BLOCK => {}
            0 if start == self.start => return Err(self.error(TarError::NoEnd)),
            // Python, GNU tar and WebDataset read such archives, too.
            0 => {
                self.has_end = false;
                return Ok(None);
            }
            _ => {
                let truncated = TarError::Truncated("a header".to_owned());
                return Err(compressed(self, truncated));
            }
        }
        if header == [0; BLOCK] {
            return Ok(None);
        }
        // The sum counts its own field as spaces.
        let own = 148..156;
        let bytes = header.iter().enumerate();
        let sum = bytes.map(|(i, &b)| u64::from(if own.contains(&i) { b' ' } else { b }));
        if number(&header[own.clone()]) != Some(sum.sum()) {
            // The name of the first file may begin as a compressed file does, so the checksum counts.
            let reason = "has a wrong checksum; the file is damaged or not a tar file";
            let offset = start;
            return Err(compressed(self, TarError::Header { offset, reason }));
        }
        Ok(Some(header))
    }

    /// The properties between a header and that of the file they belong to.
    fn properties(&mut self, what: &str, size: u64) -> Result<Vec<u8>, DataError> {
        if size > MAX_PROPERTIES {
            let limit = MAX_PROPERTIES;
            return Err(DataError::too_large(&self.path, what, size, limit));
        }
        self.read(what, size)
    }

    fn read(&mut self, name: &str, size: u64) -> Result<Vec<u8>, DataError> {
        let mut bytes = Vec::new();
        let mut part = self.source.by_ref().take(size);
        part.read_to_end(&mut bytes)
            .map_err(DataError::io(&self.path))?;
        if bytes.len() as u64 != size {
            return Err(self.error(TarError::Truncated(excerpt(name))));
        }
        self.offset += size;
        self.skip(name, padded(size) - size)?;
        Ok(bytes)
    }

    fn skip(&mut self, name: &str, bytes: u64) -> Result<(), DataError> {
        if !self.source.skip(bytes).map_err(DataError::io(&self.path))? {
            return Err(self.error(TarError::Truncated(excerpt(name))));
        }
        self.offset += bytes;
        Ok(())
    }

    fn utf8(&self, name: Vec<u8>) -> Result<String, DataError> {
        let name = String::from_utf8(name).map_err(|error| DataError::NotUtf8 {
            path: self.path.clone(),
            name: excerpt(&String::from_utf8_lossy(error.as_bytes())),
        })?;
        Ok(name.strip_prefix("./").unwrap_or(&name).to_owned())
    }

    /// An invalid header at `offset`.
    fn invalid(&self, offset: u64, reason: &'static str) -> DataError {
        self.error(TarError::Header { offset, reason })
    }

    fn error(&self, error: TarError) -> DataError {
        DataError::Tar {
            path: self.path.clone(),
            error,
        }
    }
}

impl Seekable {
    /// The bytes of `file` from its current position, `offset`, to `end`.
    fn new(file: Input, offset: u64, end: u64) -> Self {
        // What is read of objects is recorded, so it should be headers only.
        let chunk = file.chunk(2 * BLOCK, BLOCK);
        let reader = BufReader::with_capacity(chunk, file);
        Self {
            reader,
            offset,
            end,
        }
    }
}

impl Source for Seekable {
    fn skip(&mut self, bytes: u64) -> io::Result<bool> {
        let end = self
            .offset
            .checked_add(bytes)
            .filter(|&end| end <= self.end);
        let (Some(end), Ok(step)) = (end, i64::try_from(bytes)) else {
            return Ok(false);
        };
        self.reader.seek_relative(step)?;
        self.offset = end;
        Ok(true)
    }

    fn listed(&self) {
        self.reader.get_ref().listed();
    }
}

impl Read for Seekable {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let rest = usize::try_from(self.end - self.offset).unwrap_or(usize::MAX);
        let most = buffer.len().min(rest);
        let length = self.reader.read(&mut buffer[..most])?;
        self.offset += length as u64;
        Ok(length)
    }
}

impl<R: Read> Source for Stream<R> {
    fn skip(&mut self, bytes: u64) -> io::Result<bool> {
        let passed = io::copy(&mut self.0.by_ref().take(bytes), &mut io::sink())?;
        Ok(passed == bytes)
    }
}

impl<R: Read> Read for Stream<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }
}

/// A size including the zeros at the end of the last block.
fn padded(size: u64) -> u64 {
    size.next_multiple_of(BLOCK as u64)
}

/// Reads until the buffer is full or the source ends.
fn fill(source: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut length = 0;
    while length < buffer.len() {
        match source.read(&mut buffer[length..]) {
            Ok(0) => break,
            Ok(more) => length += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(length)
}

/// The compression of a file, detected from its first bytes.
fn compression(start: &[u8]) -> Option<&'static str> {
    let known: [(&[u8], _); 4] = [
        (b"\x1f\x8b", "gzip"),
        (b"\x28\xb5\x2f\xfd", "zstd"),
        (b"\xfd7zXZ\0", "xz"),
        (b"BZh", "bzip2"),
    ];
    let found = known
        .into_iter()
        .find(|(magic, _)| start.starts_with(magic));
    found.map(|(_, name)| name)
}

/// A number in a header: octal digits, or big-endian bytes after a marker bit (GNU).
fn number(field: &[u8]) -> Option<u64> {
    if field[0] & 0x80 != 0 {
        let (first, rest) = field.split_first()?;
        let start = u64::from(first & 0x7f);
        return rest.iter().try_fold(start, |n, &byte| {
            n.checked_mul(256)?.checked_add(u64::from(byte))
        });
    }
    let text = str::from_utf8(field).ok()?;
    let digits = text.trim_matches(['\0', ' ']);
    u64::from_str_radix(digits, 8).ok()
}

/// The name in a header, with the folder that POSIX stores separately.
fn name(header: &[u8; BLOCK]) -> Vec<u8> {
    let text = |field: &[u8]| {
        let end = field.iter().position(|&b| b == 0).unwrap_or(field.len());
        field[..end].to_vec()
    };
    let name = text(&header[..100]);
    let posix = &header[257..263] == b"ustar\0";
    let prefix = if posix {
        text(&header[345..500])
    } else {
        Vec::new()
    };
    if prefix.is_empty() {
        return name;
    }
    [prefix, name].join(&b'/')
}

#[derive(Default)]
struct Pax {
    name: Option<Vec<u8>>,
    size: Option<u64>,
    sparse: bool,
}

/// POSIX records: `length key=value` and a newline, where the length is that of the whole record.
fn pax(mut records: &[u8]) -> Option<Pax> {
    let mut pax = Pax::default();
    while !records.is_empty() {
        let space = records.iter().position(|&b| b == b' ')?;
        let length: usize = str::from_utf8(&records[..space]).ok()?.parse().ok()?;
        let record = records.get(space + 1..length)?.strip_suffix(b"\n")?;
        let equals = record.iter().position(|&b| b == b'=')?;
        let (key, value) = (&record[..equals], &record[equals + 1..]);
        match key {
            b"path" => pax.name = Some(value.to_vec()),
            b"size" => pax.size = Some(str::from_utf8(value).ok()?.parse().ok()?),
            _ => pax.sparse |= key.starts_with(b"GNU.sparse."),
        }
        records = &records[length..];
    }
    Some(pax)
}
