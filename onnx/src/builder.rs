use crate::proto::{
    AttributeProto, DataType, DimensionProto, DimensionValue, GraphProto, ModelProto, NodeProto,
    OperatorSetIdProto, StringStringEntryProto, TensorProto, TensorShapeProto, TensorTypeProto,
    TypeProto, ValueInfoProto,
};

/// Version of the file format that is written by default: ONNX 1.10 of 2021.
pub const IR_VERSION: i64 = 8;

/// Version of ONNX's operator set that is written by default: ONNX 1.12 of 2022.
pub const OPSET: i64 = 17;

/// Latest version of ONNX's operator set that can be written: ONNX 1.16 of 2024.
pub const MAX_OPSET: i64 = 21;

/// Version of the file format released with a version of ONNX's operator set.
pub fn ir_version(opset: i64) -> i64 {
    match opset {
        ..=8 => 3,
        9 => 4,
        10 => 5,
        11 => 6,
        12..=14 => 7,
        15..=18 => IR_VERSION,
        19..=20 => 9,
        21..=22 => 10,
        23 => 11,
        24 => 12,
        25..=27 => 13,
        28.. => 14,
    }
}

/// A dimension of an input or output.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Dim<'a> {
    /// A size that is fixed in the file.
    Fixed(usize),
    /// A size that each run chooses, with a name.
    Dynamic(&'a str),
}

/// Builds a graph node by node.
#[derive(Debug)]
pub struct GraphBuilder {
    graph: GraphProto,
}

impl GraphBuilder {
    /// An empty graph.
    pub fn new(name: &str) -> Self {
        Self {
            graph: GraphProto {
                name: name.to_owned(),
                ..Default::default()
            },
        }
    }

    /// Adds an input.
    pub fn input(&mut self, name: &str, data_type: DataType, dims: &[Dim], doc: &str) {
        let input = value_info(name, data_type, dims, doc);
        self.graph.input.push(input);
    }

    /// Declares the value `name`, computed by a node, as an output.
    pub fn output(&mut self, name: &str, data_type: DataType, dims: &[Dim], doc: &str) {
        let output = value_info(name, data_type, dims, doc);
        self.graph.output.push(output);
    }

    /// Adds a constant of `f32`.
    pub fn initializer(&mut self, name: &str, shape: &[usize], values: &[f32]) {
        self.constant(TensorProto::of_floats(name, shape, values));
    }

    /// Adds a constant.
    pub fn constant(&mut self, constant: TensorProto) {
        self.graph.initializer.push(constant);
    }

    /// Adds a constant of `i64`.
    pub fn integers(&mut self, name: &str, shape: &[usize], values: &[i64]) {
        let constant = TensorProto::of_integers(name, shape, values);
        self.graph.initializer.push(constant);
    }

    /// Adds a node with one output; both have the same name.
    pub fn node(
        &mut self,
        op_type: &str,
        name: &str,
        inputs: &[&str],
        attributes: impl Into<Vec<AttributeProto>>,
    ) {
        self.nodes([NodeProto::new(op_type, inputs, &[name], attributes)]);
    }

    /// Adds nodes.
    pub fn nodes(&mut self, nodes: impl IntoIterator<Item = NodeProto>) {
        self.graph.node.extend(nodes);
    }

    /// The graph.
    pub fn finish(self) -> GraphProto {
        self.graph
    }
}

/// A model with this graph and metadata.
pub fn model(
    graph: GraphProto,
    doc: &str,
    metadata: impl IntoIterator<Item = (String, String)>,
) -> ModelProto {
    ModelProto {
        ir_version: IR_VERSION,
        producer_name: "topk".to_owned(),
        producer_version: env!("CARGO_PKG_VERSION").to_owned(),
        doc_string: doc.to_owned(),
        graph: Some(graph),
        opset_import: vec![OperatorSetIdProto {
            domain: String::new(),
            version: OPSET,
        }],
        functions: vec![],
        metadata_props: metadata
            .into_iter()
            .map(|(key, value)| StringStringEntryProto { key, value })
            .collect(),
    }
}

impl NodeProto {
    /// A node with one of ONNX's own operators, named after its first output.
    pub fn new(
        op_type: &str,
        inputs: &[&str],
        outputs: &[&str],
        attributes: impl Into<Vec<AttributeProto>>,
    ) -> Self {
        let owned = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
        Self {
            input: owned(inputs),
            output: owned(outputs),
            name: outputs
                .first()
                .map_or_else(String::new, |&name| name.to_owned()),
            op_type: op_type.to_owned(),
            attribute: attributes.into(),
            domain: String::new(),
        }
    }
}

pub(crate) fn value_info(
    name: &str,
    data_type: DataType,
    dims: &[Dim],
    doc: &str,
) -> ValueInfoProto {
    let dim = dims
        .iter()
        .map(|dim| DimensionProto {
            value: Some(match *dim {
                Dim::Fixed(size) => DimensionValue::DimValue(size as i64),
                Dim::Dynamic(name) => DimensionValue::DimParam(name.to_owned()),
            }),
        })
        .collect();
    ValueInfoProto {
        name: name.to_owned(),
        r#type: Some(TypeProto {
            tensor_type: Some(TensorTypeProto {
                elem_type: data_type.into(),
                shape: Some(TensorShapeProto { dim }),
            }),
        }),
        doc_string: doc.to_owned(),
    }
}
