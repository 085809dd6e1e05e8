use std::fmt::Write;

use thiserror::Error;

use topk_onnx::proto::{DataType, DimensionValue, GraphProto, ValueInfoProto};

/// Triton cannot batch an input or output.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
#[error("the first dimension of {0} is not a dynamic batch, which Triton requires")]
pub struct TritonError(String);

/// The `config.pbtxt` of a model in Triton Inference Server. The server combines requests into batches of up
/// to `max_batch_size` images.
///
/// `labels` is the name of an output with one entry per class, and of a file beside `config.pbtxt` with one
/// class name per line, from which Triton takes the names of classes.
///
/// # Errors
/// If an input or output has no dynamic batch dimension.
pub fn triton_config(
    graph: &GraphProto,
    name: &str,
    max_batch_size: u32,
    labels: Option<(&str, &str)>,
) -> Result<String, TritonError> {
    let mut config = format!(
        "name: {}\nbackend: \"onnxruntime\"\nmax_batch_size: {max_batch_size}\ndynamic_batching {{ }}\n",
        quoted(name)
    );
    let mut add = |kind: &str, value: &ValueInfoProto| {
        let tensor = tensor(value).ok_or_else(|| TritonError(value.name.clone()))?;
        let file = labels.filter(|(output, _)| kind == "output" && *output == value.name);
        let file = file.map_or_else(String::new, |(_, file)| {
            format!("\n  label_filename: {}", quoted(file))
        });
        let name = quoted(&value.name);
        let _ = writeln!(config, "{kind} {{\n  name: {name}\n{tensor}{file}\n}}");
        Ok(())
    };
    graph
        .input
        .iter()
        .try_for_each(|value| add("input", value))?;
    graph
        .output
        .iter()
        .try_for_each(|value| add("output", value))?;
    Ok(config)
}

/// Type and shape without the batch; `None` if the batch is not dynamic.
fn tensor(value: &ValueInfoProto) -> Option<String> {
    let tensor = value.r#type.as_ref()?.tensor_type.as_ref()?;
    let (batch, dims) = tensor.shape.as_ref()?.dim.split_first()?;
    if !matches!(batch.value, Some(DimensionValue::DimParam(_))) {
        return None;
    }
    let data_type = match DataType::try_from(tensor.elem_type).unwrap_or_default() {
        DataType::Undefined => return None,
        DataType::Float => "FP32",
        DataType::Uint8 => "UINT8",
        DataType::Int32 => "INT32",
        DataType::Int64 => "INT64",
        DataType::Bool => "BOOL",
        DataType::Float16 => "FP16",
        DataType::Double => "FP64",
        DataType::Bfloat16 => "BF16",
    };
    let dims: Vec<String> = dims
        .iter()
        .map(|dim| match dim.value {
            Some(DimensionValue::DimValue(size)) => size.to_string(),
            _ => "-1".to_owned(),
        })
        .collect();
    let dims = if dims.is_empty() {
        // Shapes cannot be empty in Triton; the reshape removes the 1 again for the model.
        "[ 1 ]\n  reshape { shape: [ ] }".to_owned()
    } else {
        format!("[ {} ]", dims.join(", "))
    };
    Some(format!("  data_type: TYPE_{data_type}\n  dims: {dims}"))
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

#[cfg(test)]
mod tests {
    use super::*;
    use topk_onnx::{Dim, GraphBuilder};

    #[test]
    fn inputs_and_outputs_are_listed_without_the_batch() {
        let batch = Dim::Dynamic("batch");
        let mut graph = GraphBuilder::new("net");
        let image = [batch, Dim::Fixed(3), Dim::Dynamic("height"), Dim::Fixed(8)];
        graph.input("input", DataType::Float, &image, "");
        graph.output("logits", DataType::Float, &[batch, Dim::Fixed(10)], "");
        graph.output("loss", DataType::Double, &[batch], "");
        let graph = graph.finish();
        let labels = Some(("logits", "labels.txt"));
        let config = triton_config(&graph, r#"a "net""#, 32, labels).unwrap();
        assert_eq!(
            config,
            r#"name: "a \"net\""
backend: "onnxruntime"
max_batch_size: 32
dynamic_batching { }
input {
  name: "input"
  data_type: TYPE_FP32
  dims: [ 3, -1, 8 ]
}
output {
  name: "logits"
  data_type: TYPE_FP32
  dims: [ 10 ]
  label_filename: "labels.txt"
}
output {
  name: "loss"
  data_type: TYPE_FP64
  dims: [ 1 ]
  reshape { shape: [ ] }
}
"#
        );
    }

    #[test]
    fn a_fixed_batch_is_rejected() {
        let mut graph = GraphBuilder::new("net");
        graph.input(
            "input",
            DataType::Float,
            &[Dim::Fixed(1), Dim::Fixed(3)],
            "",
        );
        let error = triton_config(&graph.finish(), "net", 1, None).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the first dimension of input is not a dynamic batch, which Triton requires"
        );
    }
}
