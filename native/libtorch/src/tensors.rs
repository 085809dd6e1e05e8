use std::ffi::c_char;

use tch::{TchError, Tensor};
use torch_sys::C_tensor;

use crate::call::{check, tensor_pointers};

unsafe extern "C" {
    fn topk_lerp_all(
        averages: *const *const C_tensor,
        values: *const *const C_tensor,
        count: usize,
        weight: f64,
    ) -> *mut c_char;

    fn topk_lerp_all_by(
        averages: *const *const C_tensor,
        values: *const *const C_tensor,
        count: usize,
        weight: *const C_tensor,
    ) -> *mut c_char;

    fn topk_copy_all(
        to: *const *const C_tensor,
        from: *const *const C_tensor,
        count: usize,
    ) -> *mut c_char;
}

/// Linear interpolation of each tensor towards its partner: `averages += weight · (values − averages)`.
///
/// # Errors
/// If types or shapes differ.
///
/// # Panics
/// If the slices have different lengths.
pub fn lerp_all(averages: &[Tensor], values: &[Tensor], weight: f64) -> Result<(), TchError> {
    assert_eq!(averages.len(), values.len());
    let (averages, values) = (tensor_pointers(averages), tensor_pointers(values));
    // SAFETY: both arrays have this many live tensors; the C++ side catches exceptions.
    unsafe {
        check(topk_lerp_all(
            averages.as_ptr(),
            values.as_ptr(),
            averages.len(),
            weight,
        ))
    }
}

/// As [`lerp_all`], with a weight on the device: a scalar of the tensors' type, read when the device computes.
///
/// # Errors
/// If types or shapes differ.
///
/// # Panics
/// If the slices have different lengths.
pub fn lerp_all_by(
    averages: &[Tensor],
    values: &[Tensor],
    weight: &Tensor,
) -> Result<(), TchError> {
    assert_eq!(averages.len(), values.len());
    let (averages, values) = (tensor_pointers(averages), tensor_pointers(values));
    // SAFETY: both arrays have this many live tensors; the C++ side catches exceptions.
    unsafe {
        check(topk_lerp_all_by(
            averages.as_ptr(),
            values.as_ptr(),
            averages.len(),
            weight.as_ptr(),
        ))
    }
}

/// Copies each tensor of `from` into the one at the same index of `to`.
///
/// # Errors
/// If shapes differ.
///
/// # Panics
/// If the slices have different lengths.
pub fn copy_all(to: &[Tensor], from: &[Tensor]) -> Result<(), TchError> {
    assert_eq!(to.len(), from.len());
    let (to, from) = (tensor_pointers(to), tensor_pointers(from));
    // SAFETY: both arrays have this many live tensors; the C++ side catches exceptions.
    unsafe { check(topk_copy_all(to.as_ptr(), from.as_ptr(), to.len())) }
}
