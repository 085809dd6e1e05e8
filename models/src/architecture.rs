use thiserror::Error;

use crate::architectures;
use crate::op::{Dims, Node, Op, Parameter};

/// A network as data: its operations in the order of computation, with the names of their parameters.
#[derive(Clone, Debug, PartialEq)]
pub struct Architecture {
    pub(crate) name: String,
    pub(crate) input_size: [usize; 3],
    pub(crate) nodes: Vec<Node>,
    pub(crate) classes: usize,
    pub(crate) ignorable: Vec<&'static str>,
}

/// There is no such network.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
#[non_exhaustive]
pub enum ArchitectureError {
    /// The name means nothing.
    #[error("`{0}` is not a network that is known: expected one of {known}", known = architectures::names())]
    Unknown(String),
    /// The name's numbers make no network.
    #[error("{name} cannot be built: {rule}")]
    Numbers {
        /// Name of the network.
        name: String,
        /// What must hold of its numbers.
        rule: &'static str,
    },
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
    /// The network divides images into squares.
    #[error("{name} takes images whose sides are multiples of {multiple}, not {size}", size = Dims(found))]
    Sides {
        /// Name of the network.
        name: String,
        /// Side of a square.
        multiple: usize,
        /// What it was asked for.
        found: [usize; 3],
    },
    /// Nothing is left of images of this size before the end.
    #[error("images of {size} are too small for {name}: nothing is left of them at {module}", size = Dims(found))]
    TooSmall {
        /// Name of the network.
        name: String,
        /// What it was asked for.
        found: [usize; 3],
        /// Where nothing is left.
        module: String,
    },
    /// There must be a class.
    #[error("a classifier needs at least one class")]
    NoClasses,
}

impl Architecture {
    /// Name that [`architecture`](crate::architecture()) knows it by.
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

    /// The operations in order; the last one makes the scores.
    pub(crate) fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// All parameters and statistics, in the order of the nodes.
    pub(crate) fn parameters(&self) -> Vec<Parameter> {
        self.nodes.iter().flat_map(Node::parameters).collect()
    }

    /// Names and shapes of all parameters and statistics, under PyTorch's names, in the order of
    /// computation.
    pub fn parameter_shapes(&self) -> Vec<(String, Vec<usize>)> {
        let parameters = self.parameters().into_iter();
        parameters.map(|p| (p.name, p.shape)).collect()
    }

    /// Number of trainable parameters.
    pub fn trainable_len(&self) -> usize {
        self.parameters()
            .iter()
            .filter(|p| p.trainable)
            .map(Parameter::len)
            .sum()
    }

    /// Multiplications, each with an addition, that an image takes: those of convolutions and of products
    /// of matrices.
    pub fn multiply_adds(&self) -> usize {
        self.nodes.iter().map(Node::multiply_adds).sum()
    }

    /// Whether a parameter of this name may stand in a file of the original network's weights and be left
    /// out here:
    ///
    /// - `num_batches_tracked` of each batch norm: how many batches its statistics have seen, which PyTorch
    ///   counts and uses only where there is no momentum;
    /// - `AuxLogits.…` of `inception_v3`: the auxiliary classifier, which is not built here, since it only
    ///   helps in training.
    pub fn is_ignorable(&self, name: &str) -> bool {
        let tracked = name.strip_suffix(".num_batches_tracked");
        let batch_norm = |node: &Node| matches!(node.op, Op::BatchNorm2d { .. });
        tracked.is_some_and(|module| {
            self.nodes
                .iter()
                .any(|node| node.name == module && batch_norm(node))
        }) || self.ignorable.iter().any(|prefix| name.starts_with(prefix))
    }
}
