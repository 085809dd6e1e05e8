use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, Read, Write};

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

/// Reads a file of this size one tensor at a time, without a second copy of them all in memory.
pub(crate) fn read(from: &mut impl Read, size: u64) -> Result<StateDict, ReadError> {
    let truncated = || FormatError::Truncated {
        what: "the safetensors header".to_owned(),
    };
    let rest = size.checked_sub(LENGTH as u64).ok_or_else(truncated)?;
    let mut length = [0; LENGTH];
    from.read_exact(&mut length)?;
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
    from.read_exact(&mut header)?;
    let header: Header = serde_json::from_slice(&header)
        .map_err(|error| FormatError::Safetensors(error.to_string()))?;
    let metadata = header.metadata.into_iter();
    let metadata = metadata.map(|(key, value)| (key, Value::Text(value)));
    Ok(StateDict {
        tensors: tensors(header.tensors, from, values)?,
        metadata: metadata.collect(),
    })
}

/// Reads the tensors, which must be contiguous and fill the remaining `size` bytes.
fn tensors(
    infos: BTreeMap<String, Info>,
    from: &mut impl Read,
    size: u64,
) -> Result<BTreeMap<String, Tensor>, ReadError> {
    let mut infos: Vec<_> = infos.into_iter().collect();
    infos.sort_by_key(|(_, info)| info.data_offsets);
    let mut tensors = BTreeMap::new();
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
        let mut bytes = vec![0; length];
        from.read_exact(&mut bytes)?;
        let tensor = Tensor::new(&info.shape, dtype, bytes);
        tensors.insert(name, tensor.expect("the length is that of the shape"));
        at = end;
    }
    let over = size - at as u64;
    if over > 0 {
        let problem = format!("the last {over} bytes do not belong to any tensor");
        return Err(ReadError::Format(FormatError::Safetensors(problem)));
    }
    Ok(tensors)
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
