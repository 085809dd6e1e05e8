use std::borrow::Cow;
use std::collections::{BTreeMap, HashSet};

use topk_pickle::{Container, Skipped};

use crate::error::FormatError;
use crate::loaded::{Note, ReadOptions, is_ema};
use crate::pickle::{Global, Object, Pickle, TorchObject};
use crate::pytorch::unexpected;
use crate::state_dict::{MAX_TENSORS, Value, check_name, shown};

/// Keys that may hold the state_dict, beside the EMA weights: the first of these under which there are tensors
/// is taken.
const KEYS: [&str; 16] = [
    "state_dict",
    "model_state_dict",
    "model",
    "net",
    "network",
    "module",
    "weights",
    "params",
    "model_state",
    "model_weights",
    "model_dict",
    "net_state_dict",
    "network_state_dict",
    "net_dict",
    "state",
    "checkpoint",
];

/// Parts of other keys whose tensors are not weights of a network.
const NOT_WEIGHTS: [&str; 6] = ["optim", "sched", "scaler", "rng", "loss", "criterion"];

/// Maximum depth of nested dictionaries around the state_dict.
const MAX_DEPTH: usize = 4;

/// Maximum total size in bytes of the metadata strings; longer ones are left out.
const MAX_METADATA: usize = 1 << 20;

/// Number of keys that a message shows.
const SHOWN: usize = 12;

/// A state_dict.
pub(super) struct Found {
    /// Names of its tensors, and their indices in [`Torch`](crate::pickle::Torch).
    pub(super) tensors: Vec<(String, u32)>,
    /// Numbers and strings in it and in the dictionaries around it.
    pub(super) metadata: BTreeMap<String, Value>,
    /// What was decided about its place.
    pub(super) notes: Vec<Note>,
}

/// The way to the state_dict.
struct Place {
    /// Keys and dictionaries from the outermost to the state_dict, whose key is the last.
    steps: Vec<(String, Container)>,
    /// What was decided on the way.
    notes: Vec<Note>,
    /// Whether it holds EMA weights.
    ema: bool,
}

/// A search that visits each dictionary once.
struct Search<'a, 'b> {
    pickle: &'a Pickle<'b>,
    visited: HashSet<Container>,
}

/// A dictionary whose keys are strings.
struct Entries<'a> {
    by_key: BTreeMap<Cow<'a, str>, Object>,
    /// The key of a tensor that is not a string.
    unnamed: Option<Object>,
}

/// Finds the state_dict.
pub(super) fn find(pickle: &Pickle, options: ReadOptions) -> Result<Found, FormatError> {
    let root = match pickle.root {
        Object::Dict(dict) => dict,
        Object::Skipped(skipped) => return Err(pickle.heap.refusal(skipped).into()),
        other => {
            return Err(FormatError::NoStateDict(format!(
                "it holds {}, not a dictionary of tensors",
                other.kind()
            )));
        }
    };
    let mut search = Search {
        pickle,
        visited: HashSet::new(),
    };
    let place = match search.place(root, 0, options.use_ema)? {
        Some(place) => place,
        None if options.use_ema => return Err(no_ema(&entries(pickle, root)?, pickle)),
        None => return Err(none(&entries(pickle, root)?, pickle)),
    };
    if options.use_ema
        && !place.ema
        && let Some(skipped) = skipped_ema(&entries(pickle, root)?)
    {
        return Err(pickle.heap.refusal(skipped).into());
    }
    let mut found = Found {
        tensors: Vec::new(),
        metadata: BTreeMap::new(),
        notes: place.notes,
    };
    let mut text = 0;
    let (_, innermost) = place.steps[place.steps.len() - 1];
    for &(_, dict) in &place.steps {
        let entries = entries(pickle, dict)?;
        add_metadata(pickle, &entries, &mut found.metadata, &mut text);
        if dict != innermost {
            continue;
        }
        if let Some(key) = entries.unnamed {
            return Err(unexpected("the name of a tensor", key.kind()));
        }
        for (key, object) in entries.by_key {
            match object {
                Object::Made(TorchObject::Tensor(tensor)) => {
                    check_name(&key)?;
                    found.tensors.push((key.into_owned(), tensor));
                }
                Object::Made(TorchObject::Unsupported(kind)) => {
                    check_name(&key)?;
                    return Err(FormatError::Dtype {
                        name: key.into_owned(),
                        dtype: kind.name().to_owned(),
                    });
                }
                Object::Skipped(skipped) if !is_plain(pickle, skipped) => {
                    return Err(pickle.heap.refusal(skipped).into());
                }
                _ => {}
            }
        }
    }
    let skipped = pickle.heap.skipped_names();
    let skipped: Vec<_> = skipped
        .filter(|name| !Global::is_plain(name))
        .map(str::to_owned)
        .collect();
    if !skipped.is_empty() {
        found.notes.push(Note::Skipped(skipped));
    }
    Ok(found)
}

impl<'b> Search<'_, 'b> {
    /// The way to the weights in a dictionary; `None` if it has none.
    fn place(
        &mut self,
        dict: Container,
        depth: usize,
        ema: bool,
    ) -> Result<Option<Place>, FormatError> {
        if depth == MAX_DEPTH || !self.visited.insert(dict) {
            return Ok(None);
        }
        let entries = entries(self.pickle, dict)?;
        let dicts = |(key, object): (&Cow<'b, str>, &Object)| match *object {
            Object::Dict(inner) => Some((key.clone().into_owned(), inner)),
            _ => None,
        };
        let of_ema: Vec<_> = entries
            .by_key
            .iter()
            .filter_map(dicts)
            .filter(|(key, _)| is_ema(key))
            .collect();
        let usual = KEYS
            .iter()
            .filter_map(|&key| entries.by_key.get_key_value(key));
        let usual: Vec<_> = usual.filter_map(dicts).collect();
        let own = || Place {
            steps: Vec::new(),
            notes: Vec::new(),
            ema: false,
        };
        let mut place = None;
        if ema {
            place = self
                .first(&of_ema, depth, false)?
                .map(|(_, place)| Place { ema: true, ..place });
        }
        if place.is_none() {
            place = self.first(&usual, depth, ema)?.map(|(_, place)| place);
        }
        let tensors = entries.tensors();
        let network = tensors.clone().any(|name| name.contains('.'));
        if place.is_none() && network {
            place = Some(own());
        }
        if place.is_none() && !ema {
            place = self
                .first(&of_ema, depth, false)?
                .map(|(_, place)| Place { ema: true, ..place });
        }
        if place.is_none() {
            place = self.unusual(&entries, depth, tensors.clone().count())?;
        }
        if place.is_none() && tensors.count() > 0 {
            place = Some(own());
        }
        let Some(mut place) = place else {
            return Ok(None);
        };
        let taken = place.steps.first().map(|(key, _)| key.clone());
        let other = of_ema.iter().find(|(key, _)| Some(key) != taken.as_ref());
        match (place.ema, taken, other) {
            (false, taken, Some((other, _))) => place.notes.push(Note::NotEma {
                taken: taken.unwrap_or_default(),
                ema: other.clone(),
            }),
            (true, Some(taken), _) if is_ema(&taken) => place.notes.push(Note::Ema(taken)),
            _ => {}
        }
        place.steps.insert(0, (String::new(), dict));
        Ok(Some(place))
    }

    /// The way through the first of these entries that has weights, and its key.
    fn first(
        &mut self,
        among: &[(String, Container)],
        depth: usize,
        ema: bool,
    ) -> Result<Option<(String, Place)>, FormatError> {
        for (key, dict) in among {
            if let Some(mut place) = self.place(*dict, depth + 1, ema)? {
                place.steps[0].0.clone_from(key);
                return Ok(Some((key.clone(), place)));
            }
        }
        Ok(None)
    }

    /// The way through the only other entry that has more tensors than the dictionary itself.
    fn unusual(
        &mut self,
        entries: &Entries,
        depth: usize,
        own: usize,
    ) -> Result<Option<Place>, FormatError> {
        let mut found: Vec<(String, Place)> = Vec::new();
        for (key, object) in &entries.by_key {
            let Object::Dict(inner) = *object else {
                continue;
            };
            let lower = key.to_lowercase();
            if NOT_WEIGHTS.iter().any(|part| lower.contains(part)) || is_ema(key) {
                continue;
            }
            if self.tensors(inner) > own {
                found.extend(self.first(&[(key.clone().into_owned(), inner)], depth, false)?);
            }
        }
        match <[_; 1]>::try_from(found) {
            Ok([(key, mut place)]) => {
                place.notes.push(Note::Key(key));
                Ok(Some(place))
            }
            Err(found) if found.is_empty() || own > 0 => Ok(None),
            Err(found) => {
                let keys = found.iter().map(|(key, _)| format!("`{}`", shown(key)));
                let keys: Vec<_> = keys.take(SHOWN).collect();
                Err(FormatError::NoStateDict(format!(
                    "it holds tensors under each of the keys {}, and it is not clear which of them are the \
                     weights",
                    keys.join(", ")
                )))
            }
        }
    }

    /// Number of tensors in a dictionary that was not visited yet.
    fn tensors(&self, dict: Container) -> usize {
        if self.visited.contains(&dict) {
            return 0;
        }
        let entries = self.pickle.heap.entries(dict);
        entries
            .filter(|(key, value)| matches!(key, Object::Text(_)) && is_tensor(value))
            .count()
    }
}

fn is_tensor(object: &Object) -> bool {
    matches!(
        object,
        Object::Made(TorchObject::Tensor(_) | TorchObject::Unsupported(_))
    )
}

/// Whether objects of this type are plain values, which a state_dict may have.
fn is_plain(pickle: &Pickle, skipped: Skipped) -> bool {
    Global::is_plain(pickle.heap.name(skipped))
}

/// Adds the numbers and strings in a dictionary.
fn add_metadata(
    pickle: &Pickle,
    entries: &Entries,
    to: &mut BTreeMap<String, Value>,
    text: &mut usize,
) {
    for (key, object) in &entries.by_key {
        if check_name(key).is_err() {
            continue;
        }
        let value = match *object {
            Object::Bool(value) => Value::Bool(value),
            Object::Int(value) => Value::Int(value),
            Object::Float(value) => Value::Float(value),
            Object::Text(value) if *text + value.len() <= MAX_METADATA => {
                *text += value.len();
                Value::Text(value.get(pickle.bytes).into_owned())
            }
            _ => continue,
        };
        to.entry(key.clone().into_owned()).or_insert(value);
    }
}

/// Keys for a message.
fn listed(entries: &Entries) -> String {
    let keys = entries.by_key.keys();
    let count = keys.len();
    let mut listed: Vec<_> = keys
        .take(SHOWN)
        .map(|key| format!("`{}`", shown(key)))
        .collect();
    if count > SHOWN {
        listed.push("…".to_owned());
    }
    listed.join(", ")
}

/// The error that a dictionary has no weights.
fn none(entries: &Entries, pickle: &Pickle) -> FormatError {
    if let Some(key) = entries.unnamed {
        return unexpected("the name of a tensor", key.kind());
    }
    // A network that was saved whole.
    let objects = KEYS.iter().filter_map(|&key| entries.by_key.get(key));
    let mut skipped = objects.filter_map(|object| match *object {
        Object::Skipped(skipped) => Some(skipped),
        _ => None,
    });
    if let Some(skipped) = skipped.next() {
        return pickle.heap.refusal(skipped).into();
    }
    FormatError::NoStateDict(if entries.by_key.is_empty() {
        "it holds an empty dictionary".to_owned()
    } else {
        format!(
            "it holds a dictionary without tensors under a key that is known to hold a state_dict; its keys \
             are {}",
            listed(entries)
        )
    })
}

/// The error that a dictionary has no EMA weights.
fn no_ema(entries: &Entries, pickle: &Pickle) -> FormatError {
    match skipped_ema(entries) {
        Some(skipped) => pickle.heap.refusal(skipped).into(),
        None => FormatError::NoEma(format!("; its keys are {}", listed(entries))),
    }
}

/// A network that was saved whole in place of its averaged weights.
fn skipped_ema(entries: &Entries) -> Option<Skipped> {
    let objects = entries.by_key.iter().filter(|(key, _)| is_ema(key));
    let mut skipped = objects.filter_map(|(_, object)| match *object {
        Object::Skipped(skipped) => Some(skipped),
        _ => None,
    });
    skipped.next()
}

impl Entries<'_> {
    /// Names of the tensors.
    fn tensors(&self) -> impl Iterator<Item = &str> + Clone {
        self.by_key
            .iter()
            .filter(|(_, object)| is_tensor(object))
            .map(|(key, _)| &**key)
    }
}

/// The entries of a dictionary whose keys are strings.
fn entries<'a>(pickle: &Pickle<'a>, dict: Container) -> Result<Entries<'a>, FormatError> {
    let mut entries = Entries {
        by_key: BTreeMap::new(),
        unnamed: None,
    };
    let count = pickle.heap.entries(dict).len();
    if count > MAX_TENSORS {
        return Err(FormatError::TooLarge {
            what: "entries in a dictionary",
            size: count as u64,
            limit: MAX_TENSORS as u64,
        });
    }
    for (key, value) in pickle.heap.entries(dict) {
        match key {
            Object::Text(key) => {
                entries.by_key.insert(key.get(pickle.bytes), value);
            }
            _ if is_tensor(&value) => entries.unnamed = Some(key),
            _ => {}
        }
    }
    Ok(entries)
}
