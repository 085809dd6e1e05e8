use std::collections::{BTreeMap, HashMap};

use tch::nn::{Path, VarStore, init};
use tch::{Device, Kind, Tensor, no_grad};
use thiserror::Error;
use topk_weights::{Dtype, Tensor as Weight};

use crate::architecture::Architecture;
use crate::checkpoint::Checkpoint;
use crate::op::{Activation, Init, Node, Op, Parameter, Value};

/// What a network is used for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Mode {
    /// Training: batch norm computes with the statistics of the batch, which also update the running
    /// ones; dropout and stochastic depth draw from libtorch's generator.
    Train,
    /// Evaluation: batch norm computes with the running statistics; nothing is random.
    Eval,
}

/// A network in libtorch, made from an [`Architecture`].
#[derive(Debug)]
pub struct Network {
    architecture: Architecture,
    variables: VarStore,
    tensors: BTreeMap<String, Tensor>,
    /// For each node, the values that no node after it reads.
    spent: Vec<Vec<Value>>,
    /// For each node, whether it may overwrite what it reads.
    in_place: Vec<bool>,
}

/// A tensor is not a parameter of a network.
#[derive(Clone, Debug, Error, PartialEq)]
#[error("{architecture} has no parameter {name} of shape {shape:?} and type {dtype}")]
pub struct LoadError {
    architecture: String,
    name: String,
    shape: Vec<usize>,
    dtype: Dtype,
}

impl Network {
    /// A network with initial weights, drawn from libtorch's generator (`tch::manual_seed`).
    pub fn new(architecture: Architecture, device: Device) -> Self {
        Self::build(architecture, device, |parameter, path, name| {
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
            variable(parameter, path, name, init)
        })
    }

    /// A network with the weights of a checkpoint, which go over to it one by one: never are there two
    /// copies of all. Draws no numbers.
    pub fn of_checkpoint(checkpoint: Checkpoint, device: Device) -> Self {
        let architecture = checkpoint.architecture().clone();
        let mut weights = checkpoint.into_weights();
        Self::build(architecture, device, |parameter, path, name| {
            let mut made = variable(parameter, path, name, init::Init::Const(0.0));
            let weight = weights.remove(&parameter.name);
            let weight = weight.expect("a checkpoint has the weights of its network");
            no_grad(|| made.copy_(&tensor_of(&weight)));
            made
        })
    }

    fn build(
        architecture: Architecture,
        device: Device,
        mut variable: impl FnMut(&Parameter, &Path, &str) -> Tensor,
    ) -> Self {
        let variables = VarStore::new(device);
        let mut tensors = BTreeMap::new();
        for parameter in architecture.parameters() {
            let mut names: Vec<&str> = parameter.name.split('.').collect();
            let last = names.pop().expect("a name is not empty");
            let path = names
                .iter()
                .fold(variables.root(), |path, name| path.sub(*name));
            let tensor = variable(&parameter, &path, last);
            tensors.insert(parameter.name, tensor);
        }
        Self {
            spent: spent(&architecture),
            in_place: in_place(&architecture),
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

    /// The parameters and statistics themselves, by name. Those that learn require gradients.
    pub fn tensors(&self) -> &BTreeMap<String, Tensor> {
        &self.tensors
    }

    /// Scores `[N, classes]` of normalised images `[N, C, H, W]`.
    pub fn forward(&self, images: &Tensor, mode: Mode) -> Tensor {
        let nodes = self.architecture.nodes();
        // In the order of their places; without those that nothing reads any more.
        let mut values = vec![Some(images.shallow_clone())];
        for ((node, spent), &in_place) in nodes.iter().zip(&self.spent).zip(&self.in_place) {
            let made = {
                let read = |value: &Value| values[value.place()].as_ref();
                let inputs: Vec<&Tensor> = node.inputs.iter().filter_map(read).collect();
                self.compute(node, &inputs, mode, in_place)
            };
            values.push(Some(made));
            for value in spent {
                values[value.place()] = None;
            }
        }
        let scores = values.pop().flatten();
        scores.expect("nothing reads the scores, which the last node makes")
    }

    fn compute(&self, node: &Node, inputs: &[&Tensor], mode: Mode, in_place: bool) -> Tensor {
        let tensor = |name| &self.tensors[&node.parameter(name)];
        let x = inputs[0];
        match &node.op {
            &Op::Conv2d {
                stride,
                pads: [top, left, bottom, right],
                groups,
                bias,
                ..
            } => {
                let bias = bias.map(|_| tensor("bias"));
                let [top, left, bottom, right] = [top, left, bottom, right].map(|pad| pad as i64);
                let (padded, padding) = if (top, left) == (bottom, right) {
                    (x.shallow_clone(), [top, left])
                } else {
                    (x.constant_pad_nd([left, right, top, bottom]), [0, 0])
                };
                let stride = [stride as i64; 2];
                padded.conv2d(
                    tensor("weight"),
                    bias,
                    stride,
                    padding,
                    [1, 1],
                    groups as i64,
                )
            }
            Op::BatchNorm2d { settings, .. } => x.batch_norm(
                Some(tensor("weight")),
                Some(tensor("bias")),
                Some(tensor("running_mean")),
                Some(tensor("running_var")),
                mode == Mode::Train,
                settings.momentum,
                settings.eps,
                true,
            ),
            Op::Activation(activation) => match activation {
                Activation::Relu if in_place => x.shallow_clone().relu_(),
                Activation::Relu => x.relu(),
                Activation::Relu6 if in_place => x.shallow_clone().relu6_(),
                Activation::Relu6 => x.relu6(),
                Activation::Silu => x.silu(),
                Activation::Hardswish => x.hardswish(),
                Activation::Hardsigmoid => x.hardsigmoid(),
                Activation::Sigmoid => x.sigmoid(),
                Activation::Gelu => x.gelu("none"),
            },
            Op::MaxPool2d(pool) => x.max_pool2d(
                [pool.kernel as i64; 2],
                [pool.stride as i64; 2],
                [pool.padding as i64; 2],
                [1, 1],
                pool.ceil,
            ),
            Op::AvgPool2d(pool) => x.avg_pool2d(
                [pool.kernel as i64; 2],
                [pool.stride as i64; 2],
                [pool.padding as i64; 2],
                pool.ceil,
                true,
                None,
            ),
            Op::AdaptiveAvgPool2d { to, .. } => x.adaptive_avg_pool2d(to.map(|side| side as i64)),
            &Op::Flatten(start) => x.flatten(start as i64, -1),
            Op::Linear { .. } => x.linear(tensor("weight"), Some(tensor("bias"))),
            &Op::LayerNorm { features, eps } => {
                let (weight, bias) = (tensor("weight"), tensor("bias"));
                x.layer_norm([features as i64], Some(weight), Some(bias), eps, true)
            }
            Op::Permute(dims) => {
                let dims: Vec<i64> = dims.iter().map(|&dim| dim as i64).collect();
                x.permute(dims)
            }
            &Op::Dropout { p } => x.dropout(p, mode == Mode::Train),
            &Op::StochasticDepth { p } => match mode {
                Mode::Train => x * kept(x, p),
                Mode::Eval => x.shallow_clone(),
            },
            Op::Add => x + inputs[1],
            Op::Mul => x * inputs[1],
            Op::Concat => Tensor::cat(inputs, 1),
            Op::LayerScale { parameter, .. } => x * &self.tensors[parameter],
            Op::ClassToken { parameter, .. } => {
                let token = self.tensors[parameter].expand([x.size()[0], -1, -1], false);
                Tensor::cat(&[&token, x], 1)
            }
            Op::PositionEmbedding { parameter, .. } => x + &self.tensors[parameter],
            &Op::MultiheadAttention { heads, .. } => {
                let (weight, bias) = (tensor("in_proj_weight"), tensor("in_proj_bias"));
                let projected = x.linear(weight, Some(bias));
                // [N, tokens, 3 × heads × size] becomes three times [N, heads, tokens, size].
                let split = projected.unflatten(2, [3, heads as i64, -1]);
                let [query, key, value] = [0, 1, 2].map(|i| split.select(2, i).transpose(1, 2));
                let mask = None::<&Tensor>;
                let mixed = Tensor::scaled_dot_product_attention(
                    &query, &key, &value, mask, 0.0, false, None, false,
                );
                let (weight, bias) = (tensor("out_proj.weight"), tensor("out_proj.bias"));
                let mixed = mixed.transpose(1, 2).flatten(2, 3);
                mixed.linear(weight, Some(bias))
            }
            Op::FirstToken => x.select(1, 0),
        }
    }

    /// A copy of the parameters and statistics, by name.
    pub fn weights(&self) -> BTreeMap<String, Weight> {
        let weights = self.tensors.iter();
        weights
            .map(|(name, tensor)| (name.clone(), weight_of(tensor)))
            .collect()
    }

    /// The parameters and statistics, by name, one by one: never are there two copies of all.
    pub fn into_weights(self) -> BTreeMap<String, Weight> {
        let Self {
            variables, tensors, ..
        } = self;
        // It holds them too.
        drop(variables);
        let weights = tensors.into_iter();
        weights
            .map(|(name, tensor)| (name, weight_of(&tensor)))
            .collect()
    }

    /// Takes over weights by name, such as [`Architecture::matched`] gives them; parameters that are not
    /// among them stay.
    ///
    /// # Errors
    /// If one is not a parameter of this network, or has another shape or type; then none is taken over.
    pub fn load(&mut self, weights: &BTreeMap<String, Weight>) -> Result<(), LoadError> {
        let shapes: HashMap<_, _> = self.architecture.parameter_shapes().into_iter().collect();
        for (name, weight) in weights {
            let shape = shapes.get(name);
            if shape.is_none_or(|shape| shape != weight.shape()) || weight.dtype() != Dtype::F32 {
                return Err(LoadError {
                    architecture: self.architecture.name().to_owned(),
                    name: name.clone(),
                    shape: weight.shape().to_vec(),
                    dtype: weight.dtype(),
                });
            }
        }
        no_grad(|| {
            for (name, weight) in weights {
                self.tensors[name].shallow_clone().copy_(&tensor_of(weight));
            }
        });
        Ok(())
    }
}

/// A new variable, which learns if its parameter does.
fn variable(parameter: &Parameter, path: &Path, name: &str, init: init::Init) -> Tensor {
    let shape: Vec<i64> = parameter.shape.iter().map(|&dim| dim as i64).collect();
    if parameter.trainable {
        return path.var(name, &shape, init);
    }
    let tensor = path.zeros_no_train(name, &shape);
    no_grad(|| tensor.shallow_clone().init(init));
    tensor
}

/// The tensor on the CPU with the values of a weight in `f32`.
///
/// # Panics
/// If it has another type.
pub fn tensor_of(weight: &Weight) -> Tensor {
    assert_eq!(weight.dtype(), Dtype::F32);
    let shape: Vec<i64> = weight.shape().iter().map(|&dim| dim as i64).collect();
    Tensor::from_data_size(weight.bytes(), &shape, Kind::Float)
}

/// The values of a tensor in `f32`, whatever its type and device.
pub fn weight_of(tensor: &Tensor) -> Weight {
    let tensor = tensor.detach().to_device(Device::Cpu).to_kind(Kind::Float);
    let shape: Vec<usize> = tensor.size().iter().map(|&dim| dim as usize).collect();
    let mut bytes = vec![0; tensor.numel() * Dtype::F32.size()];
    tensor.contiguous().copy_data_u8(&mut bytes, tensor.numel());
    Weight::new(&shape, Dtype::F32, bytes).expect("the bytes are those of the shape")
}

/// What stochastic depth multiplies the samples of `x` with: 0 with probability p, or else 1 / (1 − p).
fn kept(x: &Tensor, p: f64) -> Tensor {
    let mut shape = vec![1; x.dim()];
    shape[0] = x.size()[0];
    let kept = Tensor::empty(shape, (x.kind(), x.device())).bernoulli_float_(1.0 - p);
    kept / (1.0 - p)
}

/// For each node, the values that it is the last to read.
fn spent(architecture: &Architecture) -> Vec<Vec<Value>> {
    let mut seen = vec![false; architecture.nodes().len() + 1];
    let mut spent: Vec<Vec<Value>> = architecture
        .nodes()
        .iter()
        .rev()
        .map(|node| {
            let inputs = node.inputs.iter().copied();
            inputs
                .filter(|value| !std::mem::replace(&mut seen[value.place()], true))
                .collect()
        })
        .collect();
    spent.reverse();
    spent
}

/// For each node, whether it may overwrite the value that it reads: if nothing else reads it, and the node
/// that made it needs no copy of it for the gradient. That saves the memory of one of the two, and the
/// time to have the system clear it.
fn in_place(architecture: &Architecture) -> Vec<bool> {
    let nodes = architecture.nodes();
    let mut readers = vec![0; nodes.len() + 1];
    let mut is_free = vec![false; nodes.len() + 1];
    for (place, node) in nodes.iter().enumerate() {
        for value in &node.inputs {
            readers[value.place()] += 1;
        }
        is_free[Value::of_node(place).place()] = matches!(
            node.op,
            Op::Conv2d { .. } | Op::BatchNorm2d { .. } | Op::Linear { .. } | Op::Add
        );
    }
    let may = |value: Value| readers[value.place()] == 1 && is_free[value.place()];
    nodes.iter().map(|node| may(node.inputs[0])).collect()
}
