//! The pickles that state_dicts are: what of PyTorch they may ask for, and the tensors that they
//! describe.

mod global;
mod tensors;
mod torch;

pub(crate) use global::Global;
pub(crate) use tensors::{StorageRef, TensorRef};
pub(crate) use torch::{Thing, Torch};

/// Anything that such a pickle makes.
pub(crate) type Object = topk_pickle::Object<Torch>;

/// Such a pickle.
pub(crate) type Pickle<'a> = topk_pickle::Pickle<'a, Torch>;
