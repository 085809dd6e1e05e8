//! The example that trains a classifier with an attached loss.

use std::env;
use std::path::Path;
use std::process::Command;

use topk_testing::{Environment, python, root, run};

/// A network of random filters, and images of six classes that differ in colour and texture.
const DATA: &str = r#"
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

random = np.random.default_rng(1)
kernel = numpy_helper.from_array(random.normal(size=(16, 3, 3, 3)).astype(np.float32), "kernel")
last = numpy_helper.from_array(random.normal(size=(16, 4)).astype(np.float32), "last")
nodes = [
    helper.make_node("Conv", ["images", "kernel"], ["map"]),
    helper.make_node("Relu", ["map"], ["positive"]),
    helper.make_node("GlobalAveragePool", ["positive"], ["pooled"]),
    helper.make_node("Flatten", ["pooled"], ["features"]),
    helper.make_node("MatMul", ["features", "last"], ["logits"]),
]
value = lambda name, shape: helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
graph = helper.make_graph(nodes, "net", [value("images", ["N", 3, 8, 8])], [value("logits", ["N", 4])], [kernel, last])
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
onnx.save(model, "net.onnx")

labels = random.integers(0, 6, 600)
kinds = random.normal(size=(6, 3, 8, 8))
images = kinds[labels] + random.normal(scale=1.5, size=(600, 3, 8, 8))
np.save("images.npy", images.astype(np.float32))
np.save("labels.npy", labels)
"#;

#[test]
fn a_classifier_is_trained_with_the_gradient() {
    let folder = tempfile::tempdir().unwrap();
    let Some(mut python_of_data) = python(Environment::OnnxRuntime) else {
        return;
    };
    run(python_of_data.args(["-c", DATA]).current_dir(folder.path()));
    let Some(mut python) = python(Environment::OnnxRuntime) else {
        return;
    };
    let programs = Path::new(env!("CARGO_BIN_EXE_topk-export"))
        .parent()
        .unwrap();
    let path = env::join_paths(
        [programs.to_owned()]
            .into_iter()
            .chain(env::split_paths(&env::var_os("PATH").unwrap())),
    );
    let arguments = ["net.onnx", "features", "images.npy", "labels.npy"];
    let train: &mut Command = python
        .arg(root().join("examples/train-classifier.py"))
        .args(arguments)
        .env("PATH", path.unwrap())
        .current_dir(folder.path());
    let printed = run(train);
    let mut lines = printed.lines();
    let verified = lines.next().unwrap();
    assert!(
        verified.starts_with("classifier-with-loss.onnx: loss and gradient"),
        "{printed}"
    );
    let epochs: Vec<(f64, f64)> = lines
        .map(|line| {
            let (_, numbers) = line.split_once(": loss ").unwrap();
            let (loss, accuracy) = numbers.split_once(", top-2 accuracy ").unwrap();
            let accuracy = accuracy.strip_suffix('%').unwrap();
            (loss.parse().unwrap(), accuracy.parse().unwrap())
        })
        .collect();
    assert_eq!(epochs.len(), 15);
    let (first, last) = (epochs[0], epochs[14]);
    // A third of the images are right by chance.
    assert!(last.0 < 0.7 * first.0 && last.1 > 80.0, "{printed}");
    assert!(folder.path().join("classifier.onnx").exists());
}
