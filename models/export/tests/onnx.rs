//! An exported model is the network that was trained, and a valid ONNX file.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use tch::{Device, Kind, Tensor, no_grad};
use topk_eval::{Execution, InputTensor, Model};
use topk_export::{ExportOptions, export};
use topk_models::{Checkpoint, Classifier};
use topk_models_tch::{Mode, Network};
use topk_native::Runtime;
use topk_onnx::ModelCard;
use topk_testing::Environment;
use topk_weights::{StateDict, Tensor as Weight};

#[path = "../../tests/card/mod.rs"]
mod card;
mod random;
use random::{CLASSES, checkpoint, random_network};

#[test]
fn onnx_runtime_agrees_with_libtorch() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.onnx");
    let network = random_network();
    let verification = export(checkpoint(&network), &ExportOptions::default(), &path);
    let verification = verification.unwrap().unwrap();
    assert!(
        verification.comparison.unwrap().difference <= 1e-5,
        "{verification}"
    );

    let runtime = Runtime::load().unwrap();
    let mut model = Model::open(&runtime, &path, Execution::default()).unwrap();
    assert_eq!(model.card(), Some(checkpoint(&network).card()));
    assert_eq!(model.classes(), Some(CLASSES));
    // The batch is dynamic.
    for count in [1, 2, 33] {
        let images = Tensor::randn([count as i64, 3, 32, 32], (Kind::Float, Device::Cpu));
        let expected = no_grad(|| network.forward(&images, Mode::Eval));
        let expected: Vec<f32> = Vec::try_from(expected.view(-1)).unwrap();
        let images: Vec<f32> = Vec::try_from(images.view(-1)).unwrap();
        let found = model.scores(&InputTensor::f32(images, [32; 2])).unwrap();
        assert_eq!(found.len(), expected.len());
        let spread = expected
            .iter()
            .fold(0f32, |max, score| max.max(score.abs()));
        assert!(spread > 0.1, "scores near zero would show nothing");
        for (found, expected) in found.iter().zip(&expected) {
            assert!(
                (found - expected).abs() <= 1e-4,
                "{found} is not {expected}"
            );
        }
    }
}

#[test]
fn a_checkpoint_is_read_back_unchanged() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.safetensors");
    let network = random_network();
    let saved = checkpoint(&network);
    saved.save(&path).unwrap();
    let loaded = Checkpoint::load(&path).unwrap();
    assert_eq!(loaded, saved);

    tch::manual_seed(6);
    let mut other = Network::new(network.architecture().clone(), Device::Cpu);
    assert_ne!(other.weights(), network.weights());
    other.load(loaded.weights()).unwrap();
    assert_eq!(other.weights(), network.weights());
}

#[test]
fn the_same_checkpoint_gives_the_same_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let checkpoint = checkpoint(&random_network());
    let write = |name: &str| {
        let (weights, onnx) = (
            folder.path().join(name.to_owned() + ".safetensors"),
            folder.path().join(name.to_owned() + ".onnx"),
        );
        checkpoint.save(&weights).unwrap();
        export(checkpoint.clone(), &ExportOptions::default(), &onnx).unwrap();
        (fs::read(weights).unwrap(), fs::read(onnx).unwrap())
    };
    assert!(write("a") == write("b"));
}

#[test]
fn unusable_checkpoints_are_errors() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.safetensors");
    let network = random_network();
    let good = checkpoint(&network);
    let file = |change: fn(&mut BTreeMap<String, Weight>)| {
        let mut tensors = good.weights().clone();
        change(&mut tensors);
        StateDict {
            tensors,
            ..StateDict::default()
        }
    };
    let bad = file(|tensors| {
        tensors.remove("fc.bias");
        let other = Weight::from_f32(&[24, 7], &[0.0; 168]).unwrap();
        tensors.insert("fc.weight".to_owned(), other);
        tensors.insert("extra".to_owned(), tensors["base.1.bias"].clone());
    });
    let error = network.architecture().matched(bad, Classifier::Keep);
    assert_eq!(
        error.unwrap_err().to_string(),
        "the weights do not fit basic-6:\n\
         fc.bias of shape [7] is missing\n\
         fc.weight has shape [24, 7], expected [7, 24]\n\
         extra of shape [6] is unexpected\n\
         Choose the --model that they are of, or give them its names, which are those in PyTorch"
    );
    let bad = file(|tensors| {
        let mut values = [0.0; 7];
        values[2] = f32::NAN;
        let nan = Weight::from_f32(&[7], &values).unwrap();
        tensors.insert("fc.bias".to_owned(), nan);
    });
    let bad = Checkpoint::new(good.card().clone(), bad).unwrap();
    let onnx = folder.path().join("bad.onnx");
    for (verify, expected) in [
        (false, "constant fc.bias is not finite at element 2"),
        (true, "logits for ordinary images are not finite"),
    ] {
        let options = ExportOptions {
            verify,
            ..ExportOptions::default()
        };
        let message = export(bad.clone(), &options, &onnx)
            .unwrap_err()
            .to_string();
        assert!(message.contains(expected), "{message}");
        assert!(!onnx.exists());
    }
    let card = ModelCard {
        architecture: "resnet-9".to_owned(),
        ..good.card().clone()
    };
    let message = Checkpoint::new(card, file(|_| {})).unwrap_err().to_string();
    assert!(
        message.starts_with("`resnet-9` is not a known architecture"),
        "{message}"
    );
    let card = ModelCard {
        class_names: Some(vec!["one".to_owned()]),
        ..good.card().clone()
    };
    let message = Checkpoint::new(card, file(|_| {})).unwrap_err().to_string();
    assert_eq!(
        message,
        "there are 1 class names, but the weights have 7 classes"
    );

    good.save(&path).unwrap();
    let bytes = fs::read(&path).unwrap();
    for length in [0, 7, 100, bytes.len() - 1] {
        fs::write(&path, &bytes[..length]).unwrap();
        let message = Checkpoint::load(&path).unwrap_err().to_string();
        assert!(
            message.starts_with("cannot read weights from /"),
            "{message}"
        );
    }
    let message = Checkpoint::load(Path::new("/nowhere.safetensors"))
        .unwrap_err()
        .to_string();
    assert!(
        message.starts_with("cannot read /nowhere.safetensors: "),
        "{message}"
    );
}

/// `onnx.checker` with shape inference, and what Python reads of the messages that are defined here.
const PYTHON: &str = r#"
import sys, onnx
model = onnx.load(sys.argv[1])
onnx.checker.check_model(model, full_check=True)
inferred = onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True, data_prop=True)
shape = lambda value: [d.dim_param or d.dim_value for d in value.type.tensor_type.shape.dim]
print(model.ir_version, model.opset_import[0].version, model.producer_name)
print(model.graph.input[0].name, shape(model.graph.input[0]))
print(inferred.graph.output[0].name, shape(inferred.graph.output[0]))
print(len(model.graph.node), len(model.graph.initializer), len(inferred.graph.value_info))
print({entry.key: entry.value for entry in model.metadata_props}["topk.class_names"])
weights = {t.name: onnx.numpy_helper.to_array(t) for t in model.graph.initializer}
print(weights["base.3.weight"].shape, weights["base.3.weight"].dtype)
onnx.save(model, sys.argv[2])
"#;

#[test]
fn the_python_package_onnx_accepts_the_file() {
    let Some(mut python) = topk_testing::python(Environment::Onnx) else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let (ours, theirs) = (
        folder.path().join("ours.onnx"),
        folder.path().join("theirs.onnx"),
    );
    export(
        checkpoint(&random_network()),
        &ExportOptions::default(),
        &ours,
    )
    .unwrap();
    let printed = topk_testing::run(python.args(["-c", PYTHON]).args([&ours, &theirs]));
    assert_eq!(
        printed.lines().collect::<Vec<_>>(),
        [
            "8 17 topk",
            "input ['batch', 3, 32, 32]",
            "logits ['batch', 7]",
            "18 14 17",
            r#"["class 0","class 1","class 2","class 3","class 4","class 5","class 6"]"#,
            "(6, 6, 3, 3) float32",
        ]
    );
    // What Python writes, ours reads: the same messages, whatever the order of the bytes.
    let read = |path| -> topk_onnx::proto::ModelProto {
        prost::Message::decode(&*fs::read(path).unwrap()).unwrap()
    };
    assert_eq!(read(&theirs), read(&ours));
}
