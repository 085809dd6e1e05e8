//! Models made by ONNX Runtime's quantisation tools (`data/quantization/make_quantized.py`).

use std::path::PathBuf;

use serde_json::Value;
use topk_onnx::{Quantization, WeightTypes, read_without_weights};

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data/quantization")
}

/// The format, the number of quantised nodes, and the types of weights and activations.
type Found<'a> = Option<(&'a str, usize, &'a str, &'a str)>;

#[test]
fn formats_are_recognised() {
    let expected = std::fs::read_to_string(folder().join("expected.json")).unwrap();
    let expected: Value = serde_json::from_str(&expected).unwrap();
    let models: [(&str, Found<'_>, &str); 11] = [
        ("float32", None, "float32"),
        ("float16", None, "float16"),
        ("qdq", Some(("QDQ", 3, "int8", "uint8")), "int8"),
        ("qdq_part", Some(("QDQ", 1, "int8", "int8")), "int8"),
        (
            "qdq_float_weights",
            Some(("QDQ", 3, "int8", "int8")),
            "float32",
        ),
        ("qdq_int16", Some(("QDQ", 3, "int8", "uint16")), "int8"),
        (
            "qdq_float8",
            Some(("QDQ", 3, "float8e4m3fn", "float8e4m3fn")),
            "float8e4m3fn",
        ),
        ("qoperator", Some(("QOperator", 3, "int8", "uint8")), "int8"),
        ("dynamic", Some(("dynamic", 3, "uint8", "uint8")), "uint8"),
        (
            "int4_nbits",
            Some(("weight-only", 1, "int4", "")),
            "float32",
        ),
        ("int4_qdq", Some(("weight-only", 1, "int4", "")), "float32"),
    ];
    assert_eq!(models.len(), expected.as_object().unwrap().len());
    for (name, expected_format, most_weights) in models {
        let model = read_without_weights(&folder().join(format!("{name}.onnx"))).unwrap();
        let found = Quantization::of(&model);
        let join = |types: &std::collections::BTreeSet<String>| {
            types.iter().cloned().collect::<Vec<_>>().join("/")
        };
        let described = found.as_ref().map(|found| {
            let types = [&found.weights, &found.activations].map(join);
            (found.format(), found.quantized, types)
        });
        let wanted = expected_format.map(|(format, nodes, weights, activations)| {
            (
                format.to_owned(),
                nodes,
                [weights, activations].map(str::to_owned),
            )
        });
        assert_eq!(described, wanted, "{name}");
        if let Some(found) = found {
            assert_eq!(
                found.nodes as u64,
                expected[name]["nodes"].as_u64().unwrap(),
                "{name}"
            );
        }
        let types = WeightTypes::of(&model).to_string();
        assert!(types.starts_with(most_weights), "{name}: {types}");
    }
}

#[test]
fn the_description_is_a_line() {
    let model = read_without_weights(&folder().join("qdq_part.onnx")).unwrap();
    let text = Quantization::of(&model).unwrap().to_string();
    assert_eq!(text, "int8 QDQ, 1 of 3 Conv, MatMul and Gemm nodes");
}
