//! The losses of `topk-ops` for libtorch tensors, with autograd.

mod autograd;
mod elements;
mod kernel;
mod loss;
mod tensor_loss;

pub use loss::{TensorLossError, loss};
pub use tensor_loss::TensorLoss;
