//! Defines an architecture operation by operation.

mod common;
mod conv;
mod images;
mod initializers;
mod tokens;

use std::collections::HashMap;

use crate::architecture::{Architecture, ArchitectureError};
use crate::op::{BatchNorm, Node, Op, Value};

pub(crate) use conv::Conv;
pub(crate) use initializers::Initializers;

/// Builds an architecture node by node, in the order of computation, and works out the shapes.
///
/// Names are those of PyTorch's modules. A module without parameters may be used, and named, several times.
pub(crate) struct Builder {
    name: String,
    input_size: [usize; 3],
    classes: usize,
    nodes: Vec<Node>,
    uses: HashMap<String, usize>,
    ignorable: Vec<&'static str>,
    old_names: Vec<[&'static str; 2]>,
    /// The first error; shapes are meaningless after it.
    error: Option<ArchitectureError>,
    /// Initial values of the layers that are added from now on.
    pub(crate) initializers: Initializers,
    /// Constants of the batch norms that are added from now on.
    pub(crate) batch_norm: BatchNorm,
}

impl Builder {
    pub(crate) fn new(name: &str, input_size: [usize; 3], classes: usize) -> Self {
        let mut builder = Self {
            name: name.to_owned(),
            input_size,
            classes,
            nodes: Vec::new(),
            uses: HashMap::new(),
            ignorable: Vec::new(),
            old_names: Vec::new(),
            error: None,
            initializers: Initializers::default(),
            batch_norm: BatchNorm {
                eps: 1e-5,
                momentum: 0.1,
            },
        };
        if input_size.contains(&0) {
            builder.too_small("the input");
        }
        builder
    }

    /// Number of classes.
    pub(crate) fn classes(&self) -> usize {
        self.classes
    }

    /// Shape of a value, without the batch.
    pub(crate) fn shape(&self, x: Value) -> &[usize] {
        match x.index().checked_sub(1) {
            None => &self.input_size,
            Some(node) => &self.nodes[node].shape,
        }
    }

    /// Channels of an image, which is the first dimension.
    pub(crate) fn channels(&self, x: Value) -> usize {
        self.shape(x)[0]
    }

    /// Records an error; `finish` returns the first.
    fn fail(&mut self, error: ArchitectureError) {
        self.error.get_or_insert(error);
    }

    /// Requires images of this height and width.
    pub(crate) fn require_sides(&mut self, [height, width]: [usize; 2]) {
        let expected = [self.input_size[0], height, width];
        if self.input_size != expected {
            self.fail(ArchitectureError::InputSize {
                name: self.name.clone(),
                expected,
                found: self.input_size,
            });
        }
    }

    /// Requires images whose sides are multiples of a number.
    pub(crate) fn require_multiple(&mut self, multiple: usize) {
        let [_, height, width] = self.input_size;
        if !height.is_multiple_of(multiple) || !width.is_multiple_of(multiple) {
            self.fail(ArchitectureError::Sides {
                name: self.name.clone(),
                multiple,
                found: self.input_size,
            });
        }
    }

    /// Rejects the numbers in the architecture's name.
    pub(crate) fn reject_numbers(&mut self, rule: &'static str) {
        let name = self.name.clone();
        self.fail(ArchitectureError::Numbers { name, rule });
    }

    /// Ignores parameters with this prefix, which files of the original may have and this network lacks.
    pub(crate) fn ignorable(&mut self, prefix: &'static str) {
        self.ignorable.push(prefix);
    }

    /// In older files of weights, parts of names were spelled like the first of each pair.
    pub(crate) fn old_names(&mut self, parts: &[[&'static str; 2]]) {
        self.old_names.extend(parts);
    }

    fn too_small(&mut self, module: &str) {
        self.fail(ArchitectureError::TooSmall {
            name: self.name.clone(),
            found: self.input_size,
            module: module.to_owned(),
        });
    }

    fn push(
        &mut self,
        name: impl Into<String>,
        op: Op,
        inputs: &[Value],
        shape: &[usize],
    ) -> Value {
        let mut name = name.into();
        let uses = self.uses.entry(name.clone()).or_insert(0);
        *uses += 1;
        if *uses > 1 {
            name = format!("{name}:{uses}");
        }
        let node = Node {
            name,
            op,
            inputs: inputs.to_vec(),
            shape: shape.to_vec(),
        };
        assert!(
            *uses == 1 || node.parameters().is_empty(),
            "{}: two modules with parameters are named {}",
            self.name,
            node.name
        );
        self.nodes.push(node);
        Value::of_node(self.nodes.len() - 1)
    }

    /// Panics on a bug in the definition, unless an error was recorded before.
    fn assert(&self, fits: bool, op: &str, values: &[Value]) {
        assert!(
            fits || self.error.is_some(),
            "{}: {op} of {:?}",
            self.name,
            values.iter().map(|&x| self.shape(x)).collect::<Vec<_>>()
        );
    }

    /// The architecture that computes these scores.
    ///
    /// # Errors
    /// The first error recorded.
    pub(crate) fn finish(self, scores: Value) -> Result<Architecture, ArchitectureError> {
        if let Some(error) = self.error {
            return Err(error);
        }
        assert_eq!(
            (scores, self.shape(scores)),
            (Value::of_node(self.nodes.len() - 1), &[self.classes][..]),
            "{}: the last node must compute the scores",
            self.name
        );
        Ok(Architecture {
            name: self.name,
            input_size: self.input_size,
            nodes: self.nodes,
            classes: self.classes,
            ignorable: self.ignorable,
            old_names: self.old_names,
        })
    }
}
