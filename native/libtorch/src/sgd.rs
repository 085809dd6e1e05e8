use std::ffi::c_char;
use std::ptr;

use tch::{Kind, TchError, Tensor};
use torch_sys::C_tensor;

use crate::call::{made, outcome, pointers};

unsafe extern "C" {
    fn topk_sgd_step(
        parameters: *const *const C_tensor,
        momenta: *const *const C_tensor,
        count: usize,
        lr: f64,
        momentum: f64,
        weight_decay: f64,
        nesterov: bool,
        skip: *const C_tensor,
    ) -> *mut c_char;

    fn topk_clear_gradients(parameters: *const *const C_tensor, count: usize) -> *mut c_char;

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

/// What stochastic gradient descent does besides following the gradient.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SgdOptions {
    /// What remains of the velocity at each step.
    pub momentum: f64,
    /// Added to the gradient, times the parameter.
    pub weight_decay: f64,
    /// Whether a step looks ahead along the velocity.
    pub nesterov: bool,
}

/// `torch.optim.SGD`, in one pass over parameters, gradients and velocities for each step.
///
/// The velocities are all the state there is: [`velocities`](Self::velocities) are to be saved with the
/// parameters, and copied back.
#[derive(Debug)]
pub struct Sgd {
    parameters: Vec<Tensor>,
    velocities: Vec<Tensor>,
    options: SgdOptions,
}

impl Sgd {
    /// For these parameters, at rest.
    pub fn new(parameters: Vec<Tensor>, options: SgdOptions) -> Self {
        let velocities = parameters
            .iter()
            .map(|parameter| parameter.detach().zeros_like());
        Self {
            velocities: velocities.collect(),
            parameters,
            options,
        }
    }

    /// The parameters, as they were given.
    pub fn parameters(&self) -> &[Tensor] {
        &self.parameters
    }

    /// The velocity of each parameter, with its shape.
    pub fn velocities(&self) -> &[Tensor] {
        &self.velocities
    }

    /// Forgets the gradients.
    ///
    /// # Errors
    /// Those of libtorch.
    pub fn clear_gradients(&mut self) -> Result<(), TchError> {
        let parameters = pointers(&self.parameters);
        // SAFETY: so many living tensors; C++ catches exceptions.
        unsafe { outcome(topk_clear_gradients(parameters.as_ptr(), parameters.len())) }
    }

    /// The Euclidean norm of all gradients as one vector: a scalar on their device.
    ///
    /// # Errors
    /// Those of libtorch.
    pub fn gradient_norm(&self) -> Result<Tensor, TchError> {
        let parameters = pointers(&self.parameters);
        let mut result = ptr::null_mut();
        // SAFETY: so many living tensors; C++ catches exceptions and makes a new tensor.
        unsafe {
            let error = topk_gradient_norm(parameters.as_ptr(), parameters.len(), &mut result);
            made(error, result)
        }
    }

    /// Multiplies all gradients with a scalar on their device.
    ///
    /// # Errors
    /// Those of libtorch.
    pub fn scale_gradients(&mut self, factor: &Tensor) -> Result<(), TchError> {
        let parameters = pointers(&self.parameters);
        // SAFETY: so many living tensors; C++ catches exceptions.
        unsafe {
            outcome(topk_scale_gradients(
                parameters.as_ptr(),
                parameters.len(),
                factor.as_ptr(),
            ))
        }
    }

    /// Makes a step of this learning rate, unless `skip`, a scalar `f32` on the parameters' device, is 1.
    /// Parameters without a gradient stay.
    ///
    /// # Errors
    /// Those of libtorch.
    ///
    /// # Panics
    /// If `skip` is not an `f32`.
    pub fn step(&mut self, lr: f64, skip: &Tensor) -> Result<(), TchError> {
        assert_eq!(skip.kind(), Kind::Float);
        let (parameters, velocities) = (pointers(&self.parameters), pointers(&self.velocities));
        let SgdOptions {
            momentum,
            weight_decay,
            nesterov,
        } = self.options;
        // SAFETY: as many living tensors on each side; C++ catches exceptions.
        unsafe {
            outcome(topk_sgd_step(
                parameters.as_ptr(),
                velocities.as_ptr(),
                parameters.len(),
                lr,
                momentum,
                weight_decay,
                nesterov,
                skip.as_ptr(),
            ))
        }
    }
}
