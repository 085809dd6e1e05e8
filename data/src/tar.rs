//! Tar files, read header by header: what is in them, and where. Names of any length as POSIX (pax) and
//! GNU write them. Nothing is unpacked.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use topk_files::excerpt;

use crate::{DataError, TarFault, walk};

const BLOCK: usize = 512;

/// Longest name, or list of a member's properties, that is read.
const MAX_PROPERTIES: u64 = 1 << 20;

/// A file in an archive.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Member {
    /// Its name, without a leading `./`.
    pub name: String,
    /// Where its contents begin.
    pub offset: u64,
    /// Length of its contents in bytes.
    pub size: u64,
}

/// What an archive is read from.
pub(crate) trait Source: Read {
    /// Passes over so many bytes; whether there were so many.
    fn skip(&mut self, bytes: u64) -> io::Result<bool>;
}

/// An archive that is not compressed, of which only headers need be read.
pub(crate) struct Seekable {
    reader: BufReader<File>,
    at: u64,
    end: u64,
}

/// An archive that must be read from beginning to end.
pub(crate) struct Stream<R>(pub R);

/// The files in an archive, in order.
pub(crate) struct Members<S> {
    path: PathBuf,
    source: S,
    start: u64,
    at: u64,
    /// The file whose contents come next.
    current: Option<Member>,
}

impl Members<Seekable> {
    /// Opens an archive that is not compressed.
    pub fn open(path: &Path) -> Result<Self, DataError> {
        let file = File::open(path).map_err(DataError::io(path))?;
        let length = file.metadata().map_err(DataError::io(path))?.len();
        Ok(Self::from(path, 0, Seekable::new(file, 0, length)))
    }

    /// Opens an archive that is a member of the archive `path`. Where its members lie is counted from
    /// the beginning of that.
    pub fn within(path: &Path, archive: &Member) -> Result<Self, DataError> {
        let &Member {
            ref name,
            offset,
            size,
        } = archive;
        let mut file = File::open(path).map_err(DataError::io(path))?;
        let start = file.seek(SeekFrom::Start(offset));
        start.map_err(DataError::io(path))?;
        let source = Seekable::new(file, offset, offset + size);
        Ok(Self::from(&path.join(name), offset, source))
    }
}

impl<S: Source> Members<S> {
    /// The members of what `source` gives; `path` is its name in errors.
    pub fn new(path: &Path, source: S) -> Self {
        Self::from(path, 0, source)
    }

    /// Those of an archive that begins at `start`.
    fn from(path: &Path, start: u64, source: S) -> Self {
        let path = path.to_owned();
        Self {
            path,
            source,
            start,
            at: start,
            current: None,
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
            let at = self.at;
            let Some(header) = self.header()? else {
                return Ok(None);
            };
            let kind = header[156];
            let size = number(&header[124..136]).ok_or_else(|| self.wrong(at, "has no size"))?;
            match kind {
                b'L' => {
                    let mut name = self.properties("a long name", size)?;
                    name.truncate(name.iter().position(|&b| b == 0).unwrap_or(name.len()));
                    long_name = Some(name);
                }
                b'x' => {
                    let records = self.properties("the properties of a file", size)?;
                    let pax = pax(&records)
                        .ok_or_else(|| self.wrong(at, "has properties that are none"))?;
                    if pax.sparse {
                        return Err(
                            self.wrong(at, "is of a file with holes: pack it without --sparse")
                        );
                    }
                    long_name = pax.name.or(long_name);
                    long_size = pax.size.or(long_size);
                }
                b'K' | b'g' => self.skip("properties", padded(size))?,
                b'S' => {
                    return Err(self.wrong(at, "is of a file with holes: pack it without --sparse"));
                }
                0 | b'0' | b'7' => {
                    let name = long_name.take().unwrap_or_else(|| name(&header));
                    let name = self.utf8(name)?;
                    // An old way to write folders.
                    if name.ends_with('/') {
                        self.skip(&name, padded(long_size.take().unwrap_or(size)))?;
                        continue;
                    }
                    let size = long_size.take().unwrap_or(size);
                    if size > i64::MAX as u64 - BLOCK as u64 {
                        return Err(self.wrong(at, "has a size that no file has"));
                    }
                    let offset = self.at;
                    let member = Member { name, offset, size };
                    self.current = Some(member.clone());
                    return Ok(Some(member));
                }
                // Links, folders and devices have no contents, whatever their size says.
                b'1'..=b'6' => {
                    let name = self.utf8(long_name.take().unwrap_or_else(|| name(&header)))?;
                    long_size = None;
                    if matches!(kind, b'1' | b'2') && walk::is_image(&name) {
                        let fault = "is of a link to an image: pack it with --dereference and \
                                     --hard-dereference";
                        return Err(self.wrong(at, fault));
                    }
                }
                _ => {
                    self.skip("a member of unknown kind", padded(size))?;
                    (long_name, long_size) = (None, None);
                }
            }
        }
    }

    /// The contents of the file that [`next`](Self::next) gave last.
    pub fn contents(&mut self, limit: u64) -> Result<Vec<u8>, DataError> {
        let member = self
            .current
            .take()
            .expect("there is a file whose contents come next");
        let Member { name, size, .. } = member;
        if size > limit {
            let path = self.path.clone();
            return Err(DataError::TooLarge {
                path,
                name,
                size,
                limit,
            });
        }
        self.read(&name, size)
    }

    /// The next header, if it is not the end.
    fn header(&mut self) -> Result<Option<[u8; BLOCK]>, DataError> {
        let at = self.at;
        let mut header = [0; BLOCK];
        let length = fill(&mut self.source, &mut header).map_err(DataError::io(&self.path))?;
        self.at += length as u64;
        if let Some(compression) = compression(&header).filter(|_| at == self.start) {
            return Err(self.fault(TarFault::Compressed(compression)));
        }
        match length {
            BLOCK => {}
            0 => return Err(self.fault(TarFault::NoEnd)),
            _ => return Err(self.fault(TarFault::Truncated("a header".to_owned()))),
        }
        if header == [0; BLOCK] {
            return Ok(None);
        }
        // The sum counts its own field as spaces.
        let own = 148..156;
        let bytes = header.iter().enumerate();
        let sum = bytes.map(|(i, &b)| u64::from(if own.contains(&i) { b' ' } else { b }));
        if number(&header[own.clone()]) != Some(sum.sum()) {
            let fault = "has a wrong checksum: it is damaged, or this is no tar file";
            return Err(self.wrong(at, fault));
        }
        Ok(Some(header))
    }

    /// What stands between a header and that of the file it belongs to.
    fn properties(&mut self, what: &str, size: u64) -> Result<Vec<u8>, DataError> {
        if size > MAX_PROPERTIES {
            let (path, name, limit) = (self.path.clone(), what.to_owned(), MAX_PROPERTIES);
            return Err(DataError::TooLarge {
                path,
                name,
                size,
                limit,
            });
        }
        self.read(what, size)
    }

    fn read(&mut self, name: &str, size: u64) -> Result<Vec<u8>, DataError> {
        let mut bytes = Vec::new();
        let mut part = self.source.by_ref().take(size);
        part.read_to_end(&mut bytes)
            .map_err(DataError::io(&self.path))?;
        if bytes.len() as u64 != size {
            return Err(self.fault(TarFault::Truncated(excerpt(name))));
        }
        self.at += size;
        self.skip(name, padded(size) - size)?;
        Ok(bytes)
    }

    fn skip(&mut self, name: &str, bytes: u64) -> Result<(), DataError> {
        if !self.source.skip(bytes).map_err(DataError::io(&self.path))? {
            return Err(self.fault(TarFault::Truncated(excerpt(name))));
        }
        self.at += bytes;
        Ok(())
    }

    fn utf8(&self, name: Vec<u8>) -> Result<String, DataError> {
        let name = String::from_utf8(name).map_err(|error| DataError::NotUtf8 {
            path: self.path.clone(),
            name: excerpt(&String::from_utf8_lossy(error.as_bytes())),
        })?;
        Ok(name.strip_prefix("./").unwrap_or(&name).to_owned())
    }

    /// The error that the header at `at` is wrong.
    fn wrong(&self, at: u64, fault: &'static str) -> DataError {
        self.fault(TarFault::Header { at, fault })
    }

    fn fault(&self, fault: TarFault) -> DataError {
        DataError::Tar {
            path: self.path.clone(),
            fault,
        }
    }
}

impl Seekable {
    /// What `file`, which stands at `at`, has up to `end`.
    fn new(file: File, at: u64, end: u64) -> Self {
        let reader = BufReader::with_capacity(2 * BLOCK, file);
        Self { reader, at, end }
    }
}

impl Source for Seekable {
    fn skip(&mut self, bytes: u64) -> io::Result<bool> {
        let end = self.at.checked_add(bytes).filter(|&end| end <= self.end);
        let (Some(end), Ok(step)) = (end, i64::try_from(bytes)) else {
            return Ok(false);
        };
        self.reader.seek_relative(step)?;
        self.at = end;
        Ok(true)
    }
}

impl Read for Seekable {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let rest = usize::try_from(self.end - self.at).unwrap_or(usize::MAX);
        let most = buffer.len().min(rest);
        let length = self.reader.read(&mut buffer[..most])?;
        self.at += length as u64;
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

/// A size with the zeros that fill its last block.
fn padded(size: u64) -> u64 {
    size.next_multiple_of(BLOCK as u64)
}

/// Reads until the buffer is full, or the end.
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

/// The compression that the first bytes of a file show.
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

/// A number in a header: octal digits, or big-endian bytes after a bit that says so (GNU).
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

/// The name in a header, with the folder that POSIX keeps apart.
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

/// Records of POSIX: `length key=value` and a newline, where the length counts all of the record.
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
