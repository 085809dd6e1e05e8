use std::io::{self, Write};

use prost::Message;
use prost::encoding::{WireType, encode_key, encode_varint, encoded_len_varint, key_len};

use crate::proto::{GraphProto, ModelProto};

/// Field number of `ModelProto.graph`.
const GRAPH: u32 = 7;

/// Field number of `GraphProto.initializer`.
const INITIALIZER: u32 = 5;

/// Writes a model as `prost` encodes it, a constant at a time: without a second copy of all weights in
/// memory.
///
/// # Errors
/// If the file cannot be written.
pub fn write(model: &ModelProto, file: &mut impl Write) -> io::Result<()> {
    let Some(graph) = &model.graph else {
        return file.write_all(&model.encode_to_vec());
    };
    // What comes before the constants in the file, and what after them, by field number.
    let (before, after) = split(model);
    let (graph_before, graph_after) = split_graph(graph);
    let mut head = before.encode_to_vec();
    encode_key(GRAPH, WireType::LengthDelimited, &mut head);
    encode_varint(graph.encoded_len() as u64, &mut head);
    graph_before.encode_raw(&mut head);
    file.write_all(&head)?;
    for constant in &graph.initializer {
        let length = constant.encoded_len();
        let mut bytes =
            Vec::with_capacity(key_len(INITIALIZER) + encoded_len_varint(length as u64) + length);
        encode_key(INITIALIZER, WireType::LengthDelimited, &mut bytes);
        constant
            .encode_length_delimited(&mut bytes)
            .expect("a vector grows");
        file.write_all(&bytes)?;
    }
    file.write_all(&graph_after.encode_to_vec())?;
    file.write_all(&after.encode_to_vec())
}

/// The fields below that of the graph, and those above it.
fn split(model: &ModelProto) -> (ModelProto, ModelProto) {
    let before = ModelProto {
        ir_version: model.ir_version,
        producer_name: model.producer_name.clone(),
        producer_version: model.producer_version.clone(),
        doc_string: model.doc_string.clone(),
        ..Default::default()
    };
    let after = ModelProto {
        opset_import: model.opset_import.clone(),
        metadata_props: model.metadata_props.clone(),
        functions: model.functions.clone(),
        ..Default::default()
    };
    (before, after)
}

/// The fields below those of the constants, and those above them.
fn split_graph(graph: &GraphProto) -> (GraphProto, GraphProto) {
    let before = GraphProto {
        node: graph.node.clone(),
        name: graph.name.clone(),
        ..Default::default()
    };
    let after = GraphProto {
        doc_string: graph.doc_string.clone(),
        input: graph.input.clone(),
        output: graph.output.clone(),
        ..Default::default()
    };
    (before, after)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::DataType;
    use crate::{Form, GraphBuilder, LossOperator, OnnxLoss, model};
    use topk_ops::Reduction;

    #[test]
    fn bytes_are_those_of_the_whole_message() {
        let mut graph = GraphBuilder::new("test");
        graph.input("x", DataType::Float, &[], "the input");
        graph.initializer("a", &[3], &[1.0, 2.0, 3.0]);
        graph.initializer("b", &[200], &[0.5; 200]);
        graph.node("Add", "y", &["x", "a"], []);
        graph.output("y", DataType::Float, &[], "the output");
        let mut graph = graph.finish();
        graph.doc_string = "a graph".to_owned();
        let loss = OnnxLoss {
            operator: LossOperator::Psi5,
            k: 2,
            tau: 1.0,
            alpha: 1.0,
            reduction: Reduction::Mean,
            ignore_index: None,
        };
        for model in [
            ModelProto::default(),
            model(graph, "a model", [("key".to_owned(), "value".to_owned())]),
            loss.model(Form::Function, 5, false, false).unwrap(),
        ] {
            let mut bytes = Vec::new();
            write(&model, &mut bytes).unwrap();
            assert_eq!(bytes, model.encode_to_vec());
        }
    }
}
