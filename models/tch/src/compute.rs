//! Each operation in libtorch.

use std::collections::BTreeMap;

use tch::Tensor;
use topk_models::op::{Activation, BatchNorm, Node, Op, Pool};

use crate::network::Mode;
use crate::sync_batch_norm::{BatchNormTensors, SyncBatchNorm};

/// One operation in a forward pass.
pub(crate) struct Operation<'a> {
    pub(crate) node: &'a Node,
    /// All parameters and statistics of the network, by name.
    pub(crate) tensors: &'a BTreeMap<String, Tensor>,
    pub(crate) mode: Mode,
    /// Whether it may overwrite its input.
    pub(crate) in_place: bool,
    pub(crate) sync_batch_norm: Option<&'a dyn SyncBatchNorm>,
}

impl Operation<'_> {
    /// The value of the node, from those of its inputs.
    pub(crate) fn compute(&self, inputs: &[&Tensor]) -> Tensor {
        let x = inputs[0];
        match &self.node.op {
            Op::Conv2d { .. } => self.conv2d(x),
            Op::BatchNorm2d { settings, .. } => self.batch_norm(x, *settings),
            &Op::LayerNorm { features, eps } => {
                let [weight, bias] = ["weight", "bias"].map(|name| Some(self.parameter(name)));
                x.layer_norm([features as i64], weight, bias, eps, true)
            }
            Op::Activation(activation) => self.activation(*activation, x),
            Op::MaxPool2d(pool) => {
                let [kernel, stride, padding] = sides(pool);
                x.max_pool2d(kernel, stride, padding, [1, 1], pool.ceil)
            }
            Op::AvgPool2d(pool) => {
                let [kernel, stride, padding] = sides(pool);
                x.avg_pool2d(kernel, stride, padding, pool.ceil, true, None)
            }
            Op::AdaptiveAvgPool2d { to, .. } => x.adaptive_avg_pool2d(to.map(|side| side as i64)),
            &Op::Flatten(start) => x.flatten(start as i64, -1),
            Op::Permute(dims) => {
                let dims: Vec<i64> = dims.iter().map(|&dim| dim as i64).collect();
                x.permute(dims)
            }
            Op::Linear { .. } => x.linear(self.parameter("weight"), Some(self.parameter("bias"))),
            &Op::Dropout { p } => x.dropout(p, self.mode == Mode::Train),
            &Op::StochasticDepth { p } => match self.mode {
                Mode::Train => x * stochastic_depth_factors(x, p),
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
            &Op::MultiheadAttention { heads, .. } => self.attention(x, heads),
            Op::FirstToken => x.select(1, 0),
        }
    }

    /// A parameter or statistic of the node's module.
    fn parameter(&self, name: &str) -> &Tensor {
        &self.tensors[&self.node.parameter(name)]
    }

    fn batch_norm(&self, x: &Tensor, settings: BatchNorm) -> Tensor {
        let tensors = BatchNormTensors {
            weight: self.parameter("weight"),
            bias: self.parameter("bias"),
            running_mean: self.parameter("running_mean"),
            running_var: self.parameter("running_var"),
        };
        // A layer that is not trained normalises as in evaluation.
        let trains = self.mode == Mode::Train && tensors.weight.requires_grad();
        match self.sync_batch_norm {
            Some(sync) if trains => sync.batch_norm(x, tensors, settings),
            _ => x.batch_norm(
                Some(tensors.weight),
                Some(tensors.bias),
                Some(tensors.running_mean),
                Some(tensors.running_var),
                trains,
                settings.momentum,
                settings.eps,
                true,
            ),
        }
    }

    fn conv2d(&self, x: &Tensor) -> Tensor {
        let &Op::Conv2d {
            stride,
            pads,
            groups,
            bias,
            ..
        } = &self.node.op
        else {
            unreachable!("called for convolutions only")
        };
        let bias = bias.map(|_| self.parameter("bias"));
        let [top, left, bottom, right] = pads.map(|pad| pad as i64);
        let (padded, padding) = if (top, left) == (bottom, right) {
            (x.shallow_clone(), [top, left])
        } else {
            (x.constant_pad_nd([left, right, top, bottom]), [0, 0])
        };
        let stride = [stride as i64; 2];
        let weight = self.parameter("weight");
        padded.conv2d(weight, bias, stride, padding, [1, 1], groups as i64)
    }

    fn activation(&self, activation: Activation, x: &Tensor) -> Tensor {
        match activation {
            Activation::Relu if self.in_place => x.shallow_clone().relu_(),
            Activation::Relu => x.relu(),
            Activation::Relu6 if self.in_place => x.shallow_clone().relu6_(),
            Activation::Relu6 => x.relu6(),
            Activation::Silu => x.silu(),
            Activation::Hardswish => x.hardswish(),
            Activation::Hardsigmoid => x.hardsigmoid(),
            Activation::Sigmoid => x.sigmoid(),
            Activation::Gelu => x.gelu("none"),
        }
    }

    /// Multi-head self-attention of tokens `[N, tokens, features]`.
    fn attention(&self, x: &Tensor, heads: usize) -> Tensor {
        let [weight, bias] = ["in_proj_weight", "in_proj_bias"].map(|name| self.parameter(name));
        let projected = x.linear(weight, Some(bias));
        // [N, tokens, 3 × heads × size] to three tensors [N, heads, tokens, size].
        let split = projected.unflatten(2, [3, heads as i64, -1]);
        let [query, key, value] = [0, 1, 2].map(|i| split.select(2, i).transpose(1, 2));
        let mask = None::<&Tensor>;
        let mixed = Tensor::scaled_dot_product_attention(
            &query, &key, &value, mask, 0.0, false, None, false,
        );
        let [weight, bias] = ["out_proj.weight", "out_proj.bias"].map(|name| self.parameter(name));
        mixed
            .transpose(1, 2)
            .flatten(2, 3)
            .linear(weight, Some(bias))
    }
}

/// Kernel, stride and padding.
fn sides(pool: &Pool) -> [[i64; 2]; 3] {
    [pool.kernel, pool.stride, pool.padding].map(|side| [side as i64; 2])
}

/// The factor of each sample of `x` under stochastic depth: 0 with probability p, otherwise 1 / (1 − p).
fn stochastic_depth_factors(x: &Tensor, p: f64) -> Tensor {
    let mut shape = vec![1; x.dim()];
    shape[0] = x.size()[0];
    let kept = Tensor::empty(shape, (x.kind(), x.device())).bernoulli_float_(1.0 - p);
    kept / (1.0 - p)
}
