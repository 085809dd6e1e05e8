//! Walks over everything in a model, including the branches and loop bodies of nodes, and functions.

use crate::proto::{AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto};

/// Calls `see` with every node; the second argument is the version of ONNX's own operators that applies to it.
pub(crate) fn nodes<'a>(model: &'a ModelProto, see: &mut impl FnMut(&'a NodeProto, i64)) {
    let opset = version(&model.opset_import);
    if let Some(graph) = &model.graph {
        nodes_of(&graph.node, opset, see);
    }
    for function in &model.functions {
        let own = version(&function.opset_import);
        nodes_of(&function.node, if own > 0 { own } else { opset }, see);
    }
}

/// Calls `see` with the graph, and the branches and loop bodies of its nodes.
pub(crate) fn graphs<'a>(model: &'a ModelProto, see: &mut impl FnMut(&'a GraphProto)) {
    if let Some(graph) = &model.graph {
        graphs_of(graph, see);
    }
}

fn graphs_of<'a>(graph: &'a GraphProto, see: &mut impl FnMut(&'a GraphProto)) {
    see(graph);
    let attributes = graph.node.iter().flat_map(|node| &node.attribute);
    for inner in attributes.flat_map(inner_graphs) {
        graphs_of(inner, see);
    }
}

fn nodes_of<'a>(nodes: &'a [NodeProto], opset: i64, see: &mut impl FnMut(&'a NodeProto, i64)) {
    for node in nodes {
        see(node, opset);
        for graph in node.attribute.iter().flat_map(inner_graphs) {
            nodes_of(&graph.node, opset, see);
        }
    }
}

/// Version of ONNX's own operators; 0 if it is not among the imports.
fn version(imports: &[crate::proto::OperatorSetIdProto]) -> i64 {
    let own = |domain: &str| domain.is_empty() || domain == "ai.onnx";
    let import = imports.iter().find(|import| own(&import.domain));
    import.map_or(0, |import| import.version)
}

/// Calls `see` with every constant: initializers, tensors in attributes, and for sparse ones the values and
/// their indices.
pub(crate) fn tensors<'a>(model: &'a ModelProto, see: &mut impl FnMut(&'a TensorProto, Role)) {
    if let Some(graph) = &model.graph {
        tensors_of_graph(graph, see);
    }
    for function in &model.functions {
        tensors_of_nodes(&function.node, see);
    }
}

/// What a tensor is for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Role {
    /// Values of a constant.
    Values,
    /// Indices of the values of a sparse constant.
    Indices,
}

fn tensors_of_graph<'a>(graph: &'a GraphProto, see: &mut impl FnMut(&'a TensorProto, Role)) {
    for tensor in &graph.initializer {
        see(tensor, Role::Values);
    }
    sparse(&graph.sparse_initializer, see);
    tensors_of_nodes(&graph.node, see);
}

fn tensors_of_nodes<'a>(nodes: &'a [NodeProto], see: &mut impl FnMut(&'a TensorProto, Role)) {
    for attribute in nodes.iter().flat_map(|node| &node.attribute) {
        for tensor in attribute.t.iter().chain(&attribute.tensors) {
            see(tensor, Role::Values);
        }
        sparse(attribute.sparse_tensor.iter(), see);
        sparse(&attribute.sparse_tensors, see);
        for graph in inner_graphs(attribute) {
            tensors_of_graph(graph, see);
        }
    }
}

fn sparse<'a>(
    tensors: impl IntoIterator<Item = &'a crate::proto::SparseTensorProto>,
    see: &mut impl FnMut(&'a TensorProto, Role),
) {
    for tensor in tensors {
        if let Some(values) = &tensor.values {
            see(values, Role::Values);
        }
        if let Some(indices) = &tensor.indices {
            see(indices, Role::Indices);
        }
    }
}

fn inner_graphs(attribute: &AttributeProto) -> impl Iterator<Item = &GraphProto> {
    attribute.g.as_deref().into_iter().chain(&attribute.graphs)
}
