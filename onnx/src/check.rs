use std::collections::HashSet;

use thiserror::Error;

use crate::proto::{DataType, ModelProto, NodeProto, OperatorSetIdProto, TensorProto};

/// A model is structurally invalid.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
#[non_exhaustive]
pub enum CheckError {
    /// The model has no graph.
    #[error("the model has no graph")]
    NoGraph,
    /// An operator set is used but not imported.
    #[error("node {node} uses operator set `{domain}`, which the model does not import")]
    NoOpset {
        /// Name of the node.
        node: String,
        /// The operator set.
        domain: String,
    },
    /// Two values share a name.
    #[error("value {0} is defined twice")]
    Duplicate(String),
    /// Two nodes share a name.
    #[error("two nodes are named {0}")]
    DuplicateNode(String),
    /// A value is read before it is defined, or never defined.
    #[error("{reader} reads value {value}, which is not defined before it")]
    Undefined {
        /// Name of the node; for an output, `the graph` or the function.
        reader: String,
        /// Name of the value.
        value: String,
    },
    /// The number of bytes of a constant does not match its shape.
    #[error("constant {name} of shape {dims:?} holds {found} bytes, expected {expected}")]
    Size {
        /// Name of the constant.
        name: String,
        /// Its shape.
        dims: Vec<i64>,
        /// Number of bytes.
        found: usize,
        /// Number of bytes for the shape.
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
    /// An operator set is imported twice.
    #[error("the operator set `{0}` is imported twice")]
    DuplicateOpset(String),
    /// Two functions have the same name.
    #[error("the function {domain}.{name} is defined twice")]
    DuplicateFunction {
        /// Operator set of the function.
        domain: String,
        /// Its name.
        name: String,
    },
    /// A metadata key appears twice.
    #[error("duplicate metadata key {0}")]
    DuplicateKey(String),
}

/// Checks the structure of a model: in the graph and in each function, values are defined once and before
/// they are read, names of nodes are unique, constants match their shapes and are finite, operator sets are
/// imported once, and names of functions and metadata keys are unique.
///
/// Does not check that inputs have the types and shapes that operators require; runtimes do.
///
/// # Errors
/// The first problem found.
pub fn check(model: &ModelProto) -> Result<(), CheckError> {
    let graph = model.graph.as_ref().ok_or(CheckError::NoGraph)?;
    for constant in &graph.initializer {
        check_constant(constant)?;
    }
    let inputs = graph.input.iter().map(|input| &input.name);
    let constants = graph.initializer.iter().map(|constant| &constant.name);
    let outputs = graph.output.iter().map(|output| &output.name);
    check_nodes(
        "the graph",
        &model.opset_import,
        inputs.chain(constants),
        &graph.node,
        outputs,
    )?;
    let mut names = HashSet::new();
    for function in &model.functions {
        if !names.insert((&function.domain, &function.name)) {
            return Err(CheckError::DuplicateFunction {
                domain: function.domain.clone(),
                name: function.name.clone(),
            });
        }
        check_nodes(
            &format!("function {}", function.name),
            &function.opset_import,
            &function.input,
            &function.node,
            &function.output,
        )?;
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

fn check_constant(constant: &TensorProto) -> Result<(), CheckError> {
    let elements: i64 = constant.dims.iter().product();
    let expected = elements as usize * constant.data_type().size();
    if constant.raw_data.len() != expected {
        return Err(CheckError::Size {
            name: constant.name.clone(),
            dims: constant.dims.clone(),
            found: constant.raw_data.len(),
            expected,
        });
    }
    if constant.data_type() == DataType::Float {
        let (floats, _) = constant.raw_data.as_chunks();
        let finite = |&bytes: &[u8; 4]| f32::from_le_bytes(bytes).is_finite();
        // Without a branch per element, which is several times faster.
        if !floats.iter().fold(true, |all, bytes| all & finite(bytes)) {
            let index = floats.iter().position(|bytes| !finite(bytes));
            return Err(CheckError::NotFinite {
                name: constant.name.clone(),
                index: index.unwrap_or_default(),
            });
        }
    }
    Ok(())
}

/// Checks the nodes of a graph or function, given the names of its inputs and constants, and of its outputs.
fn check_nodes<'a>(
    owner: &str,
    opsets: &[OperatorSetIdProto],
    inputs: impl IntoIterator<Item = &'a String>,
    nodes: &'a [NodeProto],
    outputs: impl IntoIterator<Item = &'a String>,
) -> Result<(), CheckError> {
    let mut imported = HashSet::new();
    if let Some(again) = opsets.iter().find(|opset| !imported.insert(&opset.domain)) {
        return Err(CheckError::DuplicateOpset(again.domain.clone()));
    }
    // An empty name is an omitted optional input or output.
    let mut defined = HashSet::from([""]);
    let define = |name: &'a String, defined: &mut HashSet<&'a str>| {
        if name.is_empty() || defined.insert(name) {
            Ok(())
        } else {
            Err(CheckError::Duplicate(name.clone()))
        }
    };
    for name in inputs {
        define(name, &mut defined)?;
    }
    let mut names = HashSet::new();
    for node in nodes {
        if !names.insert(&node.name) {
            return Err(CheckError::DuplicateNode(node.name.clone()));
        }
        if !opsets.iter().any(|opset| opset.domain == node.domain) {
            return Err(CheckError::NoOpset {
                node: node.name.clone(),
                domain: node.domain.clone(),
            });
        }
        if let Some(value) = node.input.iter().find(|v| !defined.contains(v.as_str())) {
            return Err(CheckError::Undefined {
                reader: node.name.clone(),
                value: value.clone(),
            });
        }
        for name in &node.output {
            define(name, &mut defined)?;
        }
    }
    match outputs
        .into_iter()
        .find(|name| !defined.contains(name.as_str()))
    {
        Some(value) => Err(CheckError::Undefined {
            reader: owner.to_owned(),
            value: value.clone(),
        }),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Dim, GraphBuilder, model};

    fn builder() -> GraphBuilder {
        let mut graph = GraphBuilder::new("test");
        graph.input(
            "x",
            DataType::Float,
            &[Dim::Dynamic("batch"), Dim::Fixed(2)],
            "",
        );
        graph.initializer("w", &[2], &[1.0, 2.0]);
        graph
    }

    fn error(graph: GraphBuilder) -> Option<CheckError> {
        check(&model(graph.finish(), "", [])).err()
    }

    #[test]
    fn accepts_a_graph_in_order() {
        let mut graph = builder();
        graph.node("Add", "sum", &["x", "w"], []);
        graph.node("Clip", "y", &["sum", "", "w"], []);
        graph.output(
            "y",
            DataType::Float,
            &[Dim::Dynamic("batch"), Dim::Fixed(2)],
            "",
        );
        assert_eq!(error(graph), None);
    }

    #[test]
    fn names_each_problem() {
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
        assert_eq!(error(graph), undefined("y", "late"));

        let mut graph = builder();
        graph.output("y", DataType::Float, &[], "");
        assert_eq!(error(graph), undefined("the graph", "y"));

        let mut graph = builder();
        graph.node("Relu", "w", &["x"], []);
        assert_eq!(error(graph), Some(CheckError::Duplicate("w".into())));

        let mut graph = builder();
        graph.initializer("v", &[3], &[0.0; 2]);
        let size = CheckError::Size {
            name: "v".into(),
            dims: vec![3],
            found: 8,
            expected: 12,
        };
        assert_eq!(error(graph), Some(size));

        let mut graph = builder();
        graph.initializer("v", &[2], &[0.0, f32::NAN]);
        assert_eq!(
            error(graph),
            Some(CheckError::NotFinite {
                name: "v".into(),
                index: 1
            })
        );

        let mut graph = builder();
        graph.node("Relu", "y", &["x"], []);
        let mut foreign = model(graph.finish(), "", []);
        foreign.graph.as_mut().unwrap().node[0].domain = "other".into();
        let error = CheckError::NoOpset {
            node: "y".into(),
            domain: "other".into(),
        };
        assert_eq!(check(&foreign), Err(error));

        let mut graph = builder();
        graph.node("Relu", "y", &["x"], []);
        let mut named = model(graph.finish(), "", []);
        let nodes = &mut named.graph.as_mut().unwrap().node;
        let mut again = nodes[0].clone();
        again.output = vec!["z".into()];
        nodes.push(again);
        assert_eq!(check(&named), Err(CheckError::DuplicateNode("y".into())));

        let mut graph = builder();
        graph.node("Relu", "y", &["x"], []);
        let mut twice = model(graph.finish(), "", []);
        let function = crate::proto::FunctionProto {
            domain: "topk".into(),
            name: "F".into(),
            ..Default::default()
        };
        twice.functions = vec![function.clone(), function];
        let error = CheckError::DuplicateFunction {
            domain: "topk".into(),
            name: "F".into(),
        };
        assert_eq!(check(&twice), Err(error));
        let again = twice.opset_import[0].clone();
        twice.opset_import.push(again);
        assert_eq!(
            check(&twice),
            Err(CheckError::DuplicateOpset(String::new()))
        );

        let pair = || ("key".to_owned(), String::new());
        let duplicate = model(builder().finish(), "", [pair(), pair()]);
        assert_eq!(
            check(&duplicate),
            Err(CheckError::DuplicateKey("key".into()))
        );
    }
}
