use std::borrow::Cow;

use crate::error::PickleFault;
use crate::pickle::Global;
use crate::tensor::Dtype;

/// Tuples, lists and dictionaries; a network of 1,000 tensors has about 5,000.
const MAX_CONTAINERS: usize = 1 << 18;

/// Objects in all containers together.
const MAX_ITEMS: usize = 1 << 20;

/// Tensors, and mentions of storages.
const MAX_TENSORS: usize = 1 << 16;

/// Dimensions of a tensor.
const MAX_RANK: usize = 16;

/// Bytes of the key of a storage, which is a number or an address.
const MAX_KEY: usize = 64;

/// A string in the pickle.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Text {
    pub(super) at: u32,
    pub(super) len: u32,
    /// From Python 2: each byte is a character. UTF-8 otherwise, which has been checked.
    pub(super) latin1: bool,
}

/// Anything that a pickle makes. Containers, tensors and storages lie in the [`Heap`].
#[derive(Clone, Copy, Debug)]
pub(crate) enum Object {
    None,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(Text),
    /// Bytes, an integer beyond 64 bits, or a layout: plain, but of no interest.
    Other,
    Tuple(Container),
    List(Container),
    Dict(Container),
    Global(Global),
    Storage(u32),
    Tensor(u32),
}

impl Object {
    /// What it is, for messages.
    pub(crate) fn kind(self) -> String {
        let kind = match self {
            Self::None => "None",
            Self::Bool(_) => "a truth value",
            Self::Int(value) => return format!("the number {value}"),
            Self::Float(value) => return format!("the number {value}"),
            Self::Text(_) => "a string",
            Self::Other => "bytes or a long number",
            Self::Tuple(_) => "a tuple",
            Self::List(_) => "a list",
            Self::Dict(_) => "a dictionary",
            Self::Global(_) => "a function or type",
            Self::Storage(_) => "a storage",
            Self::Tensor(_) => "a tensor",
        };
        kind.to_owned()
    }

    pub(super) fn expected(self, expected: &'static str) -> PickleFault {
        PickleFault::Unexpected {
            expected,
            got: self.kind(),
        }
    }
}

/// Number of a container in the [`Heap`].
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Container(u32);

/// Values that lie somewhere else, or a part of them.
#[derive(Clone, Debug)]
pub(crate) struct StorageRef {
    /// Its name.
    pub(crate) key: Text,
    /// Type of the elements; bytes if there is none.
    pub(crate) dtype: Option<Dtype>,
    /// Number of elements in the file.
    pub(crate) total: usize,
    /// The first element that is part of it.
    pub(crate) start: usize,
    /// Number of elements that are part of it.
    pub(crate) elements: usize,
}

/// A tensor as a view of a storage. It lies in it.
#[derive(Clone, Debug)]
pub(crate) struct TensorRef {
    /// Number of the storage.
    pub(crate) storage: u32,
    /// Type of the elements.
    pub(crate) dtype: Dtype,
    /// The storage's element where it begins.
    pub(crate) offset: usize,
    /// Size and stride of each dimension, in elements.
    pub(crate) dims: Box<[(usize, usize)]>,
}

/// What a pickle has made so far.
#[derive(Debug, Default)]
pub(crate) struct Heap {
    containers: Vec<Vec<Object>>,
    items: usize,
    pub(crate) storages: Vec<StorageRef>,
    pub(crate) tensors: Vec<TensorRef>,
}

fn number<T>(of: &mut Vec<T>, new: T, what: &'static str) -> Result<u32, PickleFault> {
    if of.len() >= MAX_TENSORS {
        let limit = MAX_TENSORS;
        return Err(PickleFault::TooMany { what, limit });
    }
    of.push(new);
    Ok(of.len() as u32 - 1)
}

impl Heap {
    /// The objects in a container; key, value, key, value and so on of a dictionary.
    pub(crate) fn items(&self, container: Container) -> &[Object] {
        &self.containers[container.0 as usize]
    }

    /// The entries of a dictionary, in order. A later one replaces an earlier one of the same key.
    pub(crate) fn entries(
        &self,
        dict: Container,
    ) -> impl ExactSizeIterator<Item = (Object, Object)> {
        let pairs = self.items(dict).as_chunks().0;
        pairs.iter().map(|&[key, value]| (key, value))
    }

    pub(super) fn container(&mut self, items: &[Object]) -> Result<Container, PickleFault> {
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

    pub(super) fn extend(
        &mut self,
        container: Container,
        items: &[Object],
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

    /// `OrderedDict()`, or `OrderedDict([[key, value], ...])`, as Python 2 wrote it.
    pub(super) fn ordered_dict(&mut self, arguments: &[Object]) -> Result<Object, PickleFault> {
        let pairs = match *arguments {
            [] => return Ok(Object::Dict(self.container(&[])?)),
            [Object::List(pairs)] => pairs,
            _ => {
                return Err(PickleFault::Unexpected {
                    expected: "the entries of an OrderedDict",
                    got: "something else".to_owned(),
                });
            }
        };
        let mut entries = Vec::new();
        for &pair in self.items(pairs) {
            match pair {
                Object::List(pair) | Object::Tuple(pair) if self.items(pair).len() == 2 => {
                    entries.extend_from_slice(self.items(pair));
                }
                _ => return Err(pair.expected("a pair of key and value")),
            }
        }
        Ok(Object::Dict(self.container(&entries)?))
    }

    /// The storage that a persistent id stands for: `('storage', type, key, location, elements)`,
    /// and in the older format a sixth, None or `(key of the view, start, elements)`.
    pub(super) fn storage(&mut self, id: Object, pickle: &[u8]) -> Result<Object, PickleFault> {
        let expected = "the persistent id of a storage";
        let Object::Tuple(parts) = id else {
            return Err(id.expected(expected));
        };
        let (storage_type, key, total, view) = match *self.items(parts) {
            [
                Object::Text(kind),
                Object::Global(Global::Storage(storage_type)),
                Object::Text(key),
                _,
                total,
            ] if kind.is(pickle, "storage") => (storage_type, key, total, Object::None),
            [
                Object::Text(kind),
                Object::Global(Global::Storage(storage_type)),
                Object::Text(key),
                _,
                total,
                view,
            ] if kind.is(pickle, "storage") => (storage_type, key, total, view),
            _ => {
                return Err(PickleFault::Unexpected {
                    expected,
                    got: "another tuple".to_owned(),
                });
            }
        };
        let name = key.bytes(pickle);
        if name.len() > MAX_KEY || !name.iter().all(u8::is_ascii_graphic) {
            return Err(PickleFault::Unexpected {
                expected: "the key of a storage, which is a number",
                got: "another string".to_owned(),
            });
        }
        let total = size(total, "the number of elements of a storage")?;
        let (start, elements) = match view {
            Object::None => (0, total),
            Object::Tuple(view) => match *self.items(view) {
                [_, start, elements] => (
                    size(start, "the start of a view of a storage")?,
                    size(elements, "the number of elements of a view")?,
                ),
                _ => return Err(id.expected("a view of a storage")),
            },
            _ => return Err(view.expected("None or a view of a storage")),
        };
        if start.checked_add(elements).is_none_or(|end| end > total) {
            return Err(PickleFault::Tensor(format!(
                "in a view of elements {start} to {start} + {elements} of a storage that has {total}"
            )));
        }
        let storage = StorageRef {
            key,
            dtype: storage_type,
            total,
            start,
            elements,
        };
        let number = number(&mut self.storages, storage, "mentions of storages")?;
        Ok(Object::Storage(number))
    }

    /// The tensor `(storage, offset, sizes, strides, ...)`; the type of its elements is the storage's
    /// if it has one.
    pub(super) fn tensor(
        &mut self,
        arguments: &[Object],
        dtype: Option<Dtype>,
        metadata: Option<Object>,
    ) -> Result<Object, PickleFault> {
        let &[Object::Storage(storage), offset, sizes, strides, ..] = arguments else {
            return Err(PickleFault::Unexpected {
                expected: "storage, offset, sizes and strides of a tensor",
                got: "something else".to_owned(),
            });
        };
        match metadata {
            None | Some(Object::None) => {}
            Some(Object::Dict(metadata)) if self.items(metadata).is_empty() => {}
            // A conjugate or negated view would have other values.
            Some(metadata) => return Err(metadata.expected("no metadata of a tensor")),
        }
        let storage_ref = &self.storages[storage as usize];
        let Some(dtype) = dtype.or(storage_ref.dtype) else {
            return Err(PickleFault::Tensor(
                "of a storage without a type".to_owned(),
            ));
        };
        let elements = match storage_ref.dtype {
            Some(own) if own == dtype => storage_ref.elements,
            None => storage_ref.elements / dtype.size(),
            Some(own) => {
                let fault = format!("of {dtype} in a storage of {own}");
                return Err(PickleFault::Tensor(fault));
            }
        };
        let offset = size(offset, "the offset of a tensor")?;
        let (Object::Tuple(sizes), Object::Tuple(strides)) = (sizes, strides) else {
            return Err(sizes.expected("sizes and strides of a tensor"));
        };
        let (sizes, strides) = (self.items(sizes), self.items(strides));
        if sizes.len() != strides.len() || sizes.len() > MAX_RANK {
            return Err(PickleFault::Tensor(format!(
                "of {} sizes and {} strides: they must be as many, and at most {MAX_RANK}",
                sizes.len(),
                strides.len()
            )));
        }
        let dims = sizes.iter().zip(strides);
        let dims = dims.map(|(&dim, &stride)| {
            let dim = size(dim, "a size of a tensor")?;
            Ok((dim, size(stride, "a stride of a tensor")?))
        });
        let dims: Box<[_]> = dims.collect::<Result<_, PickleFault>>()?;
        if !fits(&dims, offset, elements) {
            return Err(PickleFault::Tensor(format!(
                "that is not within its storage: sizes and strides {dims:?} from element {offset} of \
                 {elements}"
            )));
        }
        let tensor = TensorRef {
            storage,
            dtype,
            offset,
            dims,
        };
        let number = number(&mut self.tensors, tensor, "tensors")?;
        Ok(Object::Tensor(number))
    }
}

fn size(object: Object, expected: &'static str) -> Result<usize, PickleFault> {
    match object {
        Object::Int(value) => usize::try_from(value).map_err(|_| object.expected(expected)),
        _ => Err(object.expected(expected)),
    }
}

/// Whether every element of a tensor lies in a storage of so many.
fn fits(dims: &[(usize, usize)], offset: usize, elements: usize) -> bool {
    if dims.iter().any(|&(dim, _)| dim == 0) {
        return true;
    }
    let last = dims.iter().try_fold(offset, |last, &(dim, stride)| {
        last.checked_add((dim - 1).checked_mul(stride)?)
    });
    last.is_some_and(|last| last < elements)
}

impl Text {
    fn bytes(self, pickle: &[u8]) -> &[u8] {
        &pickle[self.at as usize..][..self.len as usize]
    }

    /// Its characters; `pickle` is what it was found in.
    pub(crate) fn get(self, pickle: &[u8]) -> Cow<'_, str> {
        let bytes = self.bytes(pickle);
        if self.latin1 && !bytes.is_ascii() {
            bytes.iter().map(|&byte| char::from(byte)).collect()
        } else {
            String::from_utf8_lossy(bytes)
        }
    }

    /// Number of bytes.
    pub(crate) fn len(self) -> usize {
        self.len as usize
    }

    /// Whether these are its characters; plain ASCII.
    pub(crate) fn is(self, pickle: &[u8], ascii: &str) -> bool {
        self.bytes(pickle) == ascii.as_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tensor_fits_if_its_last_element_does() {
        let cases: [(&[(usize, usize)], _, _, _); 9] = [
            (&[], 0, 1, true),
            (&[], 1, 1, false),
            (&[(2, 3), (3, 1)], 0, 6, true),
            (&[(2, 3), (3, 1)], 1, 6, false),
            (&[(3, 1), (2, 3)], 0, 6, true),
            (&[(1000, 0)], 5, 6, true),
            (&[(0, 7)], 9, 1, true),
            (&[(usize::MAX, 2)], 0, usize::MAX, false),
            (&[(2, usize::MAX)], 1, usize::MAX, false),
        ];
        for (dims, offset, elements, expected) in cases {
            assert_eq!(fits(dims, offset, elements), expected, "{dims:?}");
        }
    }
}
