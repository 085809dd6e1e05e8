use std::borrow::Cow;
use std::collections::BTreeMap;

use crate::error::FormatError;
use topk_pickle::Container;

use crate::pickle::{Object, Pickle, TorchObject};
use crate::pytorch::unexpected;
use crate::state_dict::{MAX_TENSORS, Value, check_name, shown};

/// Keys that may hold the state_dict in a dictionary without tensors: the first of these that is a
/// dictionary is taken. EMA weights are taken only if there are no others.
const KEYS: [&str; 12] = [
    "state_dict",
    "model_state_dict",
    "model",
    "net",
    "network",
    "module",
    "weights",
    "state_dict_ema",
    "ema_state_dict",
    "model_ema",
    "ema_model",
    "ema",
];

/// Maximum depth of nested dictionaries around the state_dict.
const MAX_DEPTH: usize = 4;

/// Maximum total size in bytes of the metadata strings.
const MAX_METADATA: usize = 1 << 20;

/// Number of keys that a message shows.
const SHOWN: usize = 12;

/// A state_dict.
pub(super) struct Found {
    /// Names of its tensors, and their indices in [`Torch`](crate::pickle::Torch).
    pub(super) tensors: Vec<(String, u32)>,
    /// Numbers and strings in it and in the dictionaries around it.
    pub(super) metadata: BTreeMap<String, Value>,
}

/// Finds the state_dict.
pub(super) fn find(pickle: &Pickle) -> Result<Found, FormatError> {
    let mut object = pickle.root;
    let mut metadata = BTreeMap::new();
    let mut text = 0;
    for _ in 0..MAX_DEPTH {
        let Object::Dict(dict) = object else {
            return Err(FormatError::NoStateDict(format!(
                "it holds {}, not a dictionary of tensors",
                object.kind()
            )));
        };
        let entries = entries(pickle, dict)?;
        for (key, object) in &entries {
            let value = match *object {
                Object::Bool(value) => Value::Bool(value),
                Object::Int(value) => Value::Int(value),
                Object::Float(value) => Value::Float(value),
                Object::Text(value) => {
                    text += value.len();
                    if text > MAX_METADATA {
                        return Err(FormatError::TooLarge {
                            what: "bytes of metadata strings",
                            size: text as u64,
                            limit: MAX_METADATA as u64,
                        });
                    }
                    Value::Text(value.get(pickle.bytes).into_owned())
                }
                _ => continue,
            };
            metadata.entry(key.clone().into_owned()).or_insert(value);
        }
        let tensors = entries.iter().filter_map(|(key, object)| match *object {
            Object::Made(TorchObject::Tensor(tensor)) => Some((key.clone().into_owned(), tensor)),
            _ => None,
        });
        let tensors: Vec<_> = tensors.collect();
        if !tensors.is_empty() {
            return Ok(Found { tensors, metadata });
        }
        let inner = KEYS.iter().filter_map(|&key| entries.get(key));
        let mut inner = inner.filter(|object| matches!(object, Object::Dict(_)));
        object = *inner.next().ok_or_else(|| none(entries.keys()))?;
    }
    Err(FormatError::NoStateDict(format!(
        "it has no tensors within {MAX_DEPTH} nested dictionaries"
    )))
}

fn none<'a>(keys: impl ExactSizeIterator<Item = &'a Cow<'a, str>>) -> FormatError {
    let count = keys.len();
    let mut shown: Vec<_> = keys
        .take(SHOWN)
        .map(|key| format!("`{}`", shown(key)))
        .collect();
    if count > SHOWN {
        shown.push("…".to_owned());
    }
    FormatError::NoStateDict(if count == 0 {
        "it holds an empty dictionary".to_owned()
    } else {
        format!(
            "it holds a dictionary with the keys {}, none of which is known to hold a state_dict",
            shown.join(", ")
        )
    })
}

/// The entries of a dictionary whose keys are strings. An entry with another key must not be a tensor.
fn entries<'a>(
    pickle: &Pickle<'a>,
    dict: Container,
) -> Result<BTreeMap<Cow<'a, str>, Object>, FormatError> {
    let mut entries = BTreeMap::new();
    let count = pickle.heap.entries(dict).len();
    if count > MAX_TENSORS {
        return Err(FormatError::TooLarge {
            what: "entries in a dictionary",
            size: count as u64,
            limit: MAX_TENSORS as u64,
        });
    }
    for (key, value) in pickle.heap.entries(dict) {
        match (key, value) {
            (Object::Text(key), _) => {
                let key = key.get(pickle.bytes);
                check_name(&key)?;
                entries.insert(key, value);
            }
            (_, Object::Made(TorchObject::Tensor(_))) => {
                return Err(unexpected("the name of a tensor", key.kind()));
            }
            _ => {}
        }
    }
    Ok(entries)
}
