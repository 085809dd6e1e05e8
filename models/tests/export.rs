//! The `topk-export` command.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output};

use tch::{Device, Kind, Tensor, no_grad};
use tempfile::TempDir;
use topk_models::{LABELS, LOGITS, LOSS, Mode, Network};
use topk_ops::{Loss, SmoothTopkSvm};
use topk_testing::Environment;

mod random;
use random::{CLASSES, checkpoint, random_network};

/// A folder with a checkpoint.
struct Case {
    folder: TempDir,
    network: Network,
}

impl Case {
    fn new() -> Self {
        let case = Self {
            folder: tempfile::tempdir().unwrap(),
            network: random_network(),
        };
        checkpoint(&case.network)
            .save(&case.path("a.safetensors"))
            .unwrap();
        case
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Runs the command in the folder, without any environment.
    fn run(&self, arguments: &str) -> Output {
        Command::new(env!("CARGO_BIN_EXE_topk-export"))
            .env_clear()
            .current_dir(self.folder.path())
            .args(arguments.split(' '))
            .output()
            .unwrap()
    }

    fn write(&self, arguments: &str) {
        let output = self.run(arguments);
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && error.is_empty(), "{error}");
    }

    /// What the command says when it fails; it leaves nothing behind.
    fn error(&self, arguments: &str) -> String {
        let files = || fs::read_dir(self.folder.path()).unwrap().count();
        let before = files();
        let output = self.run(arguments);
        assert!(!output.status.success());
        assert_eq!(files(), before);
        String::from_utf8(output.stderr).unwrap()
    }
}

/// Runs the models of a checkpoint with each head and prints their outputs, one array a line.
const HEADS: &str = r#"
import json, sys, numpy, onnx, onnxruntime
images = numpy.array(json.load(sys.stdin), numpy.float32).reshape(-1, 3, 32, 32)
labels = numpy.arange(len(images)) % 7
for path in sys.argv[1:]:
    onnx.checker.check_model(path, full_check=True)
    session = onnxruntime.InferenceSession(path)
    feeds = {"input": images, "labels": labels}
    feeds = {value.name: feeds[value.name] for value in session.get_inputs()}
    names = [value.name for value in session.get_outputs()]
    for name, value in zip(names, session.run(None, feeds)):
        print(path, name, value.dtype, value.shape)
        print(json.dumps(value.ravel().tolist()))
"#;

#[test]
fn heads_compute_what_they_say() {
    let Some(mut python) =
        topk_testing::python("heads_compute_what_they_say", Environment::OnnxRuntime)
    else {
        return;
    };
    let case = Case::new();
    case.write("model --checkpoint a.safetensors --out logits.onnx");
    case.write("model --checkpoint a.safetensors --head topk --out topk.onnx");
    case.write("model --checkpoint a.safetensors --head loss --tau 0.5 --out loss.onnx");
    case.write(
        "model --checkpoint a.safetensors --head loss --tau 0.5 --form inline --out inline.onnx",
    );

    let images = Tensor::randn([9, 3, 32, 32], (Kind::Float, Device::Cpu));
    let logits = no_grad(|| case.network.forward(&images, Mode::Eval));
    let (probabilities, classes) = logits.softmax(1, Kind::Float).topk(3, 1, true, true);
    let logits = Vec::<f32>::try_from(logits.view(-1)).unwrap();
    let labels: Vec<i64> = (0..9).map(|i| i % CLASSES as i64).collect();
    let mut losses = vec![0.0; 9];
    SmoothTopkSvm::new(3, 0.5, 1.0)
        .unwrap()
        .forward(&logits, &labels, &mut losses)
        .unwrap();
    let images = Vec::<f32>::try_from(images.view(-1)).unwrap();
    fs::write(case.path("images"), serde_json::to_vec(&images).unwrap()).unwrap();

    let paths = ["logits.onnx", "topk.onnx", "loss.onnx", "inline.onnx"];
    let printed = topk_testing::run(
        python
            .args(["-c", HEADS])
            .args(paths)
            .current_dir(case.folder.path())
            .stdin(fs::File::open(case.path("images")).unwrap()),
    );
    let lines: Vec<&str> = printed.lines().collect();
    let close = |found: &str, expected: &[f32]| {
        let found: Vec<f32> = serde_json::from_str(found).unwrap();
        assert_eq!(found.len(), expected.len());
        for (found, expected) in found.iter().zip(expected) {
            assert!((found - expected).abs() < 1e-4, "{found} {expected}");
        }
    };
    let expected = [
        (format!("logits.onnx {LOGITS} float32 (9, 7)"), &logits),
        (
            "topk.onnx probabilities float32 (9, 3)".to_owned(),
            &Vec::try_from(probabilities.view(-1)).unwrap(),
        ),
        (
            "topk.onnx classes int64 (9, 3)".to_owned(),
            &Vec::try_from(classes.view(-1).to_kind(Kind::Float)).unwrap(),
        ),
        (format!("loss.onnx {LOGITS} float32 (9, 7)"), &logits),
        (format!("loss.onnx {LOSS} float32 (9,)"), &losses),
        (format!("inline.onnx {LOGITS} float32 (9, 7)"), &logits),
        (format!("inline.onnx {LOSS} float32 (9,)"), &losses),
    ];
    assert_eq!(lines.len(), 2 * expected.len());
    for (lines, (header, values)) in lines.chunks(2).zip(expected) {
        assert_eq!(lines[0], header);
        close(lines[1], values);
    }
}

#[test]
fn a_loss_alone_is_written_as_the_arguments_say() {
    let case = Case::new();
    let model = |arguments: &str| -> topk_onnx::proto::ModelProto {
        case.write(&format!(
            "loss --k 5 --classes 20 --out loss.onnx{arguments}"
        ));
        prost::Message::decode(&*fs::read(case.path("loss.onnx")).unwrap()).unwrap()
    };
    let plain = model("");
    let graph = plain.graph.unwrap();
    assert_eq!(plain.functions.len(), 1);
    assert_eq!(graph.node.len(), 1);
    let names: Vec<&str> = graph.output.iter().map(|value| &*value.name).collect();
    assert_eq!(names, [LOSS, "grad", "prob"]);
    let names: Vec<&str> = graph.input.iter().map(|value| &*value.name).collect();
    assert_eq!(names, ["scores", LABELS]);

    let native = model(" --form native --ignore-index -1 --reduction sum --tau 0.1 --alpha 2");
    assert!(native.functions.is_empty());
    let attributes = &native.graph.unwrap().node[0].attribute;
    let names: Vec<&str> = attributes.iter().map(|a| &*a.name).collect();
    assert_eq!(names, ["k", "tau", "alpha", "reduction", "ignore_index"]);
    assert_eq!(attributes[1].f, Some(0.1));
    assert_eq!(attributes[3].s.as_deref(), Some(&b"sum"[..]));
    assert_eq!(attributes[4].i, Some(-1));

    let psi5 = model(" --form inline --loss psi5 --weights --scalar");
    let graph = psi5.graph.unwrap();
    assert!(graph.node.iter().all(|node| node.domain.is_empty()));
    assert_eq!(graph.input.len(), 3);
    let loss = graph.output[0].r#type.clone().unwrap().tensor_type.unwrap();
    assert!(loss.shape.unwrap().dim.is_empty());
}

#[test]
fn arguments_that_make_no_model_are_named() {
    let case = Case::new();
    for (arguments, expected) in [
        (
            "loss --k 0 --classes 5 --out a.onnx",
            "error: k must be at least 1, got 0\n",
        ),
        (
            "loss --k 5 --classes 5 --out a.onnx",
            "error: this loss needs at least 6 classes, got 5\n",
        ),
        (
            "loss --k 129 --classes 1000 --out a.onnx",
            "error: k is 129: a portable function is written for k up to 128. The native operator has \
             no such limit\n",
        ),
        (
            "loss --k 2 --classes 9 --tau 1e-60 --out a.onnx",
            "error: tau is 1e-60, which is not a number of ONNX's attributes (32-bit floating point)\n",
        ),
        (
            "loss --k 2 --classes 9 --loss psi5 --tau 1 --out a.onnx",
            "error: --tau has no meaning for Psi5Loss\n",
        ),
        (
            "loss --k 2 --classes 9 --reduction none --scalar --out a.onnx",
            "error: --scalar has no meaning with --reduction none\n",
        ),
        (
            "loss --k 2 --classes 9 --out no/a.onnx",
            "error: cannot write no/a.onnx: No such file or directory (os error 2)\n",
        ),
        (
            "model --checkpoint b.safetensors --out a.onnx",
            "error: cannot read b.safetensors: No such file or directory (os error 2)\n",
        ),
        (
            "model --checkpoint a.safetensors --k 2 --out a.onnx",
            "error: --k has no meaning with --head logits\n",
        ),
        (
            "model --checkpoint a.safetensors --head topk --form inline --out a.onnx",
            "error: --form has no meaning with --head topk\n",
        ),
        (
            "model --checkpoint a.safetensors --head topk --k 8 --out a.onnx",
            "error: a.safetensors cannot be exported: k must be between 1 and the number of classes, \
             7, got 8\n",
        ),
        (
            "model --checkpoint a.safetensors --head loss --k 7 --out a.onnx",
            "error: a.safetensors cannot be exported: this loss needs at least 8 classes, got 7\n",
        ),
    ] {
        assert_eq!(case.error(arguments), expected, "{arguments}");
    }
}
