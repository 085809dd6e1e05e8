//! What `torch.save` writes: a pickle of dictionaries and tensors, and the values of the tensors
//! beside it.

mod archive;
mod find;
mod legacy;
mod write;

use std::borrow::Cow;
use std::collections::BTreeMap;

use topk_pickle::PickleFault;

use crate::error::FormatError;
use crate::pickle::{Pickle, StorageRef, TensorRef};
use crate::state_dict::StateDict;
use crate::tensor::{Dtype, Tensor, byte_len};

pub(crate) use archive::{is_zip, read as read_zip};
pub(crate) use legacy::{is_legacy, read as read_legacy};
pub(crate) use write::write;

/// How many times its own size the tensors in a storage may have together, for some share their
/// values or repeat them.
const MAX_SHARES: usize = 4;

/// What they may have in any case.
const FREE_BYTES: usize = 1024;

/// Where the values of tensors are.
trait Storages {
    /// All bytes of a storage, as many as the pickle says.
    fn read(&mut self, key: &str, storage: &StorageRef) -> Result<Cow<'_, [u8]>, FormatError>;
}

/// The state_dict that a pickle describes.
fn state_dict(pickle: &Pickle, storages: &mut impl Storages) -> Result<StateDict, FormatError> {
    let found = find::find(pickle)?;
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
            if (storage.dtype, storage.total) != (first.dtype, first.total) {
                return Err(FormatError::Storage {
                    key: key.into_owned(),
                    fault: "is mentioned with different types or sizes".to_owned(),
                });
            }
            let shape: Vec<usize> = tensor.dims.iter().map(|&(dim, _)| dim).collect();
            let len = byte_len(&shape, tensor.dtype).filter(|&len| len <= budget);
            let Some(len) = len else {
                return Err(FormatError::Storage {
                    fault: format!(
                        "of {} bytes is claimed by more than {MAX_SHARES} times as many of tensors, \
                         such as {name} of shape {shape:?}",
                        bytes.len()
                    ),
                    key: key.into_owned(),
                });
            };
            budget -= len;
            let size = storage.dtype.map_or(1, Dtype::size);
            let values = &bytes[storage.start * size..][..storage.elements * size];
            let tensor = Tensor::new(&shape, tensor.dtype, gather(values, tensor, len))
                .expect("as many bytes as the shape has");
            tensors.insert(name, tensor);
        }
    }
    Ok(StateDict {
        tensors,
        metadata: found.metadata,
    })
}

/// The elements of a tensor, row-major. They lie in the storage, and take `len` bytes.
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
        // On to the next, the last dimension first.
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
    let size = storage.dtype.map_or(1, Dtype::size);
    let len = storage.total.checked_mul(size);
    len.ok_or_else(|| FormatError::Storage {
        key: key.to_owned(),
        fault: format!("cannot have {} elements", storage.total),
    })
}

/// That something in a pickle is not what it should be.
fn unexpected(expected: &'static str, got: String) -> FormatError {
    FormatError::Pickle {
        at: 0,
        fault: PickleFault::Unexpected { expected, got },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
