use std::collections::HashMap;

use half::f16;
use thiserror::Error;

use crate::attribute;
use crate::proto::{AttributeProto, DataType, ModelProto, NodeProto, TensorProto, ValueInfoProto};

/// A number is too large for 16-bit floating point.
#[derive(Clone, Debug, Error, PartialEq)]
#[error("{name} contains {value}, which exceeds the largest 16-bit floating-point number, 65504")]
pub struct Float16Error {
    /// Name of the constant.
    pub name: String,
    /// The number.
    pub value: f32,
}

/// Converts a model to 16-bit floating point: constants are rounded, and casts are added at the inputs and
/// outputs of the graph, which stay `f32`.
///
/// Functions are unchanged: those of `topk-ops-onnx` compute in the type of their inputs.
///
/// # Errors
/// If a constant contains a number that is too large; the model is then unchanged.
pub fn to_float16(model: &mut ModelProto) -> Result<(), Float16Error> {
    let Some(graph) = &mut model.graph else {
        return Ok(());
    };
    let initializer = graph.initializer.iter().map(rounded_constant);
    let initializer: Vec<TensorProto> = initializer.collect::<Result<_, _>>()?;
    let nodes = graph.node.iter().map(rounded_node);
    let nodes: Vec<NodeProto> = nodes.collect::<Result<_, _>>()?;

    let half = |name: &String| format!("{name}.float16");
    let floats = |values: &[ValueInfoProto]| -> HashMap<String, String> {
        let floats = values.iter().filter(|value| is_float(value));
        floats
            .map(|value| (value.name.clone(), half(&value.name)))
            .collect()
    };
    let (inputs, outputs) = (floats(&graph.input), floats(&graph.output));
    let rename = |name: &mut String| {
        if let Some(half) = inputs.get(name).or_else(|| outputs.get(name)) {
            half.clone_into(name);
        }
    };
    let cast = |value: &ValueInfoProto, into_half: bool| {
        let (name, half) = (&*value.name, half(&value.name));
        let (from, to, data_type) = if into_half {
            (name, &*half, DataType::Float16)
        } else {
            (&*half, name, DataType::Float)
        };
        let data_type = attribute::int("to", data_type as i64);
        NodeProto::new("Cast", &[from], &[to], [data_type])
    };
    let first = graph.input.iter().filter(|value| is_float(value));
    let mut node: Vec<NodeProto> = first.map(|value| cast(value, true)).collect();
    node.extend(nodes.into_iter().map(|mut node| {
        node.input.iter_mut().for_each(rename);
        node.output.iter_mut().for_each(rename);
        rename(&mut node.name);
        node
    }));
    let last = graph.output.iter().filter(|value| is_float(value));
    node.extend(last.map(|value| cast(value, false)));
    graph.node = node;
    graph.initializer = initializer;
    Ok(())
}

fn is_float(value: &ValueInfoProto) -> bool {
    let tensor = value.r#type.as_ref().and_then(|t| t.tensor_type.as_ref());
    tensor.is_some_and(|tensor| tensor.elem_type == DataType::Float as i32)
}

fn rounded_constant(constant: &TensorProto) -> Result<TensorProto, Float16Error> {
    if constant.data_type() != DataType::Float {
        return Ok(constant.clone());
    }
    let dims: Vec<usize> = constant.dims.iter().map(|&dim| dim as usize).collect();
    half_tensor(&constant.name, &dims, &constant.floats())
}

/// The node; the value of a `Constant` node is rounded.
fn rounded_node(node: &NodeProto) -> Result<NodeProto, Float16Error> {
    let mut node = node.clone();
    if node.op_type == "Constant" && node.domain.is_empty() {
        let name = &node.output[0];
        for attribute in &mut node.attribute {
            *attribute = rounded_attribute(name, attribute)?;
        }
    }
    Ok(node)
}

fn rounded_attribute(name: &str, value: &AttributeProto) -> Result<AttributeProto, Float16Error> {
    let tensor = match (&*value.name, value.f, &value.t) {
        ("value_float", Some(number), _) => half_tensor(name, &[], &[number])?,
        ("value_floats", ..) => half_tensor(name, &[value.floats.len()], &value.floats)?,
        ("value", _, Some(tensor)) => rounded_constant(tensor)?,
        _ => return Ok(value.clone()),
    };
    Ok(attribute::tensor("value", tensor))
}

fn half_tensor(name: &str, dims: &[usize], values: &[f32]) -> Result<TensorProto, Float16Error> {
    let mut raw_data = Vec::with_capacity(2 * values.len());
    for &value in values {
        let half = f16::from_f32(value);
        if value.is_finite() && !half.is_finite() {
            let name = name.to_owned();
            return Err(Float16Error { name, value });
        }
        raw_data.extend(half.to_le_bytes());
    }
    Ok(TensorProto::new(name, DataType::Float16, dims, raw_data))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Dim, GraphBuilder, check, model};

    fn scaled(weights: &[f32]) -> ModelProto {
        let dims = [Dim::Dynamic("batch"), Dim::Fixed(2)];
        let mut graph = GraphBuilder::new("test");
        graph.input("x", DataType::Float, &dims, "");
        graph.input("labels", DataType::Int64, &dims[..1], "");
        graph.initializer("weights", &[2], weights);
        graph.node(
            "Constant",
            "two",
            &[],
            [attribute::float("value_float", 2.0)],
        );
        graph.node("Mul", "product", &["x", "weights"], []);
        graph.node("Mul", "y", &["product", "two"], []);
        graph.node("Identity", "same", &["labels"], []);
        graph.output("y", DataType::Float, &dims, "");
        graph.output("same", DataType::Int64, &dims[..1], "");
        model(graph.finish(), "", [])
    }

    #[test]
    fn constants_are_rounded_and_inputs_and_outputs_converted() {
        let mut model = scaled(&[1.0, 0.1]);
        to_float16(&mut model).unwrap();
        check(&model).unwrap();
        let graph = model.graph.unwrap();
        let weights = &graph.initializer[0];
        assert_eq!(weights.data_type(), DataType::Float16);
        let rounded = [f16::from_f32(1.0), f16::from_f32(0.1)];
        let bytes: Vec<u8> = rounded.iter().flat_map(|half| half.to_le_bytes()).collect();
        assert_eq!(weights.raw_data, bytes);
        let nodes: Vec<_> = graph
            .node
            .iter()
            .map(|node| (&*node.op_type, node.input.join(" "), &*node.output[0]))
            .collect();
        let expected = [
            ("Cast", "x", "x.float16"),
            ("Constant", "", "two"),
            ("Mul", "x.float16 weights", "product"),
            ("Mul", "product two", "y.float16"),
            ("Identity", "labels", "same"),
            ("Cast", "y.float16", "y"),
        ];
        let expected = expected.map(|(op, inputs, output)| (op, inputs.to_owned(), output));
        assert_eq!(nodes, expected);
        let two = graph.node[1].attribute[0].t.clone().unwrap();
        assert_eq!(two.raw_data[..], f16::from_f32(2.0).to_le_bytes());
    }

    #[test]
    fn numbers_that_are_too_large_are_errors() {
        let mut model = scaled(&[1.0, 7e4]);
        let before = model.clone();
        let error = to_float16(&mut model).unwrap_err();
        assert_eq!(
            error.to_string(),
            "weights contains 70000, which exceeds the largest 16-bit floating-point number, 65504"
        );
        assert_eq!(model, before);
    }
}
