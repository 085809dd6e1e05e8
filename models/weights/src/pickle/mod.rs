//! Pickles of state_dicts: the globals of PyTorch that they may name, and the tensors that they describe.

mod global;
mod tensors;
mod torch;

pub(crate) use global::Global;
pub(crate) use tensors::{StorageRef, TensorRef};
pub(crate) use torch::{Torch, TorchObject};

/// Any object in such a pickle.
pub(crate) type Object = topk_pickle::Object<Torch>;

/// Such a pickle.
pub(crate) type Pickle<'a> = topk_pickle::Pickle<'a, Torch>;
