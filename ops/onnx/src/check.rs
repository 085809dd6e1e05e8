use std::collections::HashSet;

use thiserror::Error;

use crate::proto::{DataType, ModelProto};

/// What is wrong with the structure of a model.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
#[non_exhaustive]
pub enum CheckError {
    /// There is nothing to compute.
    #[error("the model has no graph")]
    NoGraph,
    /// An operator set is used without its version.
    #[error("node {node} is from operator set `{domain}`, whose version the model does not state")]
    NoOpset {
        /// Name of the node.
        node: String,
        /// The operator set.
        domain: String,
    },
    /// Two values share a name.
    #[error("value {0} is made twice")]
    Duplicate(String),
    /// A value is read before it is made, or is never made.
    #[error("{reader} reads value {value}, which is not made before it")]
    Undefined {
        /// Name of the node, or `the graph` for an output.
        reader: String,
        /// Name of the value.
        value: String,
    },
    /// A constant's bytes do not fit its shape.
    #[error("constant {name} of shape {dims:?} holds {found} bytes, expected {expected}")]
    Size {
        /// Name of the constant.
        name: String,
        /// Its shape.
        dims: Vec<i64>,
        /// Bytes held.
        found: usize,
        /// Bytes that the shape calls for.
        expected: usize,
    },
    /// A constant has a NaN or an infinite element.
    #[error("constant {name} is not finite at element {index}")]
    NotFinite {
        /// Name of the constant.
        name: String,
        /// Index of the first such element.
        index: usize,
    },
    /// A metadata key stands twice.
    #[error("metadata key {0} stands twice")]
    DuplicateKey(String),
}

/// Checks what must hold of every model that is written here: each value is made once and before it
/// is read, constants fit their shapes and are finite, operator sets are declared, keys are unique.
///
/// Whether operators get inputs of the right types and shapes is for a runtime to say.
///
/// # Errors
/// The first fault found.
pub fn check(model: &ModelProto) -> Result<(), CheckError> {
    let graph = model.graph.as_ref().ok_or(CheckError::NoGraph)?;

    let mut values = HashSet::new();
    let mut make = |name: &str| {
        if values.insert(name.to_owned()) {
            Ok(())
        } else {
            Err(CheckError::Duplicate(name.to_owned()))
        }
    };
    for input in &graph.input {
        make(&input.name)?;
    }
    for constant in &graph.initializer {
        make(&constant.name)?;
    }
    for node in &graph.node {
        for output in &node.output {
            make(output)?;
        }
    }

    for constant in &graph.initializer {
        let size = match constant.data_type() {
            DataType::Int64 => 8,
            DataType::Float | DataType::Undefined => 4,
        };
        let elements: i64 = constant.dims.iter().product();
        let expected = elements as usize * size;
        if constant.raw_data.len() != expected {
            return Err(CheckError::Size {
                name: constant.name.clone(),
                dims: constant.dims.clone(),
                found: constant.raw_data.len(),
                expected,
            });
        }
        if constant.data_type() == DataType::Float {
            let mut floats = constant
                .raw_data
                .as_chunks()
                .0
                .iter()
                .map(|&b| f32::from_le_bytes(b));
            if let Some(index) = floats.position(|value| !value.is_finite()) {
                return Err(CheckError::NotFinite {
                    name: constant.name.clone(),
                    index,
                });
            }
        }
    }

    let inputs = graph.input.iter().map(|input| input.name.as_str());
    let constants = graph
        .initializer
        .iter()
        .map(|constant| constant.name.as_str());
    let mut made: HashSet<&str> = inputs.chain(constants).collect();
    for node in &graph.node {
        if !model
            .opset_import
            .iter()
            .any(|opset| opset.domain == node.domain)
        {
            return Err(CheckError::NoOpset {
                node: node.name.clone(),
                domain: node.domain.clone(),
            });
        }
        // An empty name stands for an optional input that is left out.
        if let Some(value) = node
            .input
            .iter()
            .find(|v| !v.is_empty() && !made.contains(v.as_str()))
        {
            return Err(CheckError::Undefined {
                reader: node.name.clone(),
                value: value.clone(),
            });
        }
        made.extend(node.output.iter().map(String::as_str));
    }
    if let Some(output) = graph
        .output
        .iter()
        .find(|output| !made.contains(output.name.as_str()))
    {
        return Err(CheckError::Undefined {
            reader: "the graph".to_owned(),
            value: output.name.clone(),
        });
    }

    let mut keys = HashSet::new();
    match model
        .metadata_props
        .iter()
        .find(|entry| !keys.insert(&entry.key))
    {
        Some(entry) => Err(CheckError::DuplicateKey(entry.key.clone())),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Dim, GraphBuilder, model};

    fn builder() -> GraphBuilder {
        let mut graph = GraphBuilder::new("test");
        graph.input("x", &[Dim::Dynamic("batch"), Dim::Fixed(2)], "");
        graph.initializer("w", &[2], &[1.0, 2.0]);
        graph
    }

    fn fault(graph: GraphBuilder) -> Option<CheckError> {
        check(&model(graph.finish(), "", [])).err()
    }

    #[test]
    fn accepts_a_graph_in_order() {
        let mut graph = builder();
        graph.node("Add", "sum", &["x", "w"], []);
        graph.node("Clip", "y", &["sum", "", "w"], []);
        graph.output("y", &[Dim::Dynamic("batch"), Dim::Fixed(2)], "");
        assert_eq!(fault(graph), None);
    }

    #[test]
    fn names_each_fault() {
        assert_eq!(check(&Default::default()), Err(CheckError::NoGraph));

        let undefined = |reader: &str, value: &str| {
            Some(CheckError::Undefined {
                reader: reader.into(),
                value: value.into(),
            })
        };
        let mut graph = builder();
        graph.node("Add", "y", &["x", "late"], []);
        graph.node("Relu", "late", &["x"], []);
        assert_eq!(fault(graph), undefined("y", "late"));

        let mut graph = builder();
        graph.output("y", &[], "");
        assert_eq!(fault(graph), undefined("the graph", "y"));

        let mut graph = builder();
        graph.node("Relu", "w", &["x"], []);
        assert_eq!(fault(graph), Some(CheckError::Duplicate("w".into())));

        let mut graph = builder();
        graph.initializer("v", &[3], &[0.0; 2]);
        let size = CheckError::Size {
            name: "v".into(),
            dims: vec![3],
            found: 8,
            expected: 12,
        };
        assert_eq!(fault(graph), Some(size));

        let mut graph = builder();
        graph.initializer("v", &[2], &[0.0, f32::NAN]);
        assert_eq!(
            fault(graph),
            Some(CheckError::NotFinite {
                name: "v".into(),
                index: 1
            })
        );

        let mut graph = builder();
        graph.node("Relu", "y", &["x"], []);
        let mut foreign = model(graph.finish(), "", []);
        foreign.graph.as_mut().unwrap().node[0].domain = "other".into();
        let fault = CheckError::NoOpset {
            node: "y".into(),
            domain: "other".into(),
        };
        assert_eq!(check(&foreign), Err(fault));

        let pair = || ("key".to_owned(), String::new());
        let twice = model(builder().finish(), "", [pair(), pair()]);
        assert_eq!(check(&twice), Err(CheckError::DuplicateKey("key".into())));
    }
}
