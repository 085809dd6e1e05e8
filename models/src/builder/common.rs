//! Operations on values of any shape.

use super::Builder;
use crate::op::{Activation, Fan, Op, Value};

impl Builder {
    /// An operation whose result has the shape of its input.
    pub(super) fn same_shape(&mut self, name: impl Into<String>, op: Op, x: Value) -> Value {
        let shape = self.shape(x).to_vec();
        self.push(name, op, &[x], &shape)
    }

    pub(crate) fn activation(
        &mut self,
        name: impl Into<String>,
        x: Value,
        activation: Activation,
    ) -> Value {
        self.same_shape(name, Op::Activation(activation), x)
    }

    pub(crate) fn relu(&mut self, name: impl Into<String>, x: Value) -> Value {
        self.activation(name, x, Activation::Relu)
    }

    /// Merges all dimensions but the batch into one.
    pub(crate) fn flatten(&mut self, name: impl Into<String>, x: Value) -> Value {
        let features = self.shape(x).iter().product();
        self.push(name, Op::Flatten(1), &[x], &[features])
    }

    pub(crate) fn linear(
        &mut self,
        name: impl Into<String>,
        x: Value,
        out_features: usize,
    ) -> Value {
        let mut shape = self.shape(x).to_vec();
        let last = shape.last_mut().expect("a value has dimensions");
        let in_features = std::mem::replace(last, out_features);
        let fan = Fan {
            input: in_features,
            output: out_features,
            groups: 1,
        };
        let op = Op::Linear {
            in_features,
            out_features,
            weight: (self.initializers.linear)(fan),
            bias: (self.initializers.linear_bias)(fan),
        };
        self.push(name, op, &[x], &shape)
    }

    pub(crate) fn dropout(&mut self, name: impl Into<String>, x: Value, p: f64) -> Value {
        self.same_shape(name, Op::Dropout { p }, x)
    }

    /// Drops the whole value of a sample at random in training.
    pub(crate) fn stochastic_depth(&mut self, name: impl Into<String>, x: Value, p: f64) -> Value {
        self.same_shape(name, Op::StochasticDepth { p }, x)
    }

    pub(crate) fn add(&mut self, name: impl Into<String>, x: Value, y: Value) -> Value {
        let fits = self.shape(x) == self.shape(y);
        self.assert(fits, "Add", &[x, y]);
        let shape = self.shape(x).to_vec();
        self.push(name, Op::Add, &[x, y], &shape)
    }

    /// Layer norm over the last dimension.
    pub(crate) fn layer_norm(&mut self, name: impl Into<String>, x: Value, eps: f64) -> Value {
        let features = *self.shape(x).last().expect("a value has dimensions");
        self.same_shape(name, Op::LayerNorm { features, eps }, x)
    }

    /// Permutes the dimensions; dimension 0, the batch, stays in index.
    pub(crate) fn permute(&mut self, name: impl Into<String>, x: Value, dims: &[usize]) -> Value {
        assert_eq!((dims[0], dims.len()), (0, self.shape(x).len() + 1));
        let shape: Vec<usize> = dims[1..]
            .iter()
            .map(|&dim| self.shape(x)[dim - 1])
            .collect();
        self.push(name, Op::Permute(dims.to_vec()), &[x], &shape)
    }
}
