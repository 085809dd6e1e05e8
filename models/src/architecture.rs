use serde::Serialize;
use thiserror::Error;

use topk_weights::{Head, Matched, Mismatch, StateDict, TensorError};

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
    pub(crate) old_names: Vec<[&'static str; 2]>,
}

/// Modules that follow each other and whose names begin alike, such as `layer1`.
#[derive(Clone, Debug, PartialEq)]
pub struct Stage {
    /// What their names begin with.
    pub name: String,
    /// Shape of what the last of them makes, without the batch.
    pub shape: Vec<usize>,
    /// Number of trainable parameters.
    pub trainable_len: usize,
    /// Multiplications, each with an addition, that an image takes.
    pub multiply_adds: usize,
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

/// What becomes of the weights of a classifier, the last layer.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Serialize)]
#[cfg_attr(feature = "clap", derive(clap::ValueEnum))]
#[serde(rename_all = "lowercase")]
pub enum Classifier {
    /// They stay, and must fit as they are
    #[default]
    Keep,
    /// They are left out, to start anew
    New,
}

/// Why weights are not a network's.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum MatchError {
    /// A number has no place in `f32`.
    #[error("{name}: {error}")]
    Tensor {
        /// The tensor.
        name: String,
        /// What is wrong.
        error: TensorError,
    },
    /// Tensors are missing, unexpected or of another shape.
    #[error("the weights are not those of {architecture}:\n{mismatch}")]
    Mismatch {
        /// Name of the network.
        architecture: String,
        /// Every fault.
        mismatch: Mismatch,
    },
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
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// All parameters and statistics, in the order of the nodes.
    pub fn parameters(&self) -> Vec<Parameter> {
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
        self.nodes.iter().map(Node::trainable_len).sum()
    }

    /// Multiplications, each with an addition, that an image takes: those of convolutions and of products
    /// of matrices.
    pub fn multiply_adds(&self) -> usize {
        self.nodes.iter().map(Node::multiply_adds).sum()
    }

    /// The network as a list of stages, divided as finely as the names of modules allow with at most so many
    /// of them; as the first parts of names divide it, if those are more.
    pub fn stages(&self, most: usize) -> Vec<Stage> {
        fn beginning(name: &str, depth: usize) -> &str {
            let end = name.match_indices('.').nth(depth - 1);
            end.map_or(name, |(end, _)| &name[..end])
        }
        let divided = |depth: usize| -> Vec<&[Node]> {
            let alike = |a: &Node, b: &Node| beginning(&a.name, depth) == beginning(&b.name, depth);
            self.nodes.chunk_by(alike).collect()
        };
        let names = self.nodes.iter().map(|node| node.name.as_str());
        let deepest = 1 + names
            .map(|name| name.matches('.').count())
            .max()
            .unwrap_or(0);
        let fits = |&depth: &usize| divided(depth).len() <= most;
        let depth = (1..=deepest).rev().find(fits).unwrap_or(1);
        let stage = |nodes: &[Node]| Stage {
            name: beginning(&nodes[0].name, depth).to_owned(),
            shape: nodes[nodes.len() - 1].shape.clone(),
            trainable_len: nodes.iter().map(Node::trainable_len).sum(),
            multiply_adds: nodes.iter().map(Node::multiply_adds).sum(),
        };
        divided(depth).into_iter().map(stage).collect()
    }

    /// Names of the classifier's tensors: those of the layer that makes the scores. The first dimension of
    /// each is the number of classes.
    pub fn classifier(&self) -> Vec<String> {
        let layers = self.nodes.iter().map(Node::parameters);
        let layer = layers.rev().find(|parameters| !parameters.is_empty());
        let parameters = layer.into_iter().flatten();
        parameters.map(|parameter| parameter.name).collect()
    }

    /// Takes a file's weights for this network: tensors that [`is_ignorable`](Self::is_ignorable) names are
    /// left out, names that older versions of the original gave are changed to today's, and all numbers
    /// become `f32`.
    ///
    /// # Errors
    /// If tensors are missing, unexpected or of another shape, all of which the message lists, or if a
    /// number is too large.
    pub fn matched(&self, file: StateDict, classifier: Classifier) -> Result<Matched, MatchError> {
        let mut weights = StateDict::default();
        for (name, tensor) in file.tensors {
            if self.is_ignorable(&name) {
                continue;
            }
            let name = self
                .old_names
                .iter()
                .fold(name, |name, [old, new]| name.replace(old, new));
            let tensor = tensor.into_f32().map_err(|error| MatchError::Tensor {
                name: name.clone(),
                error,
            })?;
            weights.tensors.insert(name, tensor);
        }
        let names = self.classifier();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let head = match classifier {
            Classifier::Keep => Head::Keep,
            Classifier::New => Head::New(&names),
        };
        let shapes = self.parameter_shapes();
        let shapes = shapes.iter().map(|(name, shape)| (&**name, &**shape));
        weights
            .matched(shapes, head)
            .map_err(|mismatch| MatchError::Mismatch {
                architecture: self.name.clone(),
                mismatch,
            })
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
