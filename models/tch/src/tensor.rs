//! Tensors between files of weights and libtorch.

use tch::{Device, Kind, Tensor};
use topk_weights::{Dtype, Tensor as Weight};

/// The tensor on the CPU with the values of an `f32` weight.
///
/// # Panics
/// If the weight has another type.
pub fn tensor_of(weight: &Weight) -> Tensor {
    assert_eq!(weight.dtype(), Dtype::F32);
    let shape: Vec<i64> = weight.shape().iter().map(|&dim| dim as i64).collect();
    Tensor::from_data_size(weight.bytes(), &shape, Kind::Float)
}

/// The values of a tensor of any type and device, as `f32`.
pub fn weight_of(tensor: &Tensor) -> Weight {
    let tensor = tensor.detach().to_device(Device::Cpu).to_kind(Kind::Float);
    let shape: Vec<usize> = tensor.size().iter().map(|&dim| dim as usize).collect();
    let mut bytes = vec![0; tensor.numel() * Dtype::F32.size()];
    tensor.contiguous().copy_data_u8(&mut bytes, tensor.numel());
    Weight::new(&shape, Dtype::F32, bytes).expect("the number of bytes is that of the shape")
}
