use std::io::{self, Write};

use prost::Message;
use prost::bytes::Bytes;
use prost::encoding::{WireType, encode_key, encode_varint};

use crate::proto::{DataLocation, GraphProto, ModelProto, StringStringEntryProto, TensorProto};

/// Field number of `ModelProto.graph`.
pub(crate) const GRAPH: u32 = 7;

/// Field number of `GraphProto.initializer`.
const INITIALIZER: u32 = 5;

/// Field number of `TensorProto.raw_data`.
const RAW_DATA: u32 = 9;

/// Writes the bytes that `prost` encodes a model to, without a second copy of the weights in memory.
///
/// # Errors
/// If the file cannot be written.
pub fn write(model: &ModelProto, file: &mut impl Write) -> io::Result<()> {
    let Some(graph) = &model.graph else {
        return file.write_all(&model.encode_to_vec());
    };
    // The fields that precede the constants in the file, and those that follow, by field number.
    let (before, after) = split(model);
    let (graph_before, graph_after) = split_graph(graph);
    let mut head = before.encode_to_vec();
    encode_key(GRAPH, WireType::LengthDelimited, &mut head);
    encode_varint(graph.encoded_len() as u64, &mut head);
    graph_before.encode_raw(&mut head);
    file.write_all(&head)?;
    for constant in &graph.initializer {
        let (before, after) = split_constant(constant);
        let mut head = Vec::new();
        encode_key(INITIALIZER, WireType::LengthDelimited, &mut head);
        encode_varint(constant.encoded_len() as u64, &mut head);
        before.encode_raw(&mut head);
        if !constant.raw_data.is_empty() {
            encode_key(RAW_DATA, WireType::LengthDelimited, &mut head);
            encode_varint(constant.raw_data.len() as u64, &mut head);
        }
        file.write_all(&head)?;
        file.write_all(&constant.raw_data)?;
        file.write_all(&after.encode_to_vec())?;
    }
    file.write_all(&graph_after.encode_to_vec())?;
    file.write_all(&after.encode_to_vec())
}

/// The largest file that every ONNX reader accepts: protobuf messages of 2 GiB and more cannot be read back.
pub(crate) const MAX_FILE: usize = (1 << 31) - 1;

/// Constants with fewer bytes stay in the model's file: runtimes read their values while loading it.
const MIN_EXTERNAL: usize = 1024;

/// Constants begin at multiples of this in the data file, so that it can be mapped into memory.
const ALIGNMENT: usize = 4096;

/// Writes a model as two files in the same folder: all large constants go to `data`, whose file name is
/// `data_name`.
///
/// # Errors
/// If a file cannot be written.
pub fn write_with_external_data(
    model: &ModelProto,
    file: &mut impl Write,
    data: &mut impl Write,
    data_name: &str,
) -> io::Result<()> {
    let Some(graph) = &model.graph else {
        return write(model, file);
    };
    let mut end = 0usize;
    let mut initializer = Vec::with_capacity(graph.initializer.len());
    for constant in &graph.initializer {
        let length = constant.raw_data.len();
        if length < MIN_EXTERNAL {
            initializer.push(constant.clone());
            continue;
        }
        let start = end.next_multiple_of(ALIGNMENT);
        data.write_all(&vec![0; start - end])?;
        data.write_all(&constant.raw_data)?;
        end = start + length;
        initializer.push(external(constant, data_name, start));
    }
    write(&with_initializers(model, graph, initializer), file)
}

// The functions below destructure messages without `..`, so that a field added to a message cannot be
// forgotten here: the compiler reports it.

/// The constant without its bytes, which are in the file `data_name` from byte `start`.
fn external(constant: &TensorProto, data_name: &str, start: usize) -> TensorProto {
    let TensorProto {
        dims,
        data_type,
        name,
        raw_data,
        float_data,
        int32_data,
        external_data: _,
        data_location: _,
    } = constant;
    let entry = |key: &str, value: String| StringStringEntryProto {
        key: key.to_owned(),
        value,
    };
    TensorProto {
        dims: dims.clone(),
        data_type: *data_type,
        name: name.clone(),
        raw_data: Bytes::new(),
        float_data: float_data.clone(),
        int32_data: int32_data.clone(),
        external_data: vec![
            entry("location", data_name.to_owned()),
            entry("offset", start.to_string()),
            entry("length", raw_data.len().to_string()),
        ],
        data_location: DataLocation::External.into(),
    }
}

/// A copy of the model whose graph has these constants instead of its own.
fn with_initializers(
    model: &ModelProto,
    graph: &GraphProto,
    initializer: Vec<TensorProto>,
) -> ModelProto {
    let GraphProto {
        node,
        name,
        initializer: _,
        doc_string,
        input,
        output,
        value_info,
        sparse_initializer,
    } = graph;
    let graph = GraphProto {
        node: node.clone(),
        name: name.clone(),
        initializer,
        doc_string: doc_string.clone(),
        input: input.clone(),
        output: output.clone(),
        value_info: value_info.clone(),
        sparse_initializer: sparse_initializer.clone(),
    };
    let ModelProto {
        ir_version,
        producer_name,
        producer_version,
        doc_string,
        graph: _,
        opset_import,
        metadata_props,
        functions,
    } = model;
    ModelProto {
        ir_version: *ir_version,
        producer_name: producer_name.clone(),
        producer_version: producer_version.clone(),
        doc_string: doc_string.clone(),
        graph: Some(graph),
        opset_import: opset_import.clone(),
        metadata_props: metadata_props.clone(),
        functions: functions.clone(),
    }
}

/// The fields with numbers below the graph's, and those above.
fn split(model: &ModelProto) -> (ModelProto, ModelProto) {
    let ModelProto {
        ir_version,
        producer_name,
        producer_version,
        doc_string,
        graph: _,
        opset_import,
        metadata_props,
        functions,
    } = model;
    let before = ModelProto {
        ir_version: *ir_version,
        producer_name: producer_name.clone(),
        producer_version: producer_version.clone(),
        doc_string: doc_string.clone(),
        ..Default::default()
    };
    let after = ModelProto {
        opset_import: opset_import.clone(),
        metadata_props: metadata_props.clone(),
        functions: functions.clone(),
        ..Default::default()
    };
    (before, after)
}

/// The fields with numbers below the constants', and those above.
fn split_graph(graph: &GraphProto) -> (GraphProto, GraphProto) {
    let GraphProto {
        node,
        name,
        initializer: _,
        doc_string,
        input,
        output,
        value_info,
        sparse_initializer,
    } = graph;
    let before = GraphProto {
        node: node.clone(),
        name: name.clone(),
        ..Default::default()
    };
    let after = GraphProto {
        doc_string: doc_string.clone(),
        input: input.clone(),
        output: output.clone(),
        value_info: value_info.clone(),
        sparse_initializer: sparse_initializer.clone(),
        ..Default::default()
    };
    (before, after)
}

/// The fields with numbers below that of the raw data, and those above.
fn split_constant(constant: &TensorProto) -> (TensorProto, TensorProto) {
    let TensorProto {
        dims,
        data_type,
        float_data,
        int32_data,
        name,
        raw_data: _,
        external_data,
        data_location,
    } = constant;
    let before = TensorProto {
        dims: dims.clone(),
        data_type: *data_type,
        float_data: float_data.clone(),
        int32_data: int32_data.clone(),
        name: name.clone(),
        ..Default::default()
    };
    let after = TensorProto {
        external_data: external_data.clone(),
        data_location: *data_location,
        ..Default::default()
    };
    (before, after)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::DataType;
    use crate::{GraphBuilder, model};

    #[test]
    fn bytes_equal_those_of_the_whole_message() {
        let mut graph = GraphBuilder::new("test");
        graph.input("x", DataType::Float, &[], "the input");
        graph.initializer("a", &[3], &[1.0, 2.0, 3.0]);
        graph.initializer("b", &[200], &[0.5; 200]);
        graph.node("Add", "y", &["x", "a"], []);
        graph.output("y", DataType::Float, &[], "the output");
        let mut graph = graph.finish();
        graph.doc_string = "a graph".to_owned();
        graph.initializer.push(TensorProto {
            dims: vec![2],
            data_type: DataType::Float.into(),
            name: "c".to_owned(),
            float_data: vec![0; 8].into(),
            ..Default::default()
        });
        let elsewhere = external(&graph.initializer[1], "net.data", 4096);
        graph.initializer.push(elsewhere);
        for model in [
            ModelProto::default(),
            model(graph, "a model", [("key".to_owned(), "value".to_owned())]),
        ] {
            let mut bytes = Vec::new();
            write(&model, &mut bytes).unwrap();
            assert_eq!(bytes, model.encode_to_vec());
        }
    }

    #[test]
    fn large_constants_are_in_the_data_file() {
        let large: Vec<f32> = (0..300).map(|i| i as f32).collect();
        let mut graph = GraphBuilder::new("test");
        graph.initializer("a", &[300], &large);
        graph.initializer("b", &[1], &[7.0]);
        graph.initializer("c", &[300], &large);
        let model = model(graph.finish(), "", []);
        let (mut file, mut data) = (Vec::new(), Vec::new());
        write_with_external_data(&model, &mut file, &mut data, "net.data").unwrap();

        assert_eq!(data.len(), 4096 + 1200);
        let read = ModelProto::decode(&*file).unwrap();
        let graph = read.graph.unwrap();
        let [a, b, c] = &graph.initializer[..] else {
            panic!("three constants")
        };
        assert_eq!(b, &model.graph.as_ref().unwrap().initializer[1]);
        for (constant, offset) in [(a, 0), (c, 4096)] {
            assert_eq!(constant.data_location(), DataLocation::External);
            let entries = constant.external_data.iter();
            let entries: Vec<_> = entries.map(|e| (&*e.key, &*e.value)).collect();
            let start = offset.to_string();
            let expected = [
                ("location", "net.data"),
                ("offset", &start),
                ("length", "1200"),
            ];
            assert_eq!(entries, expected);
            let bytes = data[offset..][..1200].to_vec();
            let read = TensorProto::new("", DataType::Float, &[300], bytes);
            assert_eq!(read.floats(), large);
        }
    }
}
