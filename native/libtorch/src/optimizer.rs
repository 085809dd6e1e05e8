use std::ffi::c_char;
use std::ptr;

use tch::{Kind, TchError, Tensor};
use torch_sys::C_tensor;

use crate::call::{check, tensor_pointers};

/// `TopkGroup` of optimizers.cpp.
#[repr(C)]
struct Group {
    parameters: *const *const C_tensor,
    first: *const *const C_tensor,
    second: *const *const C_tensor,
    steps: *const *const C_tensor,
    count: usize,
    lr: f64,
    lr_tensor: *const C_tensor,
    weight_decay: f64,
    skip: *const C_tensor,
}

unsafe extern "C" {
    fn topk_sgd_step(group: *const Group, momentum: f64, nesterov: bool) -> *mut c_char;

    fn topk_adam_step(
        group: *const Group,
        beta1: f64,
        beta2: f64,
        eps: f64,
        decoupled: bool,
    ) -> *mut c_char;

    fn topk_rmsprop_step(group: *const Group, alpha: f64, eps: f64, momentum: f64) -> *mut c_char;

    fn topk_lamb_step(
        group: *const Group,
        beta1: f64,
        beta2: f64,
        eps: f64,
        norm: *const C_tensor,
        max_norm: f64,
    ) -> *mut c_char;
}

/// How an [`Optimizer`] computes a step, with the settings that are the same for all parameters.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Algorithm {
    /// `torch.optim.SGD`, with the fused kernel.
    Sgd {
        /// Fraction of the momentum buffer that is kept per step. With 0, the buffers are not used.
        momentum: f64,
        /// Whether to use Nesterov momentum.
        nesterov: bool,
    },
    /// `torch.optim.Adam` or `AdamW`, with the fused kernel.
    Adam {
        /// Decay of the averages of the gradient and of its square.
        betas: [f64; 2],
        /// Added to the denominator.
        eps: f64,
        /// Whether the weight decay is that of `AdamW`, which does not pass through the averages.
        decoupled: bool,
    },
    /// `torch.optim.RMSprop`.
    RmsProp {
        /// Decay of the average of the gradient's square.
        alpha: f64,
        /// Added to the denominator.
        eps: f64,
        /// Fraction of the momentum buffer that is kept per step. With 0, the buffers are not used.
        momentum: f64,
    },
    /// LAMB as timm's `Lamb` computes it by default: parameters without weight decay are not adapted.
    Lamb {
        /// Decay of the averages of the gradient and of its square.
        betas: [f64; 2],
        /// Added to the denominator.
        eps: f64,
        /// Norm of all gradients above which they are divided by it.
        max_norm: f64,
    },
}

impl Algorithm {
    /// PyTorch's names of the state tensors that each parameter has.
    pub fn state_names(&self) -> &'static [&'static str] {
        match self {
            Self::Sgd { .. } => &["momentum_buffer"],
            Self::Adam { .. } | Self::Lamb { .. } => &["exp_avg", "exp_avg_sq"],
            Self::RmsProp { .. } => &["square_avg", "momentum_buffer"],
        }
    }

    fn counts_steps(&self) -> bool {
        matches!(self, Self::Adam { .. } | Self::Lamb { .. })
    }
}

/// What may differ between parameters.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ParameterOptions {
    /// Weight decay: this factor times the parameter is added to the gradient, or, where it is decoupled, times the
    /// learning rate subtracted from the parameter.
    pub weight_decay: f64,
    /// Factor of the learning rate.
    pub lr_scale: f64,
}

impl ParameterOptions {
    /// Options with this weight decay and the whole learning rate.
    pub fn new(weight_decay: f64) -> Self {
        Self {
            weight_decay,
            lr_scale: 1.0,
        }
    }
}

/// An optimizer with PyTorch's results, whose whole [state](Self::state) can be saved and restored.
///
/// Each group of parameters with the same options is updated together.
#[derive(Debug)]
pub struct Optimizer {
    algorithm: Algorithm,
    parameters: Vec<Tensor>,
    /// One list of tensors for each of the [names](Algorithm::state_names).
    states: Vec<Vec<Tensor>>,
    /// Number of steps of each parameter, a vector of `f32` on their device, and its elements.
    steps: Option<(Tensor, Vec<Tensor>)>,
    /// Indices of parameters with the same options.
    groups: Vec<(ParameterOptions, Vec<usize>)>,
}

impl Optimizer {
    /// An optimizer of these parameters, all with the same weight decay and learning rate.
    pub fn new(parameters: Vec<Tensor>, algorithm: Algorithm, weight_decay: f64) -> Self {
        let options = vec![ParameterOptions::new(weight_decay); parameters.len()];
        Self::with_options(parameters, algorithm, &options)
    }

    /// An optimizer of these parameters, each with options of its own.
    ///
    /// # Panics
    /// If the lengths differ.
    pub fn with_options(
        parameters: Vec<Tensor>,
        algorithm: Algorithm,
        options: &[ParameterOptions],
    ) -> Self {
        assert_eq!(parameters.len(), options.len());
        let zeros = || {
            let zeros = parameters.iter().map(|p| p.detach().zeros_like());
            zeros.collect()
        };
        let states = algorithm.state_names().iter().map(|_| zeros()).collect();
        let steps = algorithm.counts_steps().then(|| {
            let device = parameters.first().map_or(tch::Device::Cpu, Tensor::device);
            let steps = Tensor::zeros([parameters.len() as i64], (Kind::Float, device));
            let each = (0..parameters.len()).map(|i| steps.get(i as i64)).collect();
            (steps, each)
        });
        let mut groups: Vec<(ParameterOptions, Vec<usize>)> = Vec::new();
        for (index, &options) in options.iter().enumerate() {
            match groups.iter_mut().find(|(of_group, _)| *of_group == options) {
                Some((_, indices)) => indices.push(index),
                None => groups.push((options, vec![index])),
            }
        }
        Self {
            algorithm,
            states,
            steps,
            groups,
            parameters,
        }
    }

    /// How steps are computed.
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The parameters, in the order in which they were given.
    pub fn parameters(&self) -> &[Tensor] {
        &self.parameters
    }

    /// The state tensors of the parameters, each with its parameter's shape, under PyTorch's names. With the
    /// [number of steps](Self::steps), they are the whole state: save them with the parameters, and copy them back to
    /// resume.
    pub fn state(&self) -> impl Iterator<Item = (&'static str, &[Tensor])> {
        let names = self.algorithm.state_names().iter().copied();
        names.zip(self.states.iter().map(Vec::as_slice))
    }

    /// Number of steps of each parameter, a vector of `f32` on their device, for algorithms whose steps depend on it.
    pub fn steps(&self) -> Option<&Tensor> {
        self.steps.as_ref().map(|(steps, _)| steps)
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
        self.step_at(lr, None, skip)
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
        self.step_at(1.0, Some(lr), skip)
    }

    fn step_at(
        &mut self,
        lr: f64,
        lr_tensor: Option<&Tensor>,
        skip: &Tensor,
    ) -> Result<(), TchError> {
        assert_eq!(skip.kind(), Kind::Float);
        let norm = match self.algorithm {
            Algorithm::Lamb { .. } => Some(self.gradient_norm()?),
            _ => None,
        };
        for (options, indices) in &self.groups {
            let of_group =
                |tensors: &[Tensor]| tensor_pointers(indices.iter().map(|&index| &tensors[index]));
            let parameters = of_group(&self.parameters);
            let states: Vec<_> = self.states.iter().map(|state| of_group(state)).collect();
            let state = |index: usize| {
                states
                    .get(index)
                    .map_or(ptr::null(), |state| state.as_ptr())
            };
            let steps = self.steps.as_ref().map(|(_, each)| of_group(each));
            let group = Group {
                parameters: parameters.as_ptr(),
                first: state(0),
                second: state(1),
                steps: steps.as_ref().map_or(ptr::null(), |steps| steps.as_ptr()),
                count: parameters.len(),
                lr: lr * options.lr_scale,
                lr_tensor: lr_tensor.map_or(ptr::null(), Tensor::as_ptr),
                weight_decay: options.weight_decay,
                skip: skip.as_ptr(),
            };
            // SAFETY: each array of the group is null or has `count` live tensors, `lr_tensor` is null or a live tensor, as
            // are `skip` and `norm`; the C++ side catches exceptions.
            unsafe {
                check(match self.algorithm {
                    Algorithm::Sgd { momentum, nesterov } => {
                        topk_sgd_step(&group, momentum, nesterov)
                    }
                    Algorithm::Adam {
                        betas: [beta1, beta2],
                        eps,
                        decoupled,
                    } => topk_adam_step(&group, beta1, beta2, eps, decoupled),
                    Algorithm::RmsProp {
                        alpha,
                        eps,
                        momentum,
                    } => topk_rmsprop_step(&group, alpha, eps, momentum),
                    Algorithm::Lamb {
                        betas: [beta1, beta2],
                        eps,
                        max_norm,
                    } => {
                        let norm = norm.as_ref().map_or(ptr::null(), Tensor::as_ptr);
                        topk_lamb_step(&group, beta1, beta2, eps, norm, max_norm)
                    }
                })?;
            }
        }
        Ok(())
    }
}
