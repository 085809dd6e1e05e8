use std::borrow::Cow;
use std::collections::HashMap;
use std::ops::Range;

use crate::{PickleError, PickleErrorKind, Vocabulary};

/// Maximum number of tuples, lists and dictionaries; a network of 1,000 tensors has about 5,000.
const MAX_CONTAINERS: usize = 1 << 18;

/// Maximum number of objects in all containers.
const MAX_ITEMS: usize = 1 << 20;

/// Maximum number of different functions and types outside the vocabulary; a checkpoint has about ten.
const MAX_SKIPPED: usize = 1 << 10;

/// A range of bytes in the pickle.
#[derive(Clone, Copy, Debug)]
pub struct Span {
    pub(crate) at: u32,
    pub(crate) len: u32,
}

/// A string in the pickle.
#[derive(Clone, Copy, Debug)]
pub struct Text {
    pub(crate) span: Span,
    /// Whether it is Latin-1, as written by Python 2; otherwise it is valid UTF-8.
    pub(crate) latin1: bool,
}

/// An object of a pickle. The items of containers are in the [`Heap`].
#[derive(Debug)]
pub enum Object<V: Vocabulary> {
    /// `None`.
    None,
    /// `True` or `False`.
    Bool(bool),
    /// An integer.
    Int(i64),
    /// A floating-point number.
    Float(f64),
    /// A string; for Python 2 also bytes.
    Text(Text),
    /// Bytes of Python 3.
    Bytes(Span),
    /// An integer over 64 bits, a set, or another value that is not needed.
    Other,
    /// A tuple.
    Tuple(Container),
    /// A list.
    List(Container),
    /// A dictionary.
    Dict(Container),
    /// A function or type.
    Global(V::Global),
    /// The result of a function.
    Made(V::Made),
    /// A function or type outside the vocabulary, or an object made with it: neither is built.
    Skipped(Skipped),
}

// Derived implementations would require `V: Clone` and `V: Copy`.
impl<V: Vocabulary> Clone for Object<V> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<V: Vocabulary> Copy for Object<V> {}

impl<V: Vocabulary> Object<V> {
    /// The kind of object, for messages.
    pub fn kind(self) -> String {
        let kind = match self {
            Self::None => "None",
            Self::Bool(_) => "a Boolean",
            Self::Int(value) => return format!("the number {value}"),
            Self::Float(value) => return format!("the number {value}"),
            Self::Text(_) => "a string",
            Self::Bytes(_) => "bytes",
            Self::Other => "a large integer or a set",
            Self::Tuple(_) => "a tuple",
            Self::List(_) => "a list",
            Self::Dict(_) => "a dictionary",
            Self::Global(_) => "a function or type",
            Self::Made(made) => V::kind(made),
            Self::Skipped(_) => "an object of another type",
        };
        kind.to_owned()
    }

    /// The error that another kind of object was expected.
    pub fn expected(self, expected: &'static str) -> PickleErrorKind {
        PickleErrorKind::Unexpected {
            expected,
            got: self.kind(),
        }
    }

    /// The value of a non-negative integer.
    ///
    /// # Errors
    /// If it is anything else; `expected` describes the integer in the message.
    pub fn size(self, expected: &'static str) -> Result<usize, PickleErrorKind> {
        match self {
            Self::Int(value) => usize::try_from(value).map_err(|_| self.expected(expected)),
            _ => Err(self.expected(expected)),
        }
    }
}

/// Index of a container in the [`Heap`].
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Container(u32);

/// Index of a function or type outside the vocabulary in the [`Heap`].
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Skipped(u32);

/// The tuples, lists and dictionaries of a pickle.
#[derive(Debug)]
pub struct Heap<V: Vocabulary> {
    containers: Vec<Vec<Object<V>>>,
    items: usize,
    /// Functions and types outside the vocabulary: module and name, and the offset of the first use.
    skipped: Vec<(String, usize)>,
    skipped_by_name: HashMap<String, Skipped>,
}

impl<V: Vocabulary> Heap<V> {
    pub(crate) fn new() -> Self {
        Self {
            containers: Vec::new(),
            items: 0,
            skipped: Vec::new(),
            skipped_by_name: HashMap::new(),
        }
    }

    /// Module and name of a function or type outside the vocabulary, escaped for messages.
    pub fn name(&self, skipped: Skipped) -> &str {
        &self.skipped[skipped.0 as usize].0
    }

    /// Module and name of every function and type outside the vocabulary, in the order of their first use.
    pub fn skipped_names(&self) -> impl ExactSizeIterator<Item = &str> {
        self.skipped.iter().map(|(name, _)| name.as_str())
    }

    /// The error that the contents must not have an object of this function or type.
    pub fn refusal(&self, skipped: Skipped) -> PickleError {
        let (name, offset) = &self.skipped[skipped.0 as usize];
        PickleError {
            offset: *offset,
            problem: PickleErrorKind::Global {
                name: name.clone(),
                contents: V::CONTENTS,
                advice: V::ADVICE,
            },
        }
    }

    pub(crate) fn skip(&mut self, name: String, offset: usize) -> Result<Skipped, PickleErrorKind> {
        if let Some(&skipped) = self.skipped_by_name.get(&name) {
            return Ok(skipped);
        }
        if self.skipped.len() >= MAX_SKIPPED {
            return Err(PickleErrorKind::TooMany {
                what: "different functions and types",
                limit: MAX_SKIPPED,
            });
        }
        let skipped = Skipped(self.skipped.len() as u32);
        self.skipped_by_name.insert(name.clone(), skipped);
        self.skipped.push((name, offset));
        Ok(skipped)
    }

    /// The objects in a container; for a dictionary, keys and values alternate.
    pub fn items(&self, container: Container) -> &[Object<V>] {
        &self.containers[container.0 as usize]
    }

    /// Keys and values of a dictionary, in order; if a key is repeated, the last value counts.
    pub fn entries(
        &self,
        dict: Container,
    ) -> impl ExactSizeIterator<Item = (Object<V>, Object<V>)> {
        let pairs = self.items(dict).as_chunks().0;
        pairs.iter().map(|&[key, value]| (key, value))
    }

    /// Adds a container.
    ///
    /// # Errors
    /// If there are too many containers, or too many objects in them.
    pub fn container(&mut self, items: &[Object<V>]) -> Result<Container, PickleErrorKind> {
        if self.containers.len() >= MAX_CONTAINERS {
            return Err(PickleErrorKind::TooMany {
                what: "tuples, lists and dictionaries",
                limit: MAX_CONTAINERS,
            });
        }
        self.count(items.len())?;
        self.containers.push(items.to_vec());
        Ok(Container(self.containers.len() as u32 - 1))
    }

    pub(crate) fn extend(
        &mut self,
        container: Container,
        items: &[Object<V>],
    ) -> Result<(), PickleErrorKind> {
        self.count(items.len())?;
        let container = &mut self.containers[container.0 as usize];
        if container.is_empty() {
            // Most stay this small; `Vec` would reserve space for four.
            container.reserve_exact(items.len());
        }
        container.extend_from_slice(items);
        Ok(())
    }

    fn count(&mut self, items: usize) -> Result<(), PickleErrorKind> {
        self.items += items;
        if self.items > MAX_ITEMS {
            return Err(PickleErrorKind::TooMany {
                what: "objects in tuples, lists and dictionaries",
                limit: MAX_ITEMS,
            });
        }
        Ok(())
    }
}

impl Span {
    /// The range in the pickle.
    pub fn range(self) -> Range<usize> {
        let at = self.at as usize;
        at..at + self.len as usize
    }
}

impl Text {
    /// The range of its bytes in the pickle.
    pub fn span(self) -> Span {
        self.span
    }

    /// Its bytes; `pickle` must be the pickle that contains it.
    pub fn bytes(self, pickle: &[u8]) -> &[u8] {
        &pickle[self.span.range()]
    }

    /// Its characters; `pickle` must be the pickle that contains it.
    pub fn get(self, pickle: &[u8]) -> Cow<'_, str> {
        let bytes = self.bytes(pickle);
        if self.latin1 && !bytes.is_ascii() {
            bytes.iter().map(|&byte| char::from(byte)).collect()
        } else {
            String::from_utf8_lossy(bytes)
        }
    }

    /// Number of bytes.
    pub fn len(self) -> usize {
        self.span.len as usize
    }

    /// Whether it is empty.
    pub fn is_empty(self) -> bool {
        self.span.len == 0
    }

    /// Whether it equals an ASCII string.
    pub fn is(self, pickle: &[u8], ascii: &str) -> bool {
        self.bytes(pickle) == ascii.as_bytes()
    }
}
