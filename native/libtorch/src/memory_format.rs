use std::ffi::c_char;
use std::ptr;

use tch::{TchError, Tensor};
use torch_sys::C_tensor;

use crate::call::tensor_result;

unsafe extern "C" {
    fn topk_channels_last(tensor: *const C_tensor, result: *mut *mut C_tensor) -> *mut c_char;
}

/// The tensor `[N, C, H, W]` in the channels-last (NHWC) memory format, the fastest for 16-bit convolutions. Values and
/// indexing do not change.
///
/// # Errors
/// If the tensor does not have four dimensions, or memory is exhausted.
pub fn channels_last(tensor: &Tensor) -> Result<Tensor, TchError> {
    let mut result = ptr::null_mut();
    // SAFETY: the tensor is live during the call, which catches exceptions and allocates a new tensor.
    unsafe {
        let error = topk_channels_last(tensor.as_ptr(), &mut result);
        tensor_result(error, result)
    }
}
