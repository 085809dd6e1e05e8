use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::thread;

use serde::de::{Error, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::{Map, json};

use crate::error::{FormatError, ReadError};
use crate::state_dict::{MAX_TENSORS, StateDict, Value, check_name, shown};
use crate::tensor::{Dtype, Tensor, byte_len};

/// Maximum size of the header in bytes; a network of 1,000 tensors needs about 100,000. The format's own
/// library would read 100 MB, and fails where the sizes of tensors overflow.
const MAX_HEADER: u64 = 4 << 20;

/// Size of the header's length in bytes.
const LENGTH: usize = 8;

/// Fewest bytes for which a thread is started.
const MIN_SHARE: u64 = 4 << 20;

/// Number of dimensions of a shape that a message shows.
const MAX_SHOWN: usize = 16;

/// Key of the header's metadata.
const METADATA: &str = "__metadata__";

/// The header.
#[derive(Default)]
struct Header {
    metadata: BTreeMap<String, String>,
    tensors: BTreeMap<String, Info>,
}

/// The header's entry for a tensor.
#[derive(Deserialize)]
struct Info {
    dtype: String,
    shape: Vec<usize>,
    data_offsets: (usize, usize),
}

/// The metadata of the header.
struct Metadata(BTreeMap<String, String>);

impl<'de> Deserialize<'de> for Header {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(HeaderVisitor)
    }
}

impl<'de> Deserialize<'de> for Metadata {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(MetadataVisitor)
    }
}

struct HeaderVisitor;

impl<'de> Visitor<'de> for HeaderVisitor {
    type Value = Header;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("an object of tensors")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Header, A::Error> {
        let mut header = Header::default();
        while let Some(name) = map.next_key::<String>()? {
            if name == METADATA {
                header.metadata = map.next_value::<Metadata>()?.0;
            } else {
                insert(&mut header.tensors, name, map.next_value()?)?;
            }
        }
        Ok(header)
    }
}

struct MetadataVisitor;

impl<'de> Visitor<'de> for MetadataVisitor {
    type Value = Metadata;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("an object of strings")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Metadata, A::Error> {
        let mut metadata = BTreeMap::new();
        while let Some((key, value)) = map.next_entry()? {
            insert(&mut metadata, key, value)?;
        }
        Ok(Metadata(metadata))
    }
}

/// Adds an entry of an object, whose names must be unique and valid.
fn insert<T, E: Error>(to: &mut BTreeMap<String, T>, name: String, value: T) -> Result<(), E> {
    check_name(&name).map_err(E::custom)?;
    if to.contains_key(&name) {
        return Err(E::custom(format!("{name} appears twice")));
    }
    if to.len() >= MAX_TENSORS {
        return Err(E::custom(format!("more than {MAX_TENSORS} entries")));
    }
    to.insert(name, value);
    Ok(())
}

/// Whether a file starts like a safetensors file: with a length and a JSON object.
pub(crate) fn is_safetensors(bytes: &[u8]) -> bool {
    bytes.get(LENGTH) == Some(&b'{')
}

/// What a file is read from.
pub(crate) trait Source: Sync {
    /// Reads the bytes at this position.
    fn read_exact_at(&self, bytes: &mut [u8], position: u64) -> io::Result<()>;
}

impl Source for File {
    fn read_exact_at(&self, bytes: &mut [u8], position: u64) -> io::Result<()> {
        FileExt::read_exact_at(self, bytes, position)
    }
}

impl Source for [u8] {
    fn read_exact_at(&self, bytes: &mut [u8], position: u64) -> io::Result<()> {
        let start = usize::try_from(position).unwrap_or(usize::MAX);
        let found = self.get(start..).and_then(|rest| rest.get(..bytes.len()));
        bytes.copy_from_slice(found.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }
}

/// Reads a file of this size, without a second copy of all tensors in memory.
pub(crate) fn read(from: &(impl Source + ?Sized), size: u64) -> Result<StateDict, ReadError> {
    let truncated = || FormatError::Truncated {
        what: "the safetensors header".to_owned(),
    };
    let rest = size.checked_sub(LENGTH as u64).ok_or_else(truncated)?;
    let mut length = [0; LENGTH];
    from.read_exact_at(&mut length, 0)?;
    let length = u64::from_le_bytes(length);
    if length > MAX_HEADER {
        return Err(ReadError::Format(FormatError::TooLarge {
            what: "bytes of safetensors header",
            size: length,
            limit: MAX_HEADER,
        }));
    }
    let values = rest.checked_sub(length).ok_or_else(truncated)?;
    let mut header = vec![0; length as usize];
    from.read_exact_at(&mut header, LENGTH as u64)?;
    let header: Header = serde_json::from_slice(&header)
        .map_err(|error| FormatError::Safetensors(error.to_string()))?;
    let mut places = places(header.tensors, values)?;
    fill(&mut places, from, LENGTH as u64 + length, values)?;
    let tensors = places.into_iter().map(|place| {
        let tensor = Tensor::new(&place.shape, place.dtype, place.bytes);
        (place.name, tensor.expect("the length is that of the shape"))
    });
    let metadata = header.metadata.into_iter();
    let metadata = metadata.map(|(key, value)| (key, Value::Text(value)));
    Ok(StateDict {
        tensors: tensors.collect(),
        metadata: metadata.collect(),
    })
}

/// A tensor and where it is.
struct Place {
    name: String,
    shape: Vec<usize>,
    dtype: Dtype,
    /// Position of the first byte, behind the header.
    start: u64,
    /// As many as the tensor has, not read yet.
    bytes: Vec<u8>,
}

/// The places of the tensors, which must be contiguous and fill `size` bytes.
fn places(infos: BTreeMap<String, Info>, size: u64) -> Result<Vec<Place>, ReadError> {
    let mut infos: Vec<_> = infos.into_iter().collect();
    infos.sort_by_key(|(_, info)| info.data_offsets);
    let mut places = Vec::with_capacity(infos.len());
    let mut at = 0;
    for (name, info) in infos {
        let Some(dtype) = dtype(&info.dtype) else {
            let dtype = shown(&info.dtype);
            return Err(ReadError::Format(FormatError::Dtype { name, dtype }));
        };
        let (start, end) = info.data_offsets;
        let length = end
            .checked_sub(start)
            .filter(|_| start == at && end as u64 <= size);
        let length = length.filter(|&length| byte_len(&info.shape, dtype) == Some(length));
        let Some(length) = length else {
            let rank = info.shape.len();
            let shape = &info.shape[..rank.min(MAX_SHOWN)];
            return Err(ReadError::Format(FormatError::Safetensors(format!(
                "{name}, {dtype} of shape {shape:?}, cannot be bytes {start} to {end} of {size}: the next \
                 tensor starts at byte {at}"
            ))));
        };
        places.push(Place {
            name,
            shape: info.shape,
            dtype,
            start: start as u64,
            bytes: vec![0; length],
        });
        at = end;
    }
    let over = size - at as u64;
    if over > 0 {
        let problem = format!("the last {over} bytes do not belong to any tensor");
        return Err(ReadError::Format(FormatError::Safetensors(problem)));
    }
    Ok(places)
}

/// Reads the bytes of all tensors, `size` bytes that begin at `origin`. Several threads read a large file: it takes the system
/// longer to provide the memory than to copy the bytes.
fn fill(
    places: &mut [Place],
    from: &(impl Source + ?Sized),
    origin: u64,
    size: u64,
) -> io::Result<()> {
    let threads = thread::available_parallelism().map_or(1, usize::from) as u64;
    let share = size.div_ceil(threads).max(MIN_SHARE);
    let read = |places: &mut [Place]| {
        places
            .iter_mut()
            .try_for_each(|place| from.read_exact_at(&mut place.bytes, origin + place.start))
    };
    let mut shares = places.chunk_by_mut(|a, b| a.start / share == b.start / share);
    let Some(first) = shares.next() else {
        return Ok(());
    };
    thread::scope(|scope| {
        let others: Vec<_> = shares
            .map(|share| scope.spawn(move || read(share)))
            .collect();
        let first = read(first);
        others.into_iter().fold(first, |result, other| {
            result.and(other.join().expect("reading does not panic"))
        })
    })
}

/// Writes the tensors: the largest elements first, for alignment, then by name. The format's own library
/// would write metadata in a different order each time.
pub(crate) fn write(state_dict: &StateDict, to: &mut impl Write) -> io::Result<()> {
    let mut tensors: Vec<_> = state_dict.tensors.iter().collect();
    tensors.sort_by_key(|(_, tensor)| std::cmp::Reverse(tensor.dtype()));
    let mut entries = Vec::new();
    if !state_dict.metadata.is_empty() {
        let metadata = state_dict.metadata.iter();
        let metadata: Map<_, _> = metadata
            .map(|(key, value)| (key.clone(), value.to_string().into()))
            .collect();
        entries.push(format!("\"{METADATA}\":{}", json!(metadata)));
    }
    let mut offset = 0;
    for (name, tensor) in &tensors {
        let end = offset + tensor.bytes().len();
        entries.push(format!(
            "{}:{{\"dtype\":\"{}\",\"shape\":{},\"data_offsets\":[{offset},{end}]}}",
            json!(name),
            tensor.dtype(),
            json!(tensor.shape())
        ));
        offset = end;
    }
    let mut header = format!("{{{}}}", entries.join(",")).into_bytes();
    header.resize(header.len().next_multiple_of(LENGTH), b' ');
    to.write_all(&(header.len() as u64).to_le_bytes())?;
    to.write_all(&header)?;
    for (_, tensor) in tensors {
        to.write_all(tensor.bytes())?;
    }
    Ok(())
}

fn dtype(name: &str) -> Option<Dtype> {
    let mut dtypes = Dtype::ALL.into_iter();
    dtypes.find(|dtype| dtype.name() == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file that cannot be read from this position on.
    struct Damaged<'a>(&'a [u8], u64);

    impl Source for Damaged<'_> {
        fn read_exact_at(&self, bytes: &mut [u8], position: u64) -> io::Result<()> {
            if position + bytes.len() as u64 > self.1 {
                return Err(io::Error::other("damaged"));
            }
            self.0.read_exact_at(bytes, position)
        }
    }

    /// Four tensors, each as large as the share of a thread.
    fn large() -> (StateDict, Vec<u8>) {
        let mut state_dict = StateDict::default();
        for (value, name) in ["a", "b", "c", "d"].into_iter().enumerate() {
            let bytes = vec![value as u8 + 1; MIN_SHARE as usize];
            let tensor = Tensor::new(&[bytes.len()], Dtype::U8, bytes).unwrap();
            state_dict.tensors.insert(name.to_owned(), tensor);
        }
        let mut file = Vec::new();
        write(&state_dict, &mut file).unwrap();
        (state_dict, file)
    }

    #[test]
    fn several_threads_read_each_tensor_from_its_place() {
        let (state_dict, file) = large();
        let size = file.len() as u64;
        assert!(read(&file[..], size).unwrap() == state_dict);
        let mut written = tempfile::tempfile().unwrap();
        written.write_all(&file).unwrap();
        assert!(read(&written, size).unwrap() == state_dict);
    }

    #[test]
    fn an_error_of_any_thread_is_reported() {
        let (_, file) = large();
        let size = file.len() as u64;
        for end in [size - 1, size / 2, 1000] {
            let error = read(&Damaged(&file, end), size).unwrap_err();
            assert!(matches!(error, ReadError::Io(error) if error.to_string() == "damaged"));
        }
    }
}
