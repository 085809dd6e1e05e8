//! The element types of a model's weights, found without reading the weights.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

use prost::Message;
use prost::bytes::Buf;

/// The element types of a model's weights: of all initializers and constants, including those in subgraphs
/// and functions.
///
/// Counts floating-point numbers, and integers of 4 and 8 bits, which are quantised weights. Integers of 32
/// and 64 bits are shapes, indices and biases of quantised layers, and do not count.
///
/// Displayed as `float32`, or with the shares of elements as `int8 98.7 %, float32 1.3 %`, largest first.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct WeightTypes(BTreeMap<&'static str, u64>);

impl WeightTypes {
    /// Reads them from an ONNX file. Needs memory for the nodes, but not for the weights.
    ///
    /// # Errors
    /// If the file cannot be read, or is not an ONNX file.
    pub fn read(path: &Path) -> io::Result<Self> {
        let mut file = MessageFile::open(path)?;
        let model = ModelTypes::decode(&mut file);
        if let Some(error) = file.error {
            return Err(error);
        }
        let model = model.map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        let mut types = Self::default();
        if let Some(graph) = &model.graph {
            types.add_graph(graph);
        }
        for function in &model.functions {
            types.add_nodes(&function.node);
        }
        Ok(types)
    }

    fn add_graph(&mut self, graph: &GraphTypes) {
        let sparse = graph.sparse_initializer.iter();
        let sparse = sparse.filter_map(|tensor| tensor.values.as_ref());
        for tensor in graph.initializer.iter().chain(sparse) {
            self.add(tensor);
        }
        self.add_nodes(&graph.node);
    }

    fn add_nodes(&mut self, nodes: &[NodeTypes]) {
        for attribute in nodes.iter().flat_map(|node| &node.attribute) {
            if let Some(tensor) = &attribute.t {
                self.add(tensor);
            }
            for graph in attribute.g.iter().chain(&attribute.graphs) {
                self.add_graph(graph);
            }
        }
    }

    fn add(&mut self, tensor: &TensorType) {
        let Some(name) = name(tensor.data_type) else {
            return;
        };
        let sides = tensor.dims.iter();
        let sides = sides.map(|&side| u64::try_from(side).unwrap_or(0));
        let elements = sides.fold(1, u64::saturating_mul);
        let count = self.0.entry(name).or_default();
        *count = count.saturating_add(elements);
    }
}

impl fmt::Display for WeightTypes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut types: Vec<(&str, u64)> =
            self.0.iter().map(|(name, count)| (*name, *count)).collect();
        types.retain(|(_, count)| *count > 0);
        types.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        let all: f64 = types.iter().map(|(_, count)| *count as f64).sum();
        match *types {
            [] => f.write_str("none"),
            [(name, _)] => f.write_str(name),
            _ => {
                for (i, (name, count)) in types.into_iter().enumerate() {
                    let comma = if i == 0 { "" } else { ", " };
                    let percent = 100.0 * count as f64 / all;
                    match percent < 0.1 {
                        true => write!(f, "{comma}{name} < 0.1 %")?,
                        // Rounded down: only a single type is 100 %.
                        false => {
                            write!(f, "{comma}{name} {:.1} %", (10.0 * percent).floor() / 10.0)?
                        }
                    }
                }
                Ok(())
            }
        }
    }
}

/// The name of an element type of weights, by its number in ONNX's `TensorProto.DataType`. Types that only
/// quantised models have are not among [`DataType`](crate::proto::DataType), since nothing here writes them.
fn name(data_type: i32) -> Option<&'static str> {
    Some(match data_type {
        1 => "float32",
        2 => "uint8",
        3 => "int8",
        10 => "float16",
        11 => "float64",
        16 => "bfloat16",
        17 => "float8e4m3fn",
        18 => "float8e4m3fnuz",
        19 => "float8e5m2",
        20 => "float8e5m2fnuz",
        21 => "uint4",
        22 => "int4",
        23 => "float4e2m1",
        _ => return None,
    })
}

/// The parts of ONNX's `ModelProto` that determine types; the others are skipped while decoding. They differ
/// from the messages of [`proto`](crate::proto), whose tensors would hold the weights.
#[derive(Clone, PartialEq, Message)]
struct ModelTypes {
    #[prost(message, optional, tag = "7")]
    graph: Option<GraphTypes>,
    #[prost(message, repeated, tag = "25")]
    functions: Vec<FunctionTypes>,
}

#[derive(Clone, PartialEq, Message)]
struct FunctionTypes {
    #[prost(message, repeated, tag = "7")]
    node: Vec<NodeTypes>,
}

#[derive(Clone, PartialEq, Message)]
struct GraphTypes {
    #[prost(message, repeated, tag = "1")]
    node: Vec<NodeTypes>,
    #[prost(message, repeated, tag = "5")]
    initializer: Vec<TensorType>,
    #[prost(message, repeated, tag = "15")]
    sparse_initializer: Vec<SparseTensorType>,
}

#[derive(Clone, PartialEq, Message)]
struct NodeTypes {
    #[prost(message, repeated, tag = "5")]
    attribute: Vec<AttributeTypes>,
}

#[derive(Clone, PartialEq, Message)]
struct AttributeTypes {
    #[prost(message, optional, tag = "5")]
    t: Option<TensorType>,
    #[prost(message, optional, tag = "6")]
    g: Option<GraphTypes>,
    #[prost(message, repeated, tag = "11")]
    graphs: Vec<GraphTypes>,
}

#[derive(Clone, PartialEq, Message)]
struct SparseTensorType {
    #[prost(message, optional, tag = "1")]
    values: Option<TensorType>,
}

#[derive(Clone, PartialEq, Message)]
struct TensorType {
    #[prost(int64, repeated, packed = "false", tag = "1")]
    dims: Vec<i64>,
    #[prost(int32, tag = "2")]
    data_type: i32,
}

/// A file from which messages are decoded in chunks; skipped bytes are not read.
struct MessageFile {
    file: File,
    remaining: u64,
    part: Vec<u8>,
    /// Number of bytes consumed of the part.
    taken: usize,
    /// The first read error. Bytes that could not be read are zeros, which are not a valid message.
    error: Option<io::Error>,
}

impl MessageFile {
    const PART: u64 = 1 << 13;

    fn open(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        let remaining = file.metadata()?.len();
        let mut opened = Self {
            file,
            remaining,
            part: Vec::new(),
            taken: 0,
            error: None,
        };
        opened.read(0);
        Ok(opened)
    }

    /// Skips bytes, then reads the next part.
    fn read(&mut self, skipped: i64) {
        self.part.clear();
        self.part.resize(self.remaining.min(Self::PART) as usize, 0);
        self.taken = 0;
        if self.error.is_none() {
            let sought = self.file.seek(SeekFrom::Current(skipped));
            let read = sought.and_then(|_| self.file.read_exact(&mut self.part));
            self.error = read.err();
        }
    }
}

impl Buf for MessageFile {
    fn remaining(&self) -> usize {
        usize::try_from(self.remaining).unwrap_or(usize::MAX)
    }

    fn chunk(&self) -> &[u8] {
        &self.part[self.taken..]
    }

    fn advance(&mut self, count: usize) {
        assert!(count <= self.remaining(), "prost checks `remaining`");
        self.remaining -= count as u64;
        self.taken += count;
        if self.taken >= self.part.len() {
            self.read((self.taken - self.part.len()) as i64);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;
    use crate::proto::{DataType, GraphProto, ModelProto, NodeProto, TensorProto};
    use crate::{attribute, model};

    fn types(bytes: &[u8]) -> io::Result<WeightTypes> {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(bytes).unwrap();
        WeightTypes::read(file.path())
    }

    fn tensor(data_type: DataType, dims: &[usize]) -> TensorProto {
        let bytes = dims.iter().product::<usize>() * data_type.size();
        TensorProto::new("weights", data_type, dims, vec![1; bytes])
    }

    fn with(initializer: Vec<TensorProto>, node: Vec<NodeProto>) -> ModelProto {
        let graph = GraphProto {
            initializer,
            node,
            ..GraphProto::default()
        };
        model(graph, "", [])
    }

    #[test]
    fn a_single_type_has_no_share() {
        let shapes = tensor(DataType::Int64, &[4000]);
        // Longer than a part of the file.
        let weights = tensor(DataType::Float16, &[300, 70]);
        let file = with(vec![weights.clone(), shapes, weights], vec![]);
        assert_eq!(types(&file.encode_to_vec()).unwrap().to_string(), "float16");
        let nothing = with(vec![tensor(DataType::Float, &[0, 3])], vec![]);
        assert_eq!(types(&nothing.encode_to_vec()).unwrap().to_string(), "none");
    }

    #[test]
    fn several_types_have_shares() {
        let constant = NodeProto {
            attribute: vec![attribute::tensor("value", tensor(DataType::Float, &[1]))],
            ..NodeProto::default()
        };
        let weights = vec![
            tensor(DataType::Uint8, &[500]),
            tensor(DataType::Float16, &[1499]),
        ];
        let mut file = with(weights, vec![constant.clone()]);
        let words = "float16 74.9 %, uint8 25.0 %, float32 < 0.1 %";
        assert_eq!(types(&file.encode_to_vec()).unwrap().to_string(), words);

        // The same constant in a function, and in a branch.
        file.functions.push(crate::proto::FunctionProto {
            node: vec![constant.clone()],
            ..Default::default()
        });
        let branch = ModelTypes {
            graph: Some(GraphTypes {
                node: vec![NodeTypes {
                    attribute: vec![AttributeTypes {
                        g: Some(GraphTypes {
                            initializer: vec![TensorType {
                                dims: vec![2, 998],
                                data_type: 1,
                            }],
                            ..GraphTypes::default()
                        }),
                        ..AttributeTypes::default()
                    }],
                }],
                ..GraphTypes::default()
            }),
            functions: vec![],
        };
        // Concatenated messages are merged.
        let bytes = [file.encode_to_vec(), branch.encode_to_vec()].concat();
        let words = "float32 49.9 %, float16 37.5 %, uint8 12.5 %";
        assert_eq!(types(&bytes).unwrap().to_string(), words);
    }

    #[test]
    fn weights_are_not_read() {
        use prost::encoding::{WireType, encode_key, encode_varint, encoded_len_varint};
        const BYTES: u64 = 1 << 36;
        let delimited = |tag, len, bytes: &mut Vec<u8>| {
            encode_key(tag, WireType::LengthDelimited, bytes);
            encode_varint(len, bytes);
        };
        let fields = tensor(DataType::Bfloat16, &[0]).encode_to_vec();
        let mut raw = Vec::new();
        delimited(9, BYTES, &mut raw);
        let tensor = fields.len() as u64 + raw.len() as u64 + BYTES;
        let mut head = Vec::new();
        delimited(7, 1 + encoded_len_varint(tensor) as u64 + tensor, &mut head);
        delimited(5, tensor, &mut head);
        head.extend(fields);
        head.extend(raw);
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(&head).unwrap();
        let after = with(vec![self::tensor(DataType::Double, &[3])], vec![]).encode_to_vec();
        // A hole takes no space on disk.
        file.as_file().set_len(head.len() as u64 + BYTES).unwrap();
        file.seek(SeekFrom::End(0)).unwrap();
        file.write_all(&after).unwrap();
        let found = WeightTypes::read(file.path()).unwrap();
        assert_eq!(found.to_string(), "float64");
    }

    #[test]
    fn other_files_are_errors() {
        let whole = with(vec![tensor(DataType::Float, &[9000])], vec![]).encode_to_vec();
        for bytes in [&whole[..whole.len() - 1], b"ORTM and more", &[0xff; 20]] {
            assert!(types(bytes).is_err());
        }
    }
}
