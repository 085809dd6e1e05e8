use std::collections::BTreeMap;

use tch::nn::{VarStore, init};
use tch::{Device, Kind, Tensor, no_grad};

use crate::architecture::{Architecture, BATCH_NORM_EPS, BATCH_NORM_MOMENTUM, Init, Op, Step};
use crate::checkpoint::{Checkpoint, CheckpointError, Weight};

/// What batch norm computes with.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Mode {
    /// The statistics of the batch, which also update the running ones.
    Train,
    /// The running statistics.
    Eval,
}

/// A network in libtorch, made from an [`Architecture`].
#[derive(Debug)]
pub struct Network {
    architecture: Architecture,
    variables: VarStore,
    tensors: BTreeMap<String, Tensor>,
}

impl Network {
    /// A network with initial weights, drawn from libtorch's generator (`tch::manual_seed`).
    pub fn new(architecture: Architecture, device: Device) -> Self {
        let variables = VarStore::new(device);
        let mut tensors = BTreeMap::new();
        for parameter in architecture.parameters() {
            let init = match parameter.init {
                Init::Constant(value) => init::Init::Const(value),
                Init::Normal { std } => init::Init::Randn {
                    mean: 0.0,
                    stdev: std,
                },
                Init::Uniform { bound } => init::Init::Uniform {
                    lo: -bound,
                    up: bound,
                },
            };
            let shape: Vec<i64> = parameter.shape.iter().map(|&dim| dim as i64).collect();
            let mut names: Vec<&str> = parameter.name.split('.').collect();
            let last = names.pop().expect("a name is not empty");
            let path = names
                .iter()
                .fold(variables.root(), |path, name| path.sub(*name));
            let tensor = if parameter.trainable {
                path.var(last, &shape, init)
            } else {
                let tensor = path.zeros_no_train(last, &shape);
                no_grad(|| tensor.shallow_clone().init(init));
                tensor
            };
            tensors.insert(parameter.name, tensor);
        }
        Self {
            architecture,
            variables,
            tensors,
        }
    }

    /// What the network was made from.
    pub fn architecture(&self) -> &Architecture {
        &self.architecture
    }

    /// The variables, for an optimizer.
    pub fn variables(&self) -> &VarStore {
        &self.variables
    }

    /// Scores `[N, classes]` of normalised images `[N, C, H, W]`.
    pub fn forward(&self, images: &Tensor, mode: Mode) -> Tensor {
        let steps = self.architecture.steps().iter();
        steps.fold(images.shallow_clone(), |value, step| {
            self.step(step, &value, mode)
        })
    }

    fn step(&self, step: &Step, x: &Tensor, mode: Mode) -> Tensor {
        let tensor = |name| &self.tensors[&step.parameter(name)];
        match step.op {
            Op::Conv2d { padding, .. } => {
                let padding = padding as i64;
                x.conv2d(tensor("weight"), None::<&Tensor>, [1], [padding], [1], 1)
            }
            Op::BatchNorm2d { .. } => x.batch_norm(
                Some(tensor("weight")),
                Some(tensor("bias")),
                Some(tensor("running_mean")),
                Some(tensor("running_var")),
                mode == Mode::Train,
                BATCH_NORM_MOMENTUM,
                BATCH_NORM_EPS,
                true,
            ),
            Op::Relu => x.relu(),
            Op::MaxPool2d { kernel } => x.max_pool2d_default(kernel as i64),
            Op::AvgPool2d { kernel } => {
                // `avg_pool2d_default` would divide by 1, not by the number of values.
                let sides = [kernel as i64; 2];
                x.avg_pool2d(sides, sides, [0, 0], false, true, None)
            }
            Op::Flatten => x.flatten(1, -1),
            Op::Linear { .. } => x.linear(tensor("weight"), Some(tensor("bias"))),
        }
    }

    /// A copy of the parameters and statistics, by name.
    pub fn weights(&self) -> BTreeMap<String, Weight> {
        self.tensors
            .iter()
            .map(|(name, tensor)| {
                let tensor = tensor.detach().to_device(Device::Cpu).to_kind(Kind::Float);
                let shape = tensor.size().iter().map(|&dim| dim as usize).collect();
                let mut values = vec![0.0; tensor.numel()];
                tensor.contiguous().copy_data(&mut values, tensor.numel());
                (name.clone(), Weight { shape, values })
            })
            .collect()
    }

    /// Takes over the weights of a checkpoint.
    ///
    /// # Errors
    /// If they are not exactly the parameters of this network; then none is taken over.
    pub fn load(&mut self, checkpoint: &Checkpoint) -> Result<(), CheckpointError> {
        checkpoint.check(&self.architecture)?;
        no_grad(|| {
            for (name, tensor) in &mut self.tensors {
                let Weight { shape, values } = &checkpoint.weights[name];
                let shape: Vec<i64> = shape.iter().map(|&dim| dim as i64).collect();
                tensor.copy_(&Tensor::from_slice(values).reshape(shape));
            }
        });
        Ok(())
    }
}
