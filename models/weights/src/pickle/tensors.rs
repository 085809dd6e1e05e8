use topk_pickle::{Heap, PickleErrorKind, Text};

use super::{Global, Object, Torch, TorchObject};
use crate::tensor::Dtype;

/// Tensors, and uses of storages.
const MAX_TENSORS: usize = 1 << 16;

/// Maximum number of dimensions of a tensor.
const MAX_RANK: usize = 16;

/// Maximum length in bytes of a storage's key, which is a number or an address.
const MAX_KEY: usize = 64;

/// A kind of tensors that weights cannot be.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Unsupported {
    Complex64,
    Complex128,
    QInt8,
    QUInt8,
    QInt32,
    /// A conjugate or negated view, which has other values than its storage.
    View,
}

impl Unsupported {
    /// The name, for messages.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Complex64 => "complex64",
            Self::Complex128 => "complex128",
            Self::QInt8 => "qint8",
            Self::QUInt8 => "quint8",
            Self::QInt32 => "qint32",
            Self::View => "conjugate or negated view",
        }
    }

    /// Bytes of an element.
    fn size(self) -> usize {
        match self {
            Self::Complex128 => 16,
            Self::Complex64 | Self::View => 8,
            Self::QInt32 => 4,
            Self::QInt8 | Self::QUInt8 => 1,
        }
    }
}

/// The elements of a storage.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Elements {
    /// Numbers that weights may be.
    Typed(Dtype),
    /// Other numbers.
    Other(Unsupported),
    /// Bytes; each tensor has a type of its own.
    Bytes,
}

impl Elements {
    /// Bytes of an element.
    pub(crate) fn size(self) -> usize {
        match self {
            Self::Typed(dtype) => dtype.size(),
            Self::Other(kind) => kind.size(),
            Self::Bytes => 1,
        }
    }
}

/// A storage, or a part of one, whose values are outside the pickle.
#[derive(Clone, Debug)]
pub(crate) struct StorageRef {
    /// Its name.
    pub(crate) key: Text,
    /// Type of the elements.
    pub(crate) elements_type: Elements,
    /// Number of elements in the file.
    pub(crate) total: usize,
    /// Index of the first element that is part of it.
    pub(crate) start: usize,
    /// Number of elements that are part of it.
    pub(crate) elements: usize,
}

/// A tensor as a view of a storage, within its bounds.
#[derive(Clone, Debug)]
pub(crate) struct TensorRef {
    /// Number of the storage.
    pub(crate) storage: u32,
    /// Type of the elements.
    pub(crate) dtype: Dtype,
    /// Index of its first element in the storage.
    pub(crate) offset: usize,
    /// Size and stride of each dimension, in elements.
    pub(crate) dims: Box<[(usize, usize)]>,
}

fn number<T>(of: &mut Vec<T>, new: T, what: &'static str) -> Result<u32, PickleErrorKind> {
    if of.len() >= MAX_TENSORS {
        let limit = MAX_TENSORS;
        return Err(PickleErrorKind::TooMany { what, limit });
    }
    of.push(new);
    Ok(of.len() as u32 - 1)
}

impl Torch {
    /// The storage that a persistent id refers to: `('storage', type, key, location, elements)`,
    /// and in the older format a sixth, None or `(key of the view, start, elements)`.
    pub(super) fn storage(
        &mut self,
        heap: &Heap<Self>,
        pickle: &[u8],
        id: Object,
    ) -> Result<Object, PickleErrorKind> {
        let expected = "the persistent id of a storage";
        let Object::Tuple(parts) = id else {
            return Err(id.expected(expected));
        };
        let (storage_type, key, total, view) = match *heap.items(parts) {
            // A storage of numbers that are not known, or the source code of a network that is saved whole.
            [Object::Text(kind), skipped @ Object::Skipped(_), ..]
                if kind.is(pickle, "storage") || kind.is(pickle, "module") =>
            {
                return Ok(skipped);
            }
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
                return Err(PickleErrorKind::Unexpected {
                    expected,
                    got: "another tuple".to_owned(),
                });
            }
        };
        let name = key.bytes(pickle);
        if name.len() > MAX_KEY || !name.iter().all(u8::is_ascii_graphic) {
            return Err(PickleErrorKind::Unexpected {
                expected: "the key of a storage, which is a number",
                got: "another string".to_owned(),
            });
        }
        let total = total.size("the number of elements of a storage")?;
        let (start, elements) = match view {
            Object::None => (0, total),
            Object::Tuple(view) => match *heap.items(view) {
                [_, start, elements] => (
                    start.size("the start of a view of a storage")?,
                    elements.size("the number of elements of a view")?,
                ),
                _ => return Err(id.expected("a view of a storage")),
            },
            _ => return Err(view.expected("None or a view of a storage")),
        };
        if start.checked_add(elements).is_none_or(|end| end > total) {
            return Err(PickleErrorKind::Invalid(format!(
                "a view of elements {start} to {start} + {elements} of a storage with {total}"
            )));
        }
        let storage = StorageRef {
            key,
            elements_type: storage_type,
            total,
            start,
            elements,
        };
        let number = number(&mut self.storages, storage, "uses of storages")?;
        Ok(Object::Made(TorchObject::Storage(number)))
    }

    /// The tensor `(storage, offset, sizes, strides, ...)`; the type of its elements is the storage's
    /// if it has one.
    pub(super) fn tensor(
        &mut self,
        heap: &Heap<Self>,
        arguments: &[Object],
        dtype: Option<Dtype>,
        metadata: Option<Object>,
    ) -> Result<Object, PickleErrorKind> {
        let &[
            Object::Made(TorchObject::Storage(storage)),
            offset,
            sizes,
            strides,
            ..,
        ] = arguments
        else {
            return Err(PickleErrorKind::Unexpected {
                expected: "storage, offset, sizes and strides of a tensor",
                got: "something else".to_owned(),
            });
        };
        match metadata {
            None | Some(Object::None) => {}
            Some(Object::Dict(metadata)) if heap.items(metadata).is_empty() => {}
            Some(_) => return Ok(Object::Made(TorchObject::Unsupported(Unsupported::View))),
        }
        let storage_ref = &self.storages[storage as usize];
        let (dtype, elements) = match (storage_ref.elements_type, dtype) {
            (Elements::Other(kind), _) => {
                return Ok(Object::Made(TorchObject::Unsupported(kind)));
            }
            (Elements::Typed(own), None) => (own, storage_ref.elements),
            (Elements::Typed(own), Some(dtype)) if own == dtype => (own, storage_ref.elements),
            (Elements::Typed(own), Some(dtype)) => {
                let problem = format!("a tensor of {dtype} in a storage of {own}");
                return Err(PickleErrorKind::Invalid(problem));
            }
            (Elements::Bytes, Some(dtype)) => (dtype, storage_ref.elements / dtype.size()),
            (Elements::Bytes, None) => {
                return Err(PickleErrorKind::Invalid(
                    "a tensor of a storage without a type".to_owned(),
                ));
            }
        };
        let offset = offset.size("the offset of a tensor")?;
        let (Object::Tuple(sizes), Object::Tuple(strides)) = (sizes, strides) else {
            return Err(sizes.expected("sizes and strides of a tensor"));
        };
        let (sizes, strides) = (heap.items(sizes), heap.items(strides));
        if sizes.len() != strides.len() || sizes.len() > MAX_RANK {
            return Err(PickleErrorKind::Invalid(format!(
                "a tensor of {} sizes and {} strides: both must have the same number, at most {MAX_RANK}",
                sizes.len(),
                strides.len()
            )));
        }
        let dims = sizes.iter().zip(strides);
        let dims = dims.map(|(&dim, &stride)| {
            let dim = dim.size("a size of a tensor")?;
            Ok((dim, stride.size("a stride of a tensor")?))
        });
        let dims: Box<[_]> = dims.collect::<Result<_, PickleErrorKind>>()?;
        if !fits(&dims, offset, elements) {
            return Err(PickleErrorKind::Invalid(format!(
                "a tensor that exceeds its storage: sizes and strides {dims:?} from element {offset} of \
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
        Ok(Object::Made(TorchObject::Tensor(number)))
    }
}

/// Whether every element of a tensor is within a storage of this many elements.
fn fits(dims: &[(usize, usize)], offset: usize, elements: usize) -> bool {
    if dims.iter().any(|&(dim, _)| dim == 0) {
        return true;
    }
    let last = dims.iter().try_fold(offset, |last, &(dim, stride)| {
        last.checked_add((dim - 1).checked_mul(stride)?)
    });
    last.is_some_and(|last| last < elements)
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
