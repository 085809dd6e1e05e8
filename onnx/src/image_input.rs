use crate::proto::{DataType, DimensionValue, GraphProto, NodeProto, TensorProto};
use crate::{Dim, attribute, builder};

/// Input format of an image classifier that normalises images itself.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ImageInput {
    /// Pixels / 255, red first: `f32` `[batch, channels, height, width]`.
    Float,
    /// Decoded pixels, red first: `u8` `[batch, height, width, channels]`.
    Bytes,
}

/// Adds the normalisation of images to a graph, whose first input must be images, `f32` `[batch, channels,
/// height, width]`: a pixel p becomes (p / 255 − mean) / std of its channel. The input keeps its name.
///
/// # Panics
/// If the graph has no input.
pub fn normalize_inside(graph: &mut GraphProto, input: ImageInput, mean: &[f32], std: &[f32]) {
    let first = graph.input.first_mut().expect("a classifier has an input");
    let name = first.name.clone();
    let normalized = format!("{name}.normalized");
    for node in &mut graph.node {
        for value in node.input.iter_mut().filter(|value| **value == name) {
            normalized.clone_into(value);
        }
    }

    let colors = match mean.len() {
        1 => "Grey",
        _ => "RGB",
    };
    let mut nodes = Vec::new();
    let mut pixels = name.clone();
    let mut scale = 1.0;
    if input == ImageInput::Bytes {
        let tensor = first.r#type.as_ref().and_then(|t| t.tensor_type.as_ref());
        let shape = tensor.and_then(|tensor| tensor.shape.clone());
        let dims = shape.unwrap_or_default().dim;
        let dims: Vec<Dim> = [0, 2, 3, 1]
            .iter()
            .filter_map(|&index| dims.get(index)?.value.as_ref())
            .map(|value| match value {
                DimensionValue::DimValue(size) => Dim::Fixed(*size as usize),
                DimensionValue::DimParam(name) => Dim::Dynamic(name),
            })
            .collect();
        let doc = format!("{colors} images as decoded, 0 to 255");
        *first = builder::value_info(&name, DataType::Uint8, &dims, &doc);
        let (float, planes) = (format!("{name}.float"), format!("{name}.planes"));
        let to = attribute::int("to", DataType::Float as i64);
        let order = attribute::ints("perm", [0, 3, 1, 2]);
        nodes.push(NodeProto::new("Cast", &[&name], &[&float], [to]));
        nodes.push(NodeProto::new("Transpose", &[&float], &[&planes], [order]));
        pixels = planes;
        scale = 255.0;
    } else {
        first.doc_string = format!("{colors} images: pixel / 255");
    }
    let mut constant = |suffix: &str, values: &[f32]| {
        let constant = format!("{name}.{suffix}");
        let values: Vec<f32> = values
            .iter()
            .map(|&value| (f64::from(value) * scale) as f32)
            .collect();
        let dims = [1, values.len(), 1, 1];
        let tensor = TensorProto::of_floats(&constant, &dims, &values);
        graph.initializer.push(tensor);
        constant
    };
    let (mean, std) = (constant("mean", mean), constant("std", std));
    let centered = format!("{name}.centered");
    nodes.push(NodeProto::new("Sub", &[&pixels, &mean], &[&centered], []));
    nodes.push(NodeProto::new(
        "Div",
        &[&centered, &std],
        &[&normalized],
        [],
    ));
    graph.node.splice(0..0, nodes);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{GraphBuilder, check, model};

    fn graph() -> GraphProto {
        let dims = [
            Dim::Dynamic("batch"),
            Dim::Fixed(3),
            Dim::Fixed(4),
            Dim::Fixed(5),
        ];
        let mut graph = GraphBuilder::new("net");
        graph.input("input", DataType::Float, &dims, "");
        graph.node("Relu", "relu", &["input"], []);
        graph.node("Add", "sum", &["input", "relu"], []);
        graph.output("sum", DataType::Float, &dims, "");
        graph.finish()
    }

    #[test]
    fn all_nodes_read_normalised_images() {
        let (mean, std) = ([0.5, 0.25, 0.0], [0.5, 1.0, 0.125]);
        for (input, steps, scale) in [(ImageInput::Float, 2, 1.0), (ImageInput::Bytes, 4, 255.0)] {
            let mut graph = graph();
            normalize_inside(&mut graph, input, &mean, &std);
            check(&model(graph.clone(), "", [])).unwrap();
            assert_eq!(graph.node.len(), steps + 2);
            assert_eq!(graph.node[steps].input, ["input.normalized"]);
            assert_eq!(graph.node[steps + 1].input, ["input.normalized", "relu"]);
            assert_eq!(graph.initializer[0].floats(), mean.map(|mean| mean * scale));
            assert_eq!(graph.initializer[1].floats(), std.map(|std| std * scale));
        }
        let mut bytes = graph();
        normalize_inside(&mut bytes, ImageInput::Bytes, &mean, &std);
        let tensor = bytes.input[0].r#type.clone().unwrap().tensor_type.unwrap();
        assert_eq!(tensor.elem_type, DataType::Uint8 as i32);
        let sizes = tensor.shape.unwrap().dim;
        let sizes: Vec<_> = sizes.into_iter().map(|dim| dim.value.unwrap()).collect();
        let fixed = DimensionValue::DimValue;
        let batch = DimensionValue::DimParam("batch".to_owned());
        assert_eq!(sizes, [batch, fixed(4), fixed(5), fixed(3)]);
    }
}
