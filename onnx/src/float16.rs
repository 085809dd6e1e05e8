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

/// Converts a model to 16-bit floating point: constants are rounded, casts to `f32` become casts to 16 bits,
/// and casts are added at the inputs and outputs of the graph, which stay `f32`.
///
/// [`normalize_inside`](crate::normalize_inside()) may come before or after. After, the normalisation is computed
/// in `f32`, which is more accurate.
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

/// The node; the value of a `Constant` node is rounded, and a `Cast` to `f32` becomes one to 16 bits.
fn rounded_node(node: &NodeProto) -> Result<NodeProto, Float16Error> {
    let mut node = node.clone();
    if node.op_type == "Constant" && node.domain.is_empty() {
        let name = &node.output[0];
        for attribute in &mut node.attribute {
            *attribute = rounded_attribute(name, attribute)?;
        }
    }
    if node.op_type == "Cast" && node.domain.is_empty() {
        let mut attributes = node.attribute.iter_mut();
        let to = attributes.find(|attribute| attribute.name == "to");
        if let Some(to) = to
            .and_then(|to| to.i.as_mut())
            .filter(|to| **to == DataType::Float as i64)
        {
            *to = DataType::Float16 as i64;
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
    use crate::{Dim, GraphBuilder, ImageInput, check, model, normalize_inside};

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

    /// Types of the values of a graph in which both inputs of `Sub` and `Div` have one type.
    fn assert_types_agree(model: &ModelProto) {
        let graph = model.graph.as_ref().unwrap();
        let mut types: HashMap<&str, DataType> = HashMap::new();
        for constant in &graph.initializer {
            types.insert(&constant.name, constant.data_type());
        }
        for input in &graph.input {
            let tensor = input.r#type.as_ref().unwrap().tensor_type.as_ref().unwrap();
            let float = tensor.elem_type == DataType::Float as i32;
            types.insert(
                &input.name,
                if float {
                    DataType::Float
                } else {
                    DataType::Uint8
                },
            );
        }
        for node in &graph.node {
            let inputs: Vec<DataType> = node.input.iter().map(|name| types[&**name]).collect();
            assert!(inputs.iter().all(|input| *input == inputs[0]), "{node:?}");
            let cast = node
                .attribute
                .iter()
                .find(|attribute| attribute.name == "to");
            let output = match cast.and_then(|to| to.i) {
                Some(to) if to == DataType::Float as i64 => DataType::Float,
                Some(_) => DataType::Float16,
                None => inputs[0],
            };
            types.insert(&node.output[0], output);
        }
        assert_eq!(types["y"], DataType::Float);
    }

    #[test]
    fn normalisation_may_be_added_before_and_after() {
        let dims = [1, 3, 4, 5].map(Dim::Fixed);
        for input in [ImageInput::Float, ImageInput::Bytes] {
            for before in [true, false] {
                let mut graph = GraphBuilder::new("net");
                graph.input("x", DataType::Float, &dims, "");
                graph.initializer("weights", &[1, 3, 1, 1], &[1.0, 2.0, 3.0]);
                graph.node("Mul", "y", &["x", "weights"], []);
                graph.output("y", DataType::Float, &dims, "");
                let mut model = model(graph.finish(), "", []);
                let normalize = |model: &mut ModelProto| {
                    let graph = model.graph.as_mut().unwrap();
                    normalize_inside(graph, input, &[0.5; 3], &[0.25; 3]);
                };
                if before {
                    normalize(&mut model);
                }
                to_float16(&mut model).unwrap();
                if !before {
                    normalize(&mut model);
                }
                check(&model).unwrap();
                assert_types_agree(&model);
            }
        }
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
