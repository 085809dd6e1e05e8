//! The exact values of the loss, computed behind models that pass their input through.

use half::{bf16, f16};
use ort::session::{Session, SessionInputValue};
use ort::value::{DynValue, Tensor};
use topk_export::{AttachOptions, attach};
use topk_native::Runtime;
use topk_onnx::proto::DataType;
use topk_onnx::{Dim, GraphBuilder, ir_version, model, save};
use topk_ops_node_test::Case;
use topk_ops_onnx::OnnxLoss;

/// Versions of the operators where losses are written in another way, and the last one of ONNX Runtime.
const OPSETS: [i64; 8] = [9, 10, 11, 13, 15, 18, 21, 25];

const TYPES: [DataType; 4] = [
    DataType::Float,
    DataType::Double,
    DataType::Float16,
    DataType::Bfloat16,
];

fn options(loss: OnnxLoss) -> AttachOptions {
    AttachOptions {
        output: None,
        loss,
        form: None,
        num_classes: None,
        labels: None,
        class_weights: false,
        scalar: false,
        predictions: None,
        as_logits: false,
        // The values are compared here.
        verify: false,
    }
}

/// Scores of a type, rounded to it, as an input of shape `[1, classes]`, and as `f32`.
fn scores(data_type: DataType, values: &[f32]) -> (SessionInputValue<'static>, Vec<f32>) {
    let shape = [1, values.len()];
    let halves = || values.iter().map(|&value| f16::from_f32(value));
    let brains = || values.iter().map(|&value| bf16::from_f32(value));
    match data_type {
        DataType::Double => {
            let doubles: Vec<f64> = values.iter().map(|&value| value.into()).collect();
            (
                Tensor::from_array((shape, doubles)).unwrap().into(),
                values.to_vec(),
            )
        }
        DataType::Float16 => (
            Tensor::from_array((shape, halves().collect::<Vec<_>>()))
                .unwrap()
                .into(),
            halves().map(f16::to_f32).collect(),
        ),
        DataType::Bfloat16 => (
            Tensor::from_array((shape, brains().collect::<Vec<_>>()))
                .unwrap()
                .into(),
            brains().map(bf16::to_f32).collect(),
        ),
        _ => (
            Tensor::from_array((shape, values.to_vec())).unwrap().into(),
            values.to_vec(),
        ),
    }
}

fn floats(data_type: DataType, value: &DynValue) -> Vec<f64> {
    match data_type {
        DataType::Double => value.try_extract_tensor::<f64>().unwrap().1.to_vec(),
        DataType::Float16 => {
            let values = value.try_extract_tensor::<f16>().unwrap().1;
            values.iter().map(|value| value.to_f64()).collect()
        }
        DataType::Bfloat16 => {
            let values = value.try_extract_tensor::<bf16>().unwrap().1;
            values.iter().map(|value| value.to_f64()).collect()
        }
        _ => {
            let values = value.try_extract_tensor::<f32>().unwrap().1;
            values.iter().map(|&value| value.into()).collect()
        }
    }
}

/// Checks a case behind a model of this version and type.
fn check(case: &Case, opset: i64, data_type: DataType) {
    let folder = tempfile::tempdir().unwrap();
    let (plain, with_loss) = (folder.path().join("a.onnx"), folder.path().join("b.onnx"));
    let mut graph = GraphBuilder::new("identity");
    let dims = [Dim::Dynamic("batch"), Dim::Fixed(case.classes)];
    graph.input("x", data_type, &dims, "");
    graph.node("Identity", "y", &["x"], []);
    graph.output("y", data_type, &dims, "");
    let mut identity = model(graph.finish(), "", []);
    identity.opset_import[0].version = opset;
    identity.ir_version = ir_version(opset);
    save(&identity, &plain).unwrap();
    attach(&plain, &options(case.loss), &with_loss).unwrap();

    let runtime = Runtime::load().unwrap();
    let mut builder = Session::builder(runtime.environment()).unwrap();
    let mut session = builder.commit_from_file(&with_loss).unwrap();
    let (input, rounded) = scores(data_type, &case.scores);
    let labels = Tensor::from_array(([1], case.labels.clone())).unwrap();
    let outputs = session
        .run(ort::inputs!["x" => input, "labels" => labels])
        .unwrap();
    if rounded.iter().any(|score| score.is_infinite()) {
        // Not scores of this type.
        return;
    }
    // The exact values, or those for rounded scores.
    let (losses, grad, bar) = match data_type {
        DataType::Float | DataType::Double => {
            (case.outputs[0].clone(), case.outputs[1].clone(), 1e-6)
        }
        _ => {
            let (mut losses, mut grad) = (vec![0.0], vec![0.0; rounded.len()]);
            let criterion = case.loss.criterion();
            criterion
                .forward_backward(&rounded, &case.labels, &mut losses, &mut grad)
                .unwrap();
            let bar = if data_type == DataType::Float16 {
                5e-4
            } else {
                4e-3
            };
            (losses, grad, bar)
        }
    };
    for (name, expected) in [("loss", losses), ("grad", grad)] {
        let found = floats(data_type, &outputs[name]);
        assert_eq!(found.len(), expected.len());
        for (found, expected) in found.iter().zip(expected) {
            let expected = f64::from(expected);
            // Larger losses than 65504 are infinite in 16 bits.
            if data_type == DataType::Float16 && expected.abs() > 65504.0 {
                assert!(found.is_infinite());
                continue;
            }
            let error = (found - expected).abs() / expected.abs().max(1.0);
            let k = case.loss.loss.k().unwrap_or_default();
            assert!(
                error <= bar,
                "{data_type:?}, version {opset}, k = {k}: {found} is not {expected}"
            );
        }
    }
}

#[test]
fn exact_values_behind_any_model() {
    let cases = Case::golden(&topk_testing::golden()).unwrap();
    for opset in OPSETS {
        for data_type in TYPES {
            // From version 13 on.
            if data_type == DataType::Bfloat16 && opset < 13 {
                continue;
            }
            // Others for each version and type.
            let first = (opset as usize + 5 * data_type as usize) % 24;
            for case in cases.iter().skip(first).step_by(24) {
                check(case, opset, data_type);
            }
        }
    }
}
