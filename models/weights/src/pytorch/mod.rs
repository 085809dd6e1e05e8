//! Files of `torch.save`: a pickle of dictionaries and tensors, and the values of the tensors beside it.

mod archive;
mod find;
mod legacy;
mod write;

use std::borrow::Cow;
use std::collections::BTreeMap;

use topk_pickle::PickleErrorKind;

use crate::error::FormatError;
use crate::loaded::Loaded;
use crate::pickle::{Pickle, StorageRef, TensorRef};
use crate::state_dict::StateDict;
use crate::tensor::{Tensor, byte_len};

pub(crate) use archive::{is_zip, read as read_zip};
pub(crate) use legacy::{is_legacy, read as read_legacy};
pub(crate) use write::write;

use find::{Found, find};

/// Maximum total size of the tensors in a storage, relative to its own size: tensors may share or repeat
/// values.
const MAX_SHARES: usize = 4;

/// Number of bytes that they may always have.
const FREE_BYTES: usize = 1024;

/// Source of the values of tensors.
trait Storages {
    /// All bytes of a storage; their number is the one in the pickle.
    fn read(&mut self, key: &str, storage: &StorageRef) -> Result<Cow<'_, [u8]>, FormatError>;
}

/// The state_dict that was found in a pickle.
fn state_dict(
    found: Found,
    pickle: &Pickle,
    storages: &mut impl Storages,
) -> Result<Loaded, FormatError> {
    let mut by_storage: BTreeMap<Cow<str>, Vec<(String, &TensorRef)>> = BTreeMap::new();
    for (name, tensor) in found.tensors {
        let tensor = &pickle.made.tensors[tensor as usize];
        let storage = &pickle.made.storages[tensor.storage as usize];
        let key = storage.key.get(pickle.bytes);
        by_storage.entry(key).or_default().push((name, tensor));
    }
    let mut tensors = BTreeMap::new();
    for (key, views) in by_storage {
        let storage = |tensor: &TensorRef| &pickle.made.storages[tensor.storage as usize];
        let first = storage(views[0].1);
        let bytes = storages.read(&key, first)?;
        let mut budget = MAX_SHARES * bytes.len() + FREE_BYTES;
        for (name, tensor) in views {
            let storage = storage(tensor);
            if (storage.elements_type, storage.total) != (first.elements_type, first.total) {
                return Err(FormatError::Storage {
                    key: key.into_owned(),
                    problem: "is used with different types or sizes".to_owned(),
                });
            }
            let shape: Vec<usize> = tensor.dims.iter().map(|&(dim, _)| dim).collect();
            let len = byte_len(&shape, tensor.dtype).filter(|&len| len <= budget);
            let Some(len) = len else {
                return Err(FormatError::Storage {
                    problem: format!(
                        "has {} bytes, but its tensors need more than {MAX_SHARES} times that, {name} of \
                         shape {shape:?} among them",
                        bytes.len()
                    ),
                    key: key.into_owned(),
                });
            };
            budget -= len;
            let size = storage.elements_type.size();
            let values = &bytes[storage.start * size..][..storage.elements * size];
            let tensor = Tensor::new(&shape, tensor.dtype, gather(values, tensor, len))
                .expect("the length is that of the shape");
            tensors.insert(name, tensor);
        }
    }
    Ok(Loaded {
        weights: StateDict {
            tensors,
            metadata: found.metadata,
        },
        notes: found.notes,
    })
}

/// The elements of a tensor, row-major: `len` bytes that are within the storage.
fn gather(storage: &[u8], tensor: &TensorRef, len: usize) -> Vec<u8> {
    if len == 0 {
        return Vec::new();
    }
    let size = tensor.dtype.size();
    if contiguous(&tensor.dims) {
        return storage[tensor.offset * size..][..len].to_vec();
    }
    let mut bytes = Vec::with_capacity(len);
    let mut index = vec![0; tensor.dims.len()];
    let mut element = tensor.offset;
    loop {
        bytes.extend_from_slice(&storage[element * size..][..size]);
        // Advance to the next element, the last dimension fastest.
        let mut dim = tensor.dims.len();
        loop {
            if dim == 0 {
                return bytes;
            }
            dim -= 1;
            let (count, stride) = tensor.dims[dim];
            index[dim] += 1;
            if index[dim] < count {
                element += stride;
                break;
            }
            element -= stride * (count - 1);
            index[dim] = 0;
        }
    }
}

fn contiguous(dims: &[(usize, usize)]) -> bool {
    let mut expected = 1;
    dims.iter().rev().all(|&(dim, stride)| {
        let fits = dim == 1 || stride == expected;
        expected *= dim;
        fits
    })
}

/// Bytes of a storage.
fn storage_len(key: &str, storage: &StorageRef) -> Result<usize, FormatError> {
    let len = storage.total.checked_mul(storage.elements_type.size());
    len.ok_or_else(|| FormatError::Storage {
        key: key.to_owned(),
        problem: format!("cannot have {} elements", storage.total),
    })
}

/// The error that a pickle holds something unexpected.
fn unexpected(expected: &'static str, got: String) -> FormatError {
    FormatError::Pickle {
        offset: 0,
        problem: PickleErrorKind::Unexpected { expected, got },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tensor::Dtype;

    #[test]
    fn views_are_gathered_row_major() {
        let storage: Vec<u8> = (0..12).collect();
        let gather = |offset, dims: &[(usize, usize)]| {
            let tensor = TensorRef {
                storage: 0,
                dtype: Dtype::U8,
                offset,
                dims: dims.into(),
            };
            gather(
                &storage,
                &tensor,
                dims.iter().map(|&(dim, _)| dim).product(),
            )
        };
        assert_eq!(gather(2, &[]), [2]);
        assert_eq!(gather(1, &[(2, 3), (3, 1)]), [1, 2, 3, 4, 5, 6]);
        assert_eq!(gather(0, &[(3, 1), (2, 6)]), [0, 6, 1, 7, 2, 8]);
        assert_eq!(gather(11, &[(1, 999), (3, 0)]), [11, 11, 11]);
        assert_eq!(gather(0, &[(2, 4), (1, 50), (2, 2)]), [0, 2, 4, 6]);
        assert!(gather(5, &[(0, 1), (3, 1)]).is_empty());
    }
}
