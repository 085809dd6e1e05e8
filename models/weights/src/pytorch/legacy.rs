use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};

use crate::error::FormatError;
use crate::loaded::{Loaded, ReadOptions};
use crate::pickle::{Object, Pickle, StorageRef};
use crate::pytorch::{Storages, find, state_dict, storage_len, unexpected};

/// The magic number that the first of the five pickles holds, within the first [`START`] bytes.
const MAGIC: [u8; 10] = [0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19];
const START: usize = 32;

/// The second pickle: the version of this format.
const PROTOCOL: i64 = 1001;

/// The storages in the file by key, each with its number of elements and its bytes.
struct Values<'a> {
    by_key: BTreeMap<String, (u64, &'a [u8])>,
}

/// Whether PyTorch before 1.6 wrote the file.
pub(crate) fn is_legacy(bytes: &[u8]) -> bool {
    let start = &bytes[..bytes.len().min(START)];
    bytes.first() == Some(&0x80) && start.windows(MAGIC.len()).any(|window| window == MAGIC)
}

/// Reads a file of PyTorch before 1.6: pickles of a magic number, a version, machine properties, an object
/// and the keys of its storages, followed by the storages.
pub(crate) fn read(bytes: &[u8], options: ReadOptions) -> Result<Loaded, FormatError> {
    let mut rest = bytes;
    next(&mut rest)?;
    let version = next(&mut rest)?;
    if !matches!(version.root, Object::Int(PROTOCOL)) {
        return Err(unexpected(
            "version 1001 of the format",
            version.root.kind(),
        ));
    }
    let machine = next(&mut rest)?;
    if !little_endian(&machine) {
        return Err(unexpected(
            "a machine with little-endian numbers",
            "another kind".to_owned(),
        ));
    }
    let object = next(&mut rest)?;
    let found = find(&object, options)?;
    let keys = next(&mut rest)?;
    let mut values = Values::new(&object, &keys, rest)?;
    state_dict(found, &object, &mut values)
}

fn next<'a>(rest: &mut &'a [u8]) -> Result<Pickle<'a>, FormatError> {
    let pickle = topk_pickle::parse(rest)?;
    *rest = &rest[pickle.bytes.len()..];
    Ok(pickle)
}

fn little_endian(machine: &Pickle) -> bool {
    let Object::Dict(entries) = machine.root else {
        return false;
    };
    machine.heap.entries(entries).any(|(key, value)| {
        let Object::Text(key) = key else { return false };
        key.is(machine.bytes, "little_endian") && matches!(value, Object::Bool(true))
    })
}

impl<'a> Values<'a> {
    /// Locates the storages: each is its number of elements, then the elements.
    fn new(object: &Pickle, keys: &Pickle, mut rest: &'a [u8]) -> Result<Self, FormatError> {
        let Object::List(list) = keys.root else {
            return Err(unexpected("a list of storages", keys.root.kind()));
        };
        let mut mentioned: HashMap<Cow<str>, &StorageRef> = HashMap::new();
        for storage in &object.made.storages {
            mentioned.insert(storage.key.get(object.bytes), storage);
        }
        let mut by_key = BTreeMap::new();
        for &key in keys.heap.items(list) {
            let Object::Text(key) = key else {
                return Err(unexpected("the key of a storage", key.kind()));
            };
            let key = key.get(keys.bytes).into_owned();
            let Some(storage) = mentioned.get(key.as_str()) else {
                let problem = "is not used by its pickle".to_owned();
                return Err(FormatError::Storage { key, problem });
            };
            let truncated = || FormatError::Truncated {
                what: format!("storage {key}"),
            };
            let len = storage_len(&key, storage)?;
            let (elements, after) = rest.split_first_chunk().ok_or_else(truncated)?;
            let (values, after) = after.split_at_checked(len).ok_or_else(truncated)?;
            by_key.insert(key, (u64::from_le_bytes(*elements), values));
            rest = after;
        }
        Ok(Self { by_key })
    }
}

impl Storages for Values<'_> {
    fn read(&mut self, key: &str, storage: &StorageRef) -> Result<Cow<'_, [u8]>, FormatError> {
        let problem = |problem: String| FormatError::Storage {
            key: key.to_owned(),
            problem,
        };
        let &(elements, bytes) = self
            .by_key
            .get(key)
            .ok_or_else(|| problem("is missing".to_owned()))?;
        if elements != storage.total as u64 || bytes.len() != storage_len(key, storage)? {
            return Err(problem(format!(
                "has {elements} elements, expected {}",
                storage.total
            )));
        }
        Ok(bytes.into())
    }
}
