//! The operations that networks consist of.

use std::fmt;

/// A value of a network: its images, or what a node makes.
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

/// One operation in its place.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// Name of the module in PyTorch, which prefixes the names of its parameters. No other node has it.
    pub name: String,
    /// What it computes.
    pub op: Op,
    /// What it reads, from nodes before it.
    pub inputs: Vec<Value>,
    /// Shape of what it makes, without the batch.
    pub shape: Vec<usize>,
}

/// An operation, with PyTorch's meaning and names.
///
/// Images are `[N, channels, height, width]`, tokens `[N, tokens, features]`.
#[derive(Clone, Debug, PartialEq)]
pub enum Op {
    /// `Conv2d`.
    Conv2d {
        /// Channels read.
        in_channels: usize,
        /// Channels made.
        out_channels: usize,
        /// Height and width of the kernel.
        kernel: [usize; 2],
        /// Step in both directions.
        stride: usize,
        /// Zeros added at the top, left, bottom and right.
        pads: [usize; 4],
        /// Groups of channels that do not see each other.
        groups: usize,
        /// How the weight starts.
        weight: Init,
        /// How the bias starts, if there is one.
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
    /// A function of each element.
    Activation(Activation),
    /// `MaxPool2d`.
    MaxPool2d(Pool),
    /// `AvgPool2d`; added zeros count.
    AvgPool2d(Pool),
    /// `AdaptiveAvgPool2d`.
    AdaptiveAvgPool2d {
        /// Height and width read.
        from: [usize; 2],
        /// Height and width made.
        to: [usize; 2],
    },
    /// The dimensions from this one on become one; the batch is dimension 0.
    Flatten(usize),
    /// `permute`; the batch is dimension 0.
    Permute(Vec<usize>),
    /// `Linear` with bias, over the last dimension.
    Linear {
        /// Features read.
        in_features: usize,
        /// Features made.
        out_features: usize,
        /// How the weight starts.
        weight: Init,
        /// How the bias starts.
        bias: Init,
    },
    /// `Dropout`; nothing in evaluation.
    Dropout {
        /// Probability that an element becomes zero.
        p: f64,
    },
    /// torchvision's `StochasticDepth` with mode `row`; nothing in evaluation.
    StochasticDepth {
        /// Probability that a sample becomes zero.
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
        /// Full name of the parameter, which is no module's.
        parameter: String,
        /// Channels.
        channels: usize,
        /// What it starts with.
        value: f64,
    },
    /// A parameter becomes the first token.
    ClassToken {
        /// Full name of the parameter, which is no module's.
        parameter: String,
        /// Features of a token.
        features: usize,
    },
    /// Sum with a parameter `[1, tokens, features]`.
    PositionEmbedding {
        /// Full name of the parameter, which is no module's.
        parameter: String,
        /// Number of tokens.
        tokens: usize,
        /// Features of a token.
        features: usize,
    },
    /// `MultiheadAttention` of tokens to themselves.
    MultiheadAttention {
        /// Features of a token.
        features: usize,
        /// Heads, among which the features are divided.
        heads: usize,
    },
    /// The first token.
    FirstToken,
}

/// A function of each element, named as PyTorch's module.
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
    /// `GELU`, the exact one.
    Gelu,
}

/// Constants of `BatchNorm2d`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BatchNorm {
    /// Added to the variance.
    pub eps: f64,
    /// Share of a batch in the running statistics.
    pub momentum: f64,
}

/// Windows of a pooling; the sizes are the same for height and width.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Pool {
    /// Side of a window.
    pub kernel: usize,
    /// Step between windows.
    pub stride: usize,
    /// Rows and columns added on each side.
    pub padding: usize,
    /// Whether a last window that is not whole counts.
    pub ceil: bool,
}

/// A tensor that belongs to a network.
#[derive(Clone, Debug, PartialEq)]
pub struct Parameter {
    /// PyTorch's name in the `state_dict`.
    pub name: String,
    /// Its shape.
    pub shape: Vec<usize>,
    /// How it starts.
    pub init: Init,
    /// Whether the optimizer changes it; the others are statistics.
    pub trainable: bool,
}

impl Parameter {
    /// Number of elements.
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }
}

/// Values that a parameter starts with.
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

/// Elements that a weight reads for an element it makes, and the reverse, as PyTorch counts them.
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

    /// What a PyTorch layer starts with: `kaiming_uniform_` with a = √5, and the bias likewise.
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

    /// Uniform between ±1/√(features made).
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
        trainable.map(|parameter| parameter.len()).sum()
    }

    /// Multiplications, each with an addition, for one image: those of convolutions and of products of
    /// matrices. What is done once an element does not count.
    pub fn multiply_adds(&self) -> usize {
        let elements: usize = self.shape.iter().product();
        match self.op {
            Op::Conv2d {
                in_channels,
                kernel: [height, width],
                groups,
                ..
            } => elements * height * width * in_channels / groups,
            Op::Linear { in_features, .. } => elements * in_features,
            // Four projections; scores and their use are as many products as there are pairs of tokens.
            Op::MultiheadAttention { features, .. } => {
                elements * (4 * features + 2 * elements / features)
            }
            _ => 0,
        }
    }
}

/// A shape as people write it.
pub struct Dims<'a>(pub &'a [usize]);

impl fmt::Display for Dims<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, dim) in self.0.iter().enumerate() {
            write!(f, "{}{dim}", if i == 0 { "" } else { "×" })?;
        }
        Ok(())
    }
}
