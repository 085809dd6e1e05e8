//! The operations that networks consist of.

use std::fmt;

/// A value in a network: the input images, or the result of a node.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Value(usize);

impl Value {
    /// The images.
    pub const IMAGES: Self = Self(0);

    /// The value that the node of this index computes.
    pub fn of_node(index: usize) -> Self {
        Self(index + 1)
    }

    /// Index in a list of the images and then the value of each node.
    pub fn index(self) -> usize {
        self.0
    }
}

/// An operation with its inputs.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// Name of the module in PyTorch, which prefixes the names of its parameters. Unique in the network.
    pub name: String,
    /// The operation.
    pub op: Op,
    /// Inputs: the images, or values of preceding nodes.
    pub inputs: Vec<Value>,
    /// Shape of its value, without the batch.
    pub shape: Vec<usize>,
}

/// An operation, with PyTorch's meaning and names.
///
/// Images are `[N, channels, height, width]`, tokens `[N, tokens, features]`.
#[derive(Clone, Debug, PartialEq)]
pub enum Op {
    /// `Conv2d`.
    Conv2d {
        /// Input channels.
        in_channels: usize,
        /// Output channels.
        out_channels: usize,
        /// Height and width of the kernel.
        kernel: [usize; 2],
        /// Stride in both directions.
        stride: usize,
        /// Zero padding at the top, left, bottom and right.
        pads: [usize; 4],
        /// Groups of channels that are convolved separately.
        groups: usize,
        /// Initial values of the weight.
        weight: Init,
        /// Initial values of the bias, if there is one.
        bias: Option<Init>,
    },
    /// `BatchNorm2d`.
    BatchNorm2d {
        /// Channels.
        channels: usize,
        /// Its constants.
        settings: BatchNorm,
    },
    /// `LayerNorm` over the last dimension.
    LayerNorm {
        /// Size of the last dimension.
        features: usize,
        /// Added to the variance.
        eps: f64,
    },
    /// An elementwise function.
    Activation(Activation),
    /// `MaxPool2d`.
    MaxPool2d(Pool),
    /// `AvgPool2d`; the padding counts.
    AvgPool2d(Pool),
    /// `AdaptiveAvgPool2d`.
    AdaptiveAvgPool2d {
        /// Height and width of the input.
        from: [usize; 2],
        /// Height and width of the output.
        to: [usize; 2],
    },
    /// Merges the dimensions from this one on; the batch is dimension 0.
    Flatten(usize),
    /// `permute`; the batch is dimension 0.
    Permute(Vec<usize>),
    /// `Linear` with bias, over the last dimension.
    Linear {
        /// Input features.
        in_features: usize,
        /// Output features.
        out_features: usize,
        /// Initial values of the weight.
        weight: Init,
        /// Initial values of the bias.
        bias: Init,
    },
    /// `Dropout`; the identity in evaluation.
    Dropout {
        /// Probability of zeroing an element.
        p: f64,
    },
    /// torchvision's `StochasticDepth` with mode `row`; the identity in evaluation.
    StochasticDepth {
        /// Probability of zeroing a sample.
        p: f64,
    },
    /// Sum of two values.
    Add,
    /// Product of two values; the second may have height and width 1.
    Mul,
    /// `cat` along the channels.
    Concat,
    /// Product with a parameter `[channels, 1, 1]`.
    LayerScale {
        /// Full name of the parameter, which belongs to no module.
        parameter: String,
        /// Channels.
        channels: usize,
        /// Its initial value.
        value: f64,
    },
    /// Prepends a parameter to the tokens.
    ClassToken {
        /// Full name of the parameter, which belongs to no module.
        parameter: String,
        /// Features of a token.
        features: usize,
    },
    /// Sum with a parameter `[1, tokens, features]`.
    PositionEmbedding {
        /// Full name of the parameter, which belongs to no module.
        parameter: String,
        /// Number of tokens.
        tokens: usize,
        /// Features of a token.
        features: usize,
    },
    /// `MultiheadAttention` as self-attention.
    MultiheadAttention {
        /// Features of a token.
        features: usize,
        /// Heads, among which the features are divided.
        heads: usize,
    },
    /// The first token.
    FirstToken,
}

/// An elementwise function, named like PyTorch's module.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Activation {
    /// `ReLU`.
    Relu,
    /// `ReLU6`.
    Relu6,
    /// `SiLU`.
    Silu,
    /// `Hardswish`.
    Hardswish,
    /// `Hardsigmoid`.
    Hardsigmoid,
    /// `Sigmoid`.
    Sigmoid,
    /// `GELU` with the exact error function.
    Gelu,
}

/// Constants of `BatchNorm2d`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BatchNorm {
    /// Added to the variance.
    pub eps: f64,
    /// Weight of a batch in the running statistics.
    pub momentum: f64,
}

/// Windows of a pooling; the sizes are the same for height and width.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Pool {
    /// Side of a window.
    pub kernel: usize,
    /// Step between windows.
    pub stride: usize,
    /// Padding on each side.
    pub padding: usize,
    /// Whether a last, partial window counts.
    pub ceil: bool,
}

/// A tensor that belongs to a network.
#[derive(Clone, Debug, PartialEq)]
pub struct Parameter {
    /// PyTorch's name in the `state_dict`.
    pub name: String,
    /// Its shape.
    pub shape: Vec<usize>,
    /// Its initial values.
    pub init: Init,
    /// Whether the optimizer updates it; otherwise it is a statistic.
    pub trainable: bool,
}

impl Parameter {
    /// Number of elements.
    pub fn numel(&self) -> usize {
        self.shape.iter().product()
    }
}

/// Initial values of a parameter.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Init {
    /// All the same.
    Constant(f64),
    /// Normal, of mean 0.
    Normal {
        /// Standard deviation.
        std: f64,
    },
    /// Uniform between −bound and bound.
    Uniform {
        /// The bound.
        bound: f64,
    },
}

/// Numbers of inputs per output element and of outputs per input element, as PyTorch counts them.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Fan {
    /// `fan_in`.
    pub input: usize,
    /// `fan_out`, which does not divide by the groups of a convolution.
    pub output: usize,
    /// Groups of a convolution.
    pub groups: usize,
}

impl Init {
    /// `zeros_`.
    pub fn zeros(_: Fan) -> Self {
        Self::Constant(0.0)
    }

    /// The default of PyTorch's layers, for weights and biases: `kaiming_uniform_` with a = √5.
    pub fn layer(fan: Fan) -> Self {
        Self::Uniform {
            bound: (1.0 / fan.input as f64).sqrt(),
        }
    }

    /// `kaiming_uniform_`.
    pub fn kaiming_uniform(fan: Fan) -> Self {
        Self::Uniform {
            bound: (6.0 / fan.input as f64).sqrt(),
        }
    }

    /// `kaiming_normal_`.
    pub fn kaiming_normal(fan: Fan) -> Self {
        Self::Normal {
            std: (2.0 / fan.input as f64).sqrt(),
        }
    }

    /// `kaiming_normal_` with `mode="fan_out"`.
    pub fn kaiming_normal_out(fan: Fan) -> Self {
        Self::Normal {
            std: (2.0 / fan.output as f64).sqrt(),
        }
    }

    /// `xavier_uniform_`.
    pub fn xavier_uniform(fan: Fan) -> Self {
        Self::Uniform {
            bound: (6.0 / (fan.input + fan.output) as f64).sqrt(),
        }
    }

    /// Uniform between ±1/√(output features).
    pub fn uniform_out(fan: Fan) -> Self {
        Self::Uniform {
            bound: (1.0 / fan.output as f64).sqrt(),
        }
    }
}

impl Node {
    /// Name of a parameter of this node's module.
    pub fn parameter(&self, name: &str) -> String {
        format!("{}.{name}", self.name)
    }

    /// The parameters and statistics.
    pub fn parameters(&self) -> Vec<Parameter> {
        let trainable = |name: String, shape: &[usize], init| Parameter {
            name,
            shape: shape.to_vec(),
            init,
            trainable: true,
        };
        let own = |name, shape: &[usize], init| trainable(self.parameter(name), shape, init);
        let statistic = |name, shape: &[usize], value| Parameter {
            trainable: false,
            ..own(name, shape, Init::Constant(value))
        };
        match &self.op {
            &Op::Conv2d {
                in_channels,
                out_channels,
                kernel: [height, width],
                groups,
                weight,
                bias,
                ..
            } => {
                let shape = [out_channels, in_channels / groups, height, width];
                let mut parameters = vec![own("weight", &shape, weight)];
                parameters.extend(bias.map(|init| own("bias", &[out_channels], init)));
                parameters
            }
            &Op::BatchNorm2d { channels, .. } => vec![
                own("weight", &[channels], Init::Constant(1.0)),
                own("bias", &[channels], Init::Constant(0.0)),
                statistic("running_mean", &[channels], 0.0),
                statistic("running_var", &[channels], 1.0),
            ],
            &Op::LayerNorm { features, .. } => vec![
                own("weight", &[features], Init::Constant(1.0)),
                own("bias", &[features], Init::Constant(0.0)),
            ],
            &Op::Linear {
                in_features,
                out_features,
                weight,
                bias,
            } => vec![
                own("weight", &[out_features, in_features], weight),
                own("bias", &[out_features], bias),
            ],
            Op::LayerScale {
                parameter,
                channels,
                value,
            } => vec![trainable(
                parameter.clone(),
                &[*channels, 1, 1],
                Init::Constant(*value),
            )],
            Op::ClassToken {
                parameter,
                features,
            } => vec![trainable(
                parameter.clone(),
                &[1, 1, *features],
                Init::Constant(0.0),
            )],
            Op::PositionEmbedding {
                parameter,
                tokens,
                features,
            } => vec![trainable(
                parameter.clone(),
                &[1, *tokens, *features],
                Init::Normal { std: 0.02 },
            )],
            &Op::MultiheadAttention { features, .. } => {
                let fan = |output| Fan {
                    input: features,
                    output,
                    groups: 1,
                };
                let zeros = Init::Constant(0.0);
                let (three, square) = ([3 * features, features], [features, features]);
                vec![
                    own(
                        "in_proj_weight",
                        &three,
                        Init::xavier_uniform(fan(3 * features)),
                    ),
                    own("in_proj_bias", &three[..1], zeros),
                    own("out_proj.weight", &square, Init::layer(fan(features))),
                    own("out_proj.bias", &square[..1], zeros),
                ]
            }
            Op::Activation(_)
            | Op::MaxPool2d(_)
            | Op::AvgPool2d(_)
            | Op::AdaptiveAvgPool2d { .. }
            | Op::Flatten(_)
            | Op::Permute(_)
            | Op::Dropout { .. }
            | Op::StochasticDepth { .. }
            | Op::Add
            | Op::Mul
            | Op::Concat
            | Op::FirstToken => Vec::new(),
        }
    }

    /// Number of trainable parameters.
    pub fn trainable_len(&self) -> usize {
        let parameters = self.parameters().into_iter();
        let trainable = parameters.filter(|parameter| parameter.trainable);
        trainable.map(|parameter| parameter.numel()).sum()
    }

    /// Multiply-accumulate operations per image, of convolutions and matrix products. Elementwise operations
    /// do not count.
    pub fn macs(&self) -> usize {
        let elements: usize = self.shape.iter().product();
        match self.op {
            Op::Conv2d {
                in_channels,
                kernel: [height, width],
                groups,
                ..
            } => elements * height * width * in_channels / groups,
            Op::Linear { in_features, .. } => elements * in_features,
            // Four projections, and two products over all pairs of tokens: the scores and the weighted values.
            Op::MultiheadAttention { features, .. } => {
                elements * (4 * features + 2 * elements / features)
            }
            _ => 0,
        }
    }
}

/// A shape formatted like `3×224×224`.
pub struct Dims<'a>(pub &'a [usize]);

impl fmt::Display for Dims<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, dim) in self.0.iter().enumerate() {
            write!(f, "{}{dim}", if i == 0 { "" } else { "×" })?;
        }
        Ok(())
    }
}
