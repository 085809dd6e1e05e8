//! The door from `topk-ops` to libtorch: losses of tensors with autograd, and the choice of device.

mod device;
mod elements;
mod loss;

pub use device::{DeviceError, select_device};
pub use loss::{TensorLossError, loss};
