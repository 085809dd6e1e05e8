//! What happens to the gradients of an optimizer's parameters before a step.

use std::ffi::c_char;
use std::ptr;

use tch::{TchError, Tensor};
use torch_sys::C_tensor;

use crate::call::{check, tensor_pointers, tensor_result};
use crate::optimizer::Optimizer;

/// Norm of a unit of a parameter below which it counts as this in adaptive clipping; as in the paper of the method, and
/// in timm.
const LEAST_NORM: f64 = 1e-3;

unsafe extern "C" {
    fn topk_zero_grad(parameters: *const *const C_tensor, count: usize) -> *mut c_char;

    fn topk_gradient_norm(
        parameters: *const *const C_tensor,
        count: usize,
        result: *mut *mut C_tensor,
    ) -> *mut c_char;

    fn topk_scale_gradients(
        parameters: *const *const C_tensor,
        count: usize,
        factor: *const C_tensor,
    ) -> *mut c_char;

    fn topk_clamp_gradients(
        parameters: *const *const C_tensor,
        count: usize,
        limit: f64,
    ) -> *mut c_char;

    fn topk_clip_gradients_adaptively(
        parameters: *const *const C_tensor,
        count: usize,
        factor: f64,
        least: f64,
    ) -> *mut c_char;
}

impl Optimizer {
    /// Clears the gradients.
    ///
    /// # Errors
    /// If libtorch fails.
    pub fn zero_grad(&mut self) -> Result<(), TchError> {
        let parameters = tensor_pointers(self.parameters());
        // SAFETY: the array has this many live tensors; the C++ side catches exceptions.
        unsafe { check(topk_zero_grad(parameters.as_ptr(), parameters.len())) }
    }

    /// The Euclidean norm of all gradients together: a scalar on their device.
    ///
    /// # Errors
    /// If libtorch fails.
    pub fn gradient_norm(&self) -> Result<Tensor, TchError> {
        let parameters = tensor_pointers(self.parameters());
        let mut result = ptr::null_mut();
        // SAFETY: the array has this many live tensors; the C++ side catches exceptions and allocates a new tensor.
        unsafe {
            let error = topk_gradient_norm(parameters.as_ptr(), parameters.len(), &mut result);
            tensor_result(error, result)
        }
    }

    /// Multiplies all gradients by a scalar on their device.
    ///
    /// # Errors
    /// If libtorch fails.
    pub fn scale_gradients(&mut self, factor: &Tensor) -> Result<(), TchError> {
        let parameters = tensor_pointers(self.parameters());
        // SAFETY: the array has this many live tensors, and the factor is one; the C++ side catches exceptions.
        unsafe {
            check(topk_scale_gradients(
                parameters.as_ptr(),
                parameters.len(),
                factor.as_ptr(),
            ))
        }
    }

    /// Limits each element of the gradients to `[-limit, limit]`, as PyTorch's `clip_grad_value_`.
    ///
    /// # Errors
    /// If libtorch fails.
    pub fn clamp_gradients(&mut self, limit: f64) -> Result<(), TchError> {
        let parameters = tensor_pointers(self.parameters());
        // SAFETY: the array has this many live tensors; the C++ side catches exceptions.
        unsafe {
            check(topk_clamp_gradients(
                parameters.as_ptr(),
                parameters.len(),
                limit,
            ))
        }
    }

    /// Adaptive gradient clipping of the parameters with these indices, as timm's `adaptive_clip_grad`: the norm of the
    /// gradient of each output channel is limited to `factor` times that of its parameters.
    ///
    /// # Errors
    /// If libtorch fails.
    ///
    /// # Panics
    /// If an index is out of range.
    pub fn clip_gradients_adaptively(
        &mut self,
        indices: &[usize],
        factor: f64,
    ) -> Result<(), TchError> {
        let parameters = indices.iter().map(|&index| &self.parameters()[index]);
        let parameters = tensor_pointers(parameters);
        // SAFETY: the array has this many live tensors; the C++ side catches exceptions.
        unsafe {
            check(topk_clip_gradients_adaptively(
                parameters.as_ptr(),
                parameters.len(),
                factor,
                LEAST_NORM,
            ))
        }
    }
}
