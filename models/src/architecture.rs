use serde::Serialize;
use thiserror::Error;

use topk_weights::{Matched, Mismatch, StateDict, TensorError};

use crate::architectures;
use crate::op::{Dims, Node, Op, Parameter};

/// A network as data: its operations in the order of computation, and the names of their parameters.
#[derive(Clone, Debug, PartialEq)]
pub struct Architecture {
    pub(crate) name: String,
    pub(crate) input_size: [usize; 3],
    pub(crate) nodes: Vec<Node>,
    pub(crate) classes: usize,
    pub(crate) ignorable: Vec<&'static str>,
    pub(crate) old_names: Vec<[&'static str; 2]>,
}

/// Consecutive modules whose names have the same prefix, such as `layer1`.
#[derive(Clone, Debug, PartialEq)]
pub struct Stage {
    /// The prefix of their names.
    pub name: String,
    /// Shape of the value of the last of them, without the batch.
    pub shape: Vec<usize>,
    /// Number of trainable parameters.
    pub trainable_len: usize,
    /// Multiply-accumulate operations per image.
    pub macs: usize,
}

/// An architecture cannot be built.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
#[non_exhaustive]
pub enum ArchitectureError {
    /// The name is unknown.
    #[error("`{0}` is not a known architecture: expected one of {known}", known = architectures::names())]
    Unknown(String),
    /// The numbers in the name are not supported.
    #[error("{name} cannot be built: {rule}")]
    Numbers {
        /// Name of the network.
        name: String,
        /// The rule for its numbers.
        rule: &'static str,
    },
    /// The network requires images of one size.
    #[error("{name} takes images of {expected:?} (channels, height, width), not {found:?}")]
    InputSize {
        /// Name of the network.
        name: String,
        /// The required size.
        expected: [usize; 3],
        /// The requested size.
        found: [usize; 3],
    },
    /// The network divides images into patches.
    #[error("{name} takes images whose sides are multiples of {multiple}, not {size}", size = Dims(found))]
    Sides {
        /// Name of the network.
        name: String,
        /// Side of a patch.
        multiple: usize,
        /// The requested size.
        found: [usize; 3],
    },
    /// The images are too small for a convolution or pooling.
    #[error("images of {size} are too small for {name} (at {module})", size = Dims(found))]
    TooSmall {
        /// Name of the network.
        name: String,
        /// The requested size.
        found: [usize; 3],
        /// The module whose input is smaller than its kernel.
        module: String,
    },
    /// The number of classes is 0.
    #[error("a classifier needs at least one class")]
    NoClasses,
}

/// What to do with the weights of the classifier, the last layer.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Serialize)]
#[cfg_attr(feature = "clap", derive(clap::ValueEnum))]
#[serde(rename_all = "lowercase")]
pub enum Classifier {
    /// Keep them; their shapes must match
    #[default]
    Keep,
    /// Replace them with newly initialised ones, for another number of classes
    New,
}

/// Weights do not fit a network.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum MatchError {
    /// A value cannot be converted to `f32`.
    #[error("{name}: {error}")]
    Tensor {
        /// The tensor.
        name: String,
        /// What is wrong.
        error: TensorError,
    },
    /// Tensors are missing, unexpected or of another shape.
    #[error("the weights do not fit {architecture}:\n{mismatch}\n{advice}")]
    Mismatch {
        /// Name of the network.
        architecture: String,
        /// All differences.
        mismatch: Mismatch,
        /// What to do.
        advice: &'static str,
    },
    /// The weights fit another network.
    #[error(
        "the weights do not fit {architecture}: they are those of {other}; use --model {other}"
    )]
    OtherArchitecture {
        /// Name of the network.
        architecture: String,
        /// Name of the network that they fit.
        other: String,
    },
    /// The names are those of another library.
    #[error(
        "the weights do not fit {architecture}: their names are those of {library}, such as `{example}`, \
         but names such as `{expected}` are expected; convert the names, or export the network to ONNX in \
         PyTorch"
    )]
    OtherNames {
        /// Name of the network.
        architecture: String,
        /// Whose names they are.
        library: &'static str,
        /// One of the names.
        example: String,
        /// The network's first name.
        expected: String,
    },
    /// Several modules have the weights of the network.
    #[error(
        "the file has weights of {architecture} under `{}` and under `{}`: load it in PyTorch and save \
         those of one network",
        prefixes[0],
        prefixes[1]
    )]
    Ambiguous {
        /// Name of the network.
        architecture: String,
        /// What the names begin with.
        prefixes: [String; 2],
    },
}

impl Architecture {
    /// Name, as for [`architecture`](crate::architecture()).
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

    /// The operations in the order of computation; the last one computes the scores.
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

    /// Multiply-accumulate operations (MACs) per image, of convolutions and matrix products.
    pub fn macs(&self) -> usize {
        self.nodes.iter().map(Node::macs).sum()
    }

    /// Name of the first batch normalisation whose channels have a single value per image: in training, it needs more
    /// than one image, because the variance of one value is undefined.
    pub fn single_value_norm(&self) -> Option<&str> {
        let mut norms = self
            .nodes
            .iter()
            .filter(|node| matches!(node.op, Op::BatchNorm2d { .. }));
        let single = norms.find(|node| node.shape[1..].iter().product::<usize>() == 1);
        single.map(|node| node.name.as_str())
    }

    /// The smallest number of output channels of a convolution; `None` without convolutions.
    pub fn narrowest_convolution(&self) -> Option<usize> {
        let channels = self.nodes.iter().filter_map(|node| match node.op {
            Op::Conv2d { out_channels, .. } => Some(out_channels),
            _ => None,
        });
        channels.min()
    }

    /// Name of the first layer that draws random numbers in training, if there is one.
    pub fn random_layer(&self) -> Option<&str> {
        let draws =
            |node: &&Node| matches!(node.op, Op::Dropout { .. } | Op::StochasticDepth { .. });
        self.nodes.iter().find(draws).map(|node| node.name.as_str())
    }

    /// The network as a list of stages: the finest division by prefixes of module names with at most `most`
    /// stages, or the coarsest if that has more.
    pub fn stages(&self, most: usize) -> Vec<Stage> {
        fn prefix(name: &str, depth: usize) -> &str {
            let end = name.match_indices('.').nth(depth - 1);
            end.map_or(name, |(end, _)| &name[..end])
        }
        let divided = |depth: usize| -> Vec<&[Node]> {
            let alike = |a: &Node, b: &Node| prefix(&a.name, depth) == prefix(&b.name, depth);
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
            name: prefix(&nodes[0].name, depth).to_owned(),
            shape: nodes[nodes.len() - 1].shape.clone(),
            trainable_len: nodes.iter().map(Node::trainable_len).sum(),
            macs: nodes.iter().map(Node::macs).sum(),
        };
        divided(depth).into_iter().map(stage).collect()
    }

    /// Names of the tensors of the classifier, the layer that computes the scores. The first dimension of each
    /// is the number of classes.
    pub fn classifier(&self) -> Vec<String> {
        let layers = self.nodes.iter().map(Node::parameters);
        let layer = layers.rev().find(|parameters| !parameters.is_empty());
        let parameters = layer.into_iter().flatten();
        parameters.map(|parameter| parameter.name).collect()
    }

    /// Matches a file's weights with this network: drops [ignorable](Self::is_ignorable) tensors, renames those
    /// of older versions of the original, and converts all values to `f32`.
    ///
    /// # Errors
    /// If tensors are missing, unexpected or of another shape, which the message summarises, or if a value
    /// is too large.
    pub fn matched(&self, file: StateDict, classifier: Classifier) -> Result<Matched, MatchError> {
        let mut weights = StateDict::default();
        for (name, tensor) in file.tensors {
            if self.is_ignorable(&name) {
                continue;
            }
            let name = self.current_name(name);
            let tensor = tensor.into_f32().map_err(|error| MatchError::Tensor {
                name: name.clone(),
                error,
            })?;
            weights.tensors.insert(name, tensor);
        }
        let new = match classifier {
            Classifier::Keep => Vec::new(),
            Classifier::New => self.classifier(),
        };
        let new: Vec<&str> = new.iter().map(String::as_str).collect();
        let shapes = self.parameter_shapes();
        let shapes = shapes.iter().map(|(name, shape)| (&**name, &**shape));
        let found = weights.tensors.iter();
        let found: Vec<_> = found
            .map(|(name, tensor)| (name.clone(), tensor.shape().to_vec()))
            .collect();
        weights.matched(shapes, &new).map_err(|mismatch| {
            let found = found.iter().map(|(name, shape)| (&**name, &**shape));
            self.mismatch(mismatch, found)
        })
    }

    /// The name of a tensor today, given that in a file, which may be older.
    pub(crate) fn current_name(&self, name: String) -> String {
        let old_names = self.old_names.iter();
        old_names.fold(name, |name, [old, new]| name.replace(old, new))
    }

    /// Whether a file of the original network's weights may have a parameter of this name that is dropped:
    ///
    /// - `num_batches_tracked` of each batch norm: the number of batches its statistics have seen, which
    ///   PyTorch only uses without momentum;
    /// - `AuxLogits.…` of `inception_v3`: the auxiliary classifier, which only helps in training and is not
    ///   built here.
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
