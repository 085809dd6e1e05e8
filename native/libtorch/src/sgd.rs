use std::ffi::c_char;
use std::ptr;

use tch::{Kind, TchError, Tensor};
use torch_sys::C_tensor;

use crate::call::{check, tensor_pointers, tensor_result};

unsafe extern "C" {
    fn topk_sgd_step(
        parameters: *const *const C_tensor,
        momentum_buffers: *const *const C_tensor,
        count: usize,
        lr: f64,
        lr_tensor: *const C_tensor,
        momentum: f64,
        weight_decay: f64,
        nesterov: bool,
        skip: *const C_tensor,
    ) -> *mut c_char;

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
}

/// Hyperparameters of SGD other than the learning rate.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SgdOptions {
    /// Momentum factor: the fraction of the momentum buffer kept per step. With 0, the buffers are not used.
    pub momentum: f64,
    /// Weight decay: this factor times the parameter is added to the gradient.
    pub weight_decay: f64,
    /// Whether to use Nesterov momentum.
    pub nesterov: bool,
}

/// `torch.optim.SGD` with the fused kernel: one pass over parameters, gradients and momentum buffers per step.
///
/// The [momentum buffers](Self::momentum_buffers) are the whole state: save them with the parameters, and copy them
/// back to resume.
#[derive(Debug)]
pub struct Sgd {
    parameters: Vec<Tensor>,
    momentum_buffers: Vec<Tensor>,
    options: SgdOptions,
}

impl Sgd {
    /// An optimizer of these parameters, with momentum buffers of zeros.
    pub fn new(parameters: Vec<Tensor>, options: SgdOptions) -> Self {
        let momentum_buffers = parameters
            .iter()
            .map(|parameter| parameter.detach().zeros_like());
        Self {
            momentum_buffers: momentum_buffers.collect(),
            parameters,
            options,
        }
    }

    /// The parameters, in the order of [`new`](Self::new).
    pub fn parameters(&self) -> &[Tensor] {
        &self.parameters
    }

    /// The momentum buffer of each parameter, with its shape.
    pub fn momentum_buffers(&self) -> &[Tensor] {
        &self.momentum_buffers
    }

    /// Clears the gradients.
    ///
    /// # Errors
    /// If libtorch fails.
    pub fn zero_grad(&mut self) -> Result<(), TchError> {
        let parameters = tensor_pointers(&self.parameters);
        // SAFETY: the array has this many live tensors; the C++ side catches exceptions.
        unsafe { check(topk_zero_grad(parameters.as_ptr(), parameters.len())) }
    }

    /// The Euclidean norm of all gradients together: a scalar on their device.
    ///
    /// # Errors
    /// If libtorch fails.
    pub fn gradient_norm(&self) -> Result<Tensor, TchError> {
        let parameters = tensor_pointers(&self.parameters);
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
        let parameters = tensor_pointers(&self.parameters);
        // SAFETY: the array has this many live tensors; the C++ side catches exceptions.
        unsafe {
            check(topk_scale_gradients(
                parameters.as_ptr(),
                parameters.len(),
                factor.as_ptr(),
            ))
        }
    }

    /// Makes a step with this learning rate, unless `skip`, an `f32` scalar on the parameters' device, is 1.
    /// Parameters without a gradient do not change.
    ///
    /// # Errors
    /// If libtorch fails.
    ///
    /// # Panics
    /// If `skip` is not an `f32`.
    pub fn step(&mut self, lr: f64, skip: &Tensor) -> Result<(), TchError> {
        self.step_at(lr, ptr::null(), skip)
    }

    /// As [`step`](Self::step), with a learning rate on the parameters' device, an `f32` scalar that is read when the
    /// device makes the step. So a captured step can be repeated with another learning rate.
    ///
    /// # Errors
    /// If libtorch fails.
    ///
    /// # Panics
    /// If `lr` or `skip` is not an `f32`.
    pub fn step_by(&mut self, lr: &Tensor, skip: &Tensor) -> Result<(), TchError> {
        assert_eq!(lr.kind(), Kind::Float);
        self.step_at(0.0, lr.as_ptr(), skip)
    }

    fn step_at(
        &mut self,
        lr: f64,
        lr_tensor: *const C_tensor,
        skip: &Tensor,
    ) -> Result<(), TchError> {
        assert_eq!(skip.kind(), Kind::Float);
        let (parameters, momentum_buffers) = (
            tensor_pointers(&self.parameters),
            tensor_pointers(&self.momentum_buffers),
        );
        let SgdOptions {
            momentum,
            weight_decay,
            nesterov,
        } = self.options;
        // SAFETY: both arrays have this many live tensors, and `lr_tensor` is null or a live tensor; the C++ side catches
        // exceptions.
        unsafe {
            check(topk_sgd_step(
                parameters.as_ptr(),
                momentum_buffers.as_ptr(),
                parameters.len(),
                lr,
                lr_tensor,
                momentum,
                weight_decay,
                nesterov,
                skip.as_ptr(),
            ))
        }
    }
}
