//! The door from `topk-ops` to libtorch: losses of tensors with autograd, and the choice of device.

mod autograd;
mod device;
mod elements;
mod loss;
mod tensor_loss;

pub use device::{DeviceError, select_device};
pub use loss::{TensorLossError, loss};
pub use tensor_loss::TensorLoss;
