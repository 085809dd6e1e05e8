use std::fmt;

use thiserror::Error;

use crate::basic;

/// A network as data: its operations in order, with the names of their parameters.
#[derive(Clone, Debug, PartialEq)]
pub struct Architecture {
    name: String,
    input_size: [usize; 3],
    steps: Vec<Step>,
    classes: usize,
}

/// One operation; it reads the value of the step before it, the first one the image.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Step {
    /// Name of the module in PyTorch, which prefixes the names of its parameters.
    pub(crate) name: String,
    /// What it computes.
    pub(crate) op: Op,
}

/// An operation, with PyTorch's meaning and names. Sizes are the same for height and width.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Op {
    /// `Conv2d` without bias.
    Conv2d {
        /// Channels read.
        in_channels: usize,
        /// Channels made.
        out_channels: usize,
        /// Side of the kernel.
        kernel: usize,
        /// Zeros added on each side.
        padding: usize,
    },
    /// `BatchNorm2d`.
    BatchNorm2d {
        /// Channels.
        channels: usize,
    },
    /// `ReLU`.
    Relu,
    /// `MaxPool2d`, its stride equal to the kernel.
    MaxPool2d {
        /// Side of the kernel.
        kernel: usize,
    },
    /// `AvgPool2d`, its stride equal to the kernel.
    AvgPool2d {
        /// Side of the kernel.
        kernel: usize,
    },
    /// All dimensions but the batch become one.
    Flatten,
    /// `Linear` with bias.
    Linear {
        /// Features read.
        in_features: usize,
        /// Features made.
        out_features: usize,
    },
}

/// `BatchNorm2d`'s `eps`.
pub(crate) const BATCH_NORM_EPS: f64 = 1e-5;

/// `BatchNorm2d`'s `momentum`.
pub(crate) const BATCH_NORM_MOMENTUM: f64 = 0.1;

/// Shape of a value, without the batch.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Shape {
    /// Channels, height, width.
    Image([usize; 3]),
    /// Features.
    Vector(usize),
}

/// A tensor that belongs to a network.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Parameter {
    /// PyTorch's name in the `state_dict`.
    pub(crate) name: String,
    /// Its shape.
    pub(crate) shape: Vec<usize>,
    /// How it starts.
    pub(crate) init: Init,
    /// Whether the optimizer changes it; the others are statistics.
    pub(crate) trainable: bool,
}

impl Parameter {
    /// Number of elements.
    pub(crate) fn len(&self) -> usize {
        self.shape.iter().product()
    }
}

/// Values that a parameter starts with.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Init {
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

/// There is no such network.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
#[non_exhaustive]
pub enum ArchitectureError {
    /// The name means nothing.
    #[error("`{0}` is not a network that is known: expected basic-N, such as basic-32")]
    Unknown(String),
    /// The network is not made for images of this size.
    #[error("{name} takes images of {expected:?} (channels, height, width), not {found:?}")]
    InputSize {
        /// Name of the network.
        name: String,
        /// What it takes.
        expected: [usize; 3],
        /// What it was asked for.
        found: [usize; 3],
    },
    /// There must be a class.
    #[error("a classifier needs at least one class")]
    NoClasses,
}

/// The network of this name, for images of `input_size` (channels, height, width).
///
/// | name | network |
/// | --- | --- |
/// | `basic-N` | the seed code's small convolutional network: six 3×3 convolutions of N, N, 2N, 2N, 4N, 4N channels with batch norm, for 32×32 images |
///
/// # Errors
/// If there is none, or it cannot be had for this size or number of classes.
pub fn architecture(
    name: &str,
    input_size: [usize; 3],
    classes: usize,
) -> Result<Architecture, ArchitectureError> {
    if classes == 0 {
        return Err(ArchitectureError::NoClasses);
    }
    let unknown = || ArchitectureError::Unknown(name.to_owned());
    let planes = name.strip_prefix("basic-").ok_or_else(unknown)?;
    let planes: u16 = planes
        .parse()
        .ok()
        .filter(|&planes| planes > 0)
        .ok_or_else(unknown)?;
    basic::basic(name, planes.into(), input_size, classes)
}

impl Architecture {
    /// Name that [`architecture`] knows it by.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Channels, height and width of an input image.
    pub fn input_size(&self) -> [usize; 3] {
        self.input_size
    }

    /// Number of scores.
    pub fn classes(&self) -> usize {
        self.classes
    }

    /// The operations in order.
    pub(crate) fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// All parameters and statistics, in the order of the steps.
    pub(crate) fn parameters(&self) -> Vec<Parameter> {
        self.steps.iter().flat_map(Step::parameters).collect()
    }

    /// Number of trainable parameters.
    pub fn trainable_len(&self) -> usize {
        self.parameters()
            .iter()
            .filter(|p| p.trainable)
            .map(Parameter::len)
            .sum()
    }
}

impl Step {
    /// Name of a parameter of this step.
    pub(crate) fn parameter(&self, name: &str) -> String {
        format!("{}.{name}", self.name)
    }

    fn parameters(&self) -> Vec<Parameter> {
        let parameter = |name, shape: &[usize], init, trainable| Parameter {
            name: self.parameter(name),
            shape: shape.to_vec(),
            init,
            trainable,
        };
        match self.op {
            Op::Conv2d {
                in_channels,
                out_channels,
                kernel,
                ..
            } => {
                let fan_out = kernel * kernel * out_channels;
                let init = Init::Normal {
                    std: (2.0 / fan_out as f64).sqrt(),
                };
                vec![parameter(
                    "weight",
                    &[out_channels, in_channels, kernel, kernel],
                    init,
                    true,
                )]
            }
            Op::BatchNorm2d { channels } => vec![
                parameter("weight", &[channels], Init::Constant(1.0), true),
                parameter("bias", &[channels], Init::Constant(0.0), true),
                parameter("running_mean", &[channels], Init::Constant(0.0), false),
                parameter("running_var", &[channels], Init::Constant(1.0), false),
            ],
            Op::Linear {
                in_features,
                out_features,
            } => {
                // PyTorch's default, `kaiming_uniform_` with a = √5.
                let init = Init::Uniform {
                    bound: 1.0 / (in_features as f64).sqrt(),
                };
                vec![
                    parameter("weight", &[out_features, in_features], init, true),
                    parameter("bias", &[out_features], Init::Constant(0.0), true),
                ]
            }
            Op::Relu | Op::MaxPool2d { .. } | Op::AvgPool2d { .. } | Op::Flatten => Vec::new(),
        }
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Image([c, h, w]) => write!(f, "{c}×{h}×{w}"),
            Self::Vector(n) => write!(f, "{n}"),
        }
    }
}

/// Writes an architecture down step by step; keeps account of the shapes.
pub(crate) struct Builder {
    name: String,
    input_size: [usize; 3],
    steps: Vec<Step>,
    shape: Shape,
}

impl Builder {
    pub(crate) fn new(name: &str, input_size: [usize; 3]) -> Self {
        Self {
            name: name.to_owned(),
            input_size,
            steps: Vec::new(),
            shape: Shape::Image(input_size),
        }
    }

    fn image(&self) -> [usize; 3] {
        match self.shape {
            Shape::Image(shape) => shape,
            Shape::Vector(_) => panic!("{}: an image is needed, found {}", self.name, self.shape),
        }
    }

    fn push(&mut self, name: &str, op: Op, shape: Shape) {
        self.steps.push(Step {
            name: name.to_owned(),
            op,
        });
        self.shape = shape;
    }

    pub(crate) fn conv2d(
        &mut self,
        name: &str,
        out_channels: usize,
        kernel: usize,
        padding: usize,
    ) {
        let [in_channels, height, width] = self.image();
        let size = |side| side + 2 * padding + 1 - kernel;
        let shape = Shape::Image([out_channels, size(height), size(width)]);
        self.push(
            name,
            Op::Conv2d {
                in_channels,
                out_channels,
                kernel,
                padding,
            },
            shape,
        );
    }

    pub(crate) fn batch_norm2d(&mut self, name: &str) {
        let [channels, ..] = self.image();
        self.push(name, Op::BatchNorm2d { channels }, self.shape);
    }

    pub(crate) fn relu(&mut self, name: &str) {
        self.push(name, Op::Relu, self.shape);
    }

    pub(crate) fn max_pool2d(&mut self, name: &str, kernel: usize) {
        let [channels, height, width] = self.image();
        let shape = Shape::Image([channels, height / kernel, width / kernel]);
        self.push(name, Op::MaxPool2d { kernel }, shape);
    }

    pub(crate) fn avg_pool2d(&mut self, name: &str, kernel: usize) {
        let [channels, height, width] = self.image();
        let shape = Shape::Image([channels, height / kernel, width / kernel]);
        self.push(name, Op::AvgPool2d { kernel }, shape);
    }

    pub(crate) fn flatten(&mut self, name: &str) {
        let shape = Shape::Vector(self.image().iter().product());
        self.push(name, Op::Flatten, shape);
    }

    pub(crate) fn linear(&mut self, name: &str, out_features: usize) {
        let Shape::Vector(in_features) = self.shape else {
            panic!("{}: a vector is needed, found {}", self.name, self.shape)
        };
        self.push(
            name,
            Op::Linear {
                in_features,
                out_features,
            },
            Shape::Vector(out_features),
        );
    }

    pub(crate) fn finish(self) -> Architecture {
        let Shape::Vector(classes) = self.shape else {
            panic!("{}: a classifier ends in a vector", self.name)
        };
        let Self {
            name,
            input_size,
            steps,
            ..
        } = self;
        Architecture {
            name,
            input_size,
            steps,
            classes,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_networks_are_named() {
        for name in [
            "basic",
            "basic-",
            "basic-0",
            "basic--3",
            "basic-99999999",
            "resnet",
        ] {
            let error = architecture(name, [3, 32, 32], 10).unwrap_err();
            assert_eq!(error, ArchitectureError::Unknown(name.to_owned()));
        }
        assert!(matches!(
            architecture("basic-8", [3, 224, 224], 10),
            Err(ArchitectureError::InputSize {
                expected: [3, 32, 32],
                ..
            })
        ));
        assert_eq!(
            architecture("basic-8", [3, 32, 32], 0),
            Err(ArchitectureError::NoClasses)
        );
    }
}
