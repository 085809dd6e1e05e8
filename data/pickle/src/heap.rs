use std::borrow::Cow;
use std::ops::Range;

use crate::{PickleFault, Vocabulary};

/// Tuples, lists and dictionaries; a network of 1,000 tensors has about 5,000.
const MAX_CONTAINERS: usize = 1 << 18;

/// Objects in all containers together.
const MAX_ITEMS: usize = 1 << 20;

/// Bytes of the pickle.
#[derive(Clone, Copy, Debug)]
pub struct Span {
    pub(crate) at: u32,
    pub(crate) len: u32,
}

/// A string in the pickle.
#[derive(Clone, Copy, Debug)]
pub struct Text {
    pub(crate) span: Span,
    /// From Python 2: each byte is a character. UTF-8 otherwise, which has been checked.
    pub(crate) latin1: bool,
}

/// Anything that a pickle makes. Containers lie in the [`Heap`].
#[derive(Debug)]
pub enum Object<V: Vocabulary> {
    /// `None`.
    None,
    /// `True` or `False`.
    Bool(bool),
    /// An integer.
    Int(i64),
    /// A number.
    Float(f64),
    /// A string, which Python 2 has for bytes too.
    Text(Text),
    /// Bytes of Python 3.
    Bytes(Span),
    /// An integer beyond 64 bits, or something else that is plain but of no interest.
    Other,
    /// A tuple.
    Tuple(Container),
    /// A list.
    List(Container),
    /// A dictionary.
    Dict(Container),
    /// A function or type.
    Global(V::Global),
    /// What a function made.
    Made(V::Made),
}

// Derived, these would ask the vocabulary itself to be copied.
impl<V: Vocabulary> Clone for Object<V> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<V: Vocabulary> Copy for Object<V> {}

impl<V: Vocabulary> Object<V> {
    /// What it is, for messages.
    pub fn kind(self) -> String {
        let kind = match self {
            Self::None => "None",
            Self::Bool(_) => "a truth value",
            Self::Int(value) => return format!("the number {value}"),
            Self::Float(value) => return format!("the number {value}"),
            Self::Text(_) => "a string",
            Self::Bytes(_) => "bytes",
            Self::Other => "a long number",
            Self::Tuple(_) => "a tuple",
            Self::List(_) => "a list",
            Self::Dict(_) => "a dictionary",
            Self::Global(_) => "a function or type",
            Self::Made(made) => V::kind(made),
        };
        kind.to_owned()
    }

    /// That it should be something else.
    pub fn expected(self, expected: &'static str) -> PickleFault {
        PickleFault::Unexpected {
            expected,
            got: self.kind(),
        }
    }

    /// Its value, if it is an integer from 0.
    ///
    /// # Errors
    /// If it is something else than what is `expected`.
    pub fn size(self, expected: &'static str) -> Result<usize, PickleFault> {
        match self {
            Self::Int(value) => usize::try_from(value).map_err(|_| self.expected(expected)),
            _ => Err(self.expected(expected)),
        }
    }
}

/// Number of a container in the [`Heap`].
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Container(u32);

/// The tuples, lists and dictionaries that a pickle has made.
#[derive(Debug)]
pub struct Heap<V: Vocabulary> {
    containers: Vec<Vec<Object<V>>>,
    items: usize,
}

impl<V: Vocabulary> Heap<V> {
    pub(crate) fn new() -> Self {
        Self {
            containers: Vec::new(),
            items: 0,
        }
    }

    /// The objects in a container; key, value, key, value and so on of a dictionary.
    pub fn items(&self, container: Container) -> &[Object<V>] {
        &self.containers[container.0 as usize]
    }

    /// The entries of a dictionary, in order. A later one replaces an earlier one of the same key.
    pub fn entries(
        &self,
        dict: Container,
    ) -> impl ExactSizeIterator<Item = (Object<V>, Object<V>)> {
        let pairs = self.items(dict).as_chunks().0;
        pairs.iter().map(|&[key, value]| (key, value))
    }

    /// Makes a container.
    ///
    /// # Errors
    /// If there are too many, or too many objects in them.
    pub fn container(&mut self, items: &[Object<V>]) -> Result<Container, PickleFault> {
        if self.containers.len() >= MAX_CONTAINERS {
            return Err(PickleFault::TooMany {
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
    ) -> Result<(), PickleFault> {
        self.count(items.len())?;
        let container = &mut self.containers[container.0 as usize];
        if container.is_empty() {
            // Many stay this small, and would else get room for four.
            container.reserve_exact(items.len());
        }
        container.extend_from_slice(items);
        Ok(())
    }

    fn count(&mut self, items: usize) -> Result<(), PickleFault> {
        self.items += items;
        if self.items > MAX_ITEMS {
            return Err(PickleFault::TooMany {
                what: "objects in tuples, lists and dictionaries",
                limit: MAX_ITEMS,
            });
        }
        Ok(())
    }
}

impl Span {
    /// Where it is in the pickle.
    pub fn range(self) -> Range<usize> {
        let at = self.at as usize;
        at..at + self.len as usize
    }
}

impl Text {
    /// Where its bytes are in the pickle.
    pub fn span(self) -> Span {
        self.span
    }

    /// Its bytes; `pickle` is what it was found in.
    pub fn bytes(self, pickle: &[u8]) -> &[u8] {
        &pickle[self.span.range()]
    }

    /// Its characters; `pickle` is what it was found in.
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

    /// Whether these are its characters; plain ASCII.
    pub fn is(self, pickle: &[u8], ascii: &str) -> bool {
        self.bytes(pickle) == ascii.as_bytes()
    }
}
