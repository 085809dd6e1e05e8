//! The `topk-export` command.

use std::fs;
use std::path::PathBuf;

use tch::{Kind, Tensor, no_grad};
use tempfile::TempDir;
use topk_models::{GRAD, LABELS, LOGITS, LOSS};
use topk_models_tch::{Mode, Network};
use topk_ops::{Loss, LossName, SmoothTopkSvm};
use topk_testing::Environment;
use topk_weights::{STATE_EMA, STATE_WEIGHTS, StateDict, TRAINING_STATE, Tensor as Weight, Value};

#[path = "../../tests/card/mod.rs"]
mod card;
mod command;
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

    fn write(&self, arguments: &str) {
        command::write(self.folder.path(), arguments);
    }

    fn error(&self, arguments: &str) -> String {
        command::error(self.folder.path(), arguments)
    }
}

/// Runs models on images in the format of their input, and prints the name, type and shape of each output, then
/// its values as an array.
const RUN: &str = r#"
import json, sys, numpy, onnx, onnxruntime
pixels = numpy.array(json.load(sys.stdin), numpy.uint8).reshape(-1, 3, 32, 32)
labels = numpy.arange(len(pixels)) % 7
for path in sys.argv[1:]:
    onnx.checker.check_model(path, full_check=True)
    session = onnxruntime.InferenceSession(path)
    card = session.get_modelmeta().custom_metadata_map
    mean, std = (numpy.array(json.loads(card[key]), numpy.float32) for key in ("topk.mean", "topk.std"))
    column = (3, 1, 1)
    images = (pixels.astype(numpy.float32) / 255 - mean.reshape(column)) / std.reshape(column)
    feeds = {}
    for value in session.get_inputs():
        if value.name == "labels":
            feeds["labels"] = labels
        elif value.type == "tensor(uint8)":
            feeds[value.name] = pixels.transpose(0, 2, 3, 1).copy()
        else:
            feeds[value.name] = images
    names = [value.name for value in session.get_outputs()]
    for name, value in zip(names, session.run(None, feeds)):
        print(path, name, value.dtype, value.shape)
        print(json.dumps(value.ravel().tolist()))
"#;

/// Nine images, and the network's logits for them.
struct Expected {
    /// As bytes.
    pixels: Vec<u8>,
    logits: Tensor,
}

impl Expected {
    fn new(network: &Network) -> Self {
        let pixels: Vec<u8> = (0..9 * 3 * 32 * 32u32)
            .map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8)
            .collect();
        let images = Tensor::from_slice(&pixels).to_kind(Kind::Float) / 255.0;
        let images = ((images - 0.5) / 0.25).reshape([9, 3, 32, 32]);
        let logits = no_grad(|| network.forward(&images, Mode::Eval));
        Self { pixels, logits }
    }

    fn logits(&self) -> Vec<f32> {
        floats(&self.logits)
    }

    /// Losses of the labels 0, 1, … 6, 0, 1.
    fn losses(&self, k: usize, tau: f64) -> Vec<f32> {
        self.losses_and_gradient(k, tau).0
    }

    fn losses_and_gradient(&self, k: usize, tau: f64) -> (Vec<f32>, Vec<f32>) {
        let labels: Vec<i64> = (0..9).map(|i| i % CLASSES as i64).collect();
        let logits = self.logits();
        let (mut losses, mut grad) = (vec![0.0; 9], vec![0.0; logits.len()]);
        let svm = SmoothTopkSvm::new(k, tau, 1.0).unwrap();
        svm.forward_backward(&logits, &labels, &mut losses, &mut grad)
            .unwrap();
        (losses, grad)
    }
}

fn floats(tensor: &Tensor) -> Vec<f32> {
    Vec::try_from(tensor.to_kind(Kind::Float).view(-1)).unwrap()
}

/// Checks outputs in ONNX Runtime: for each, the line that [`RUN`] prints, its values and the tolerance.
fn check_outputs(
    case: &Case,
    expected: &Expected,
    paths: &[&str],
    outputs: &[(String, Vec<f32>, f32)],
) {
    let Some(mut python) = topk_testing::python(Environment::OnnxRuntime) else {
        return;
    };
    let pixels = serde_json::to_vec(&expected.pixels).unwrap();
    fs::write(case.path("pixels"), pixels).unwrap();
    let printed = topk_testing::run(
        python
            .args(["-c", RUN])
            .args(paths)
            .current_dir(case.folder.path())
            .stdin(fs::File::open(case.path("pixels")).unwrap()),
    );
    let lines: Vec<&str> = printed.lines().collect();
    assert_eq!(lines.len(), 2 * outputs.len());
    for (lines, (header, values, bar)) in lines.chunks(2).zip(outputs) {
        assert_eq!(lines[0], header);
        let found: Vec<f32> = serde_json::from_str(lines[1]).unwrap();
        assert_eq!(found.len(), values.len());
        for (found, expected) in found.iter().zip(values) {
            assert!(
                (found - expected).abs() < *bar,
                "{header}: {found} {expected}"
            );
        }
    }
}

/// It describes its weights as a checkpoint does, and has two sets of them.
#[test]
fn a_training_state_is_a_checkpoint() {
    let case = Case::new();
    let checkpoint = StateDict::read(&case.path("a.safetensors")).unwrap();
    let mut state = StateDict {
        metadata: checkpoint.metadata,
        ..StateDict::default()
    };
    let position = Value::Text("{}".to_owned());
    state.metadata.insert(TRAINING_STATE.to_owned(), position);
    for (name, tensor) in checkpoint.tensors {
        let half = tensor
            .to_f32()
            .unwrap()
            .into_iter()
            .map(|value| value / 2.0);
        let half = Weight::from_f32(tensor.shape(), &half.collect::<Vec<_>>()).unwrap();
        state.tensors.insert(format!("{STATE_WEIGHTS}{name}"), half);
        state.tensors.insert(format!("{STATE_EMA}{name}"), tensor);
    }
    state.save(&case.path("state.safetensors")).unwrap();
    let export = |file: &str, options: &str| {
        case.write(&format!(
            "model --checkpoint {file}.safetensors{options} --out {file}.onnx"
        ));
        fs::read(case.path(&format!("{file}.onnx"))).unwrap()
    };
    let expected = export("a", "");
    assert!(export("state", " --use-ema") == expected);
    assert!(export("state", "") != expected);
}

#[test]
fn outputs_are_correct() {
    let case = Case::new();
    case.write("model --checkpoint a.safetensors --out logits.onnx");
    case.write("model --checkpoint a.safetensors --outputs topk --out topk.onnx");
    case.write("model --checkpoint a.safetensors --outputs loss --tau 0.5 --out loss.onnx");
    case.write(
        "model --checkpoint a.safetensors --outputs loss --tau 0.5 --form inline --gradient --out inline.onnx",
    );
    let expected = Expected::new(&case.network);
    let probabilities = expected.logits.softmax(1, Kind::Float);
    let (probabilities, classes) = probabilities.topk(3, 1, true, true);
    let logits = |path| {
        (
            format!("{path} {LOGITS} float32 (9, 7)"),
            expected.logits(),
            1e-4,
        )
    };
    let losses = |path| {
        (
            format!("{path} {LOSS} float32 (9,)"),
            expected.losses(3, 0.5),
            1e-4,
        )
    };
    let outputs = [
        logits("logits.onnx"),
        (
            "topk.onnx probabilities float32 (9, 3)".to_owned(),
            floats(&probabilities),
            1e-5,
        ),
        (
            "topk.onnx classes int64 (9, 3)".to_owned(),
            floats(&classes),
            0.5,
        ),
        logits("loss.onnx"),
        losses("loss.onnx"),
        logits("inline.onnx"),
        losses("inline.onnx"),
        (
            format!("inline.onnx {GRAD} float32 (9, 7)"),
            expected.losses_and_gradient(3, 0.5).1,
            1e-4,
        ),
    ];
    let paths = ["logits.onnx", "topk.onnx", "loss.onnx", "inline.onnx"];
    check_outputs(&case, &expected, &paths, &outputs);
}

#[test]
fn options_do_not_change_the_outputs() {
    let case = Case::new();
    let expected = Expected::new(&case.network);
    let spread = expected
        .logits()
        .iter()
        .fold(0f32, |max, x| max.max(x.abs()));
    let options = [
        ("--keep-batch-norm", 1e-4),
        ("--input float", 1e-4),
        ("--input bytes", 1e-4),
        ("--opset 18", 1e-4),
        ("--opset 21 --topk 1", 1e-4),
        ("--precision float16", 2e-2 * spread),
        (
            "--precision float16 --input bytes --opset 20",
            2e-2 * spread,
        ),
    ];
    let mut outputs = Vec::new();
    let mut paths = Vec::new();
    for (i, (options, bar)) in options.into_iter().enumerate() {
        let path = format!("{i}.onnx");
        let options = format!("{options} --outputs loss");
        case.write(&format!(
            "model --checkpoint a.safetensors {options} --out {path}"
        ));
        outputs.push((
            format!("{path} {LOGITS} float32 (9, 7)"),
            expected.logits(),
            bar,
        ));
        let k = if options.contains("--topk 1") { 1 } else { 3 };
        let losses = expected.losses(k, 1.0);
        outputs.push((format!("{path} {LOSS} float32 (9,)"), losses, bar));
        paths.push(path);
    }
    let paths: Vec<&str> = paths.iter().map(String::as_str).collect();
    check_outputs(&case, &expected, &paths, &outputs);
    let size = |path: &str| fs::metadata(case.path(path)).unwrap().len() as f64;
    assert!(size("5.onnx") < 0.7 * size("1.onnx"));
}

#[test]
fn a_loss_has_the_requested_form_and_inputs() {
    let case = Case::new();
    let model = |arguments: &str| -> topk_onnx::proto::ModelProto {
        case.write(&format!(
            "loss --topk 5 --num-classes 20 --out loss.onnx{arguments}"
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

    let psi5 = model(" --form inline --loss psi5 --class-weights --scalar");
    let graph = psi5.graph.unwrap();
    assert!(graph.node.iter().all(|node| node.domain.is_empty()));
    assert_eq!(graph.input.len(), 3);
    let loss = graph.output[0].r#type.clone().unwrap().tensor_type.unwrap();
    assert!(loss.shape.unwrap().dim.is_empty());
}

impl Case {
    /// Saves the checkpoint `NAME.safetensors` of a training with this loss, k = 3, τ = 0.5 and α = 2 where the loss
    /// has them.
    fn trained_with(&self, name: &str) {
        let loss: Option<LossName> = name.parse().ok();
        let mut card = card::card(self.network.architecture());
        let training = card.training.as_mut().unwrap();
        training.loss = name.to_owned();
        training.tau = loss.filter(|loss| loss.has_tau()).map(|_| 0.5);
        training.alpha = loss.filter(|loss| loss.has_alpha()).map(|_| 2.0);
        let path = self.path(&format!("{name}.safetensors"));
        self.network.checkpoint(card).save(&path).unwrap();
    }

    /// Exports `NAME.safetensors` with the output `loss`: the notes, and the operator with its attributes.
    fn loss_of(&self, name: &str, options: &str) -> (Vec<String>, String) {
        let arguments = format!(
            "model --checkpoint {name}.safetensors --outputs loss --no-verify{options} --out a.onnx"
        );
        let notes = command::notes(self.folder.path(), &arguments);
        let model = fs::read(self.path("a.onnx")).unwrap();
        let model: topk_onnx::proto::ModelProto = prost::Message::decode(&*model).unwrap();
        let nodes = model.graph.unwrap().node;
        let call = nodes.iter().find(|node| node.domain == "topk").unwrap();
        let numbers = call.attribute.iter().filter_map(|attribute| {
            let integer = attribute.i.map(|i| i.to_string());
            let number = integer.or(attribute.f.map(|f| f.to_string()))?;
            Some(format!(" {}={number}", attribute.name))
        });
        (notes, call.op_type.clone() + &numbers.collect::<String>())
    }
}

#[test]
fn the_loss_is_that_of_training() {
    let case = Case::new();
    for (name, operator, with) in [
        (
            "svm",
            "SmoothTopkSVMLoss k=3 tau=0.5 alpha=2",
            ", tau = 0.5, alpha = 2",
        ),
        ("max-topk-svm", "MaxTopkSVMLoss k=3 alpha=2", ", alpha = 2"),
        (
            "topk-hinge-alpha",
            "TopkHingeAlphaLoss k=3 alpha=2",
            ", alpha = 2",
        ),
        (
            "topk-hinge-beta",
            "TopkHingeBetaLoss k=3 alpha=2",
            ", alpha = 2",
        ),
        ("truncated-topk-entropy", "TruncatedTopkEntropyLoss k=3", ""),
        ("psi5", "Psi5Loss k=3 alpha=2", ", alpha = 2"),
    ] {
        case.trained_with(name);
        let note = format!("the output `loss` is {name} with k = 3{with}, as in training");
        assert_eq!(case.loss_of(name, ""), (vec![note], operator.to_owned()));
    }
}

#[test]
fn a_loss_of_training_without_operator_is_an_error() {
    let case = Case::new();
    let names = "svm, max-topk-svm, topk-hinge-alpha, topk-hinge-beta, truncated-topk-entropy, psi5, ldr-kl, dftopk";
    for name in [
        "ce",
        "balanced-noised-topk",
        "lml",
        "differentiable-topk-ce",
        "a-later-loss",
    ] {
        case.trained_with(name);
        let same = match name {
            "ce" => {
                "; --loss truncated-topk-entropy --topk 1 is cross-entropy without label smoothing"
            }
            _ => "",
        };
        let error = case.error(&format!(
            "model --checkpoint {name}.safetensors --outputs loss --no-verify --out a.onnx"
        ));
        assert_eq!(
            error,
            format!(
                "error: {name}.safetensors was trained with the loss {name}, which --outputs loss cannot \
                 compute: give --loss, one of {names}{same}\n"
            )
        );
    }
    let note = "the output `loss` is truncated-topk-entropy with k = 1, but training used ce";
    assert_eq!(
        case.loss_of("ce", " --loss truncated-topk-entropy --topk 1"),
        (
            vec![note.to_owned()],
            "TruncatedTopkEntropyLoss k=1".to_owned()
        )
    );
}

#[test]
fn options_replace_the_loss_of_training() {
    let case = Case::new();
    case.trained_with("svm");
    let training = "but training used svm with k = 3, tau = 0.5, alpha = 2";
    for (options, operator, description) in [
        (
            " --tau 0.25",
            "SmoothTopkSVMLoss k=3 tau=0.25 alpha=2",
            "svm with k = 3, tau = 0.25, alpha = 2",
        ),
        (
            " --topk 2 --alpha 1",
            "SmoothTopkSVMLoss k=2 tau=0.5 alpha=1",
            "svm with k = 2, tau = 0.5, alpha = 1",
        ),
        // The margin of another loss is not taken.
        (
            " --loss psi5",
            "Psi5Loss k=3 alpha=1",
            "psi5 with k = 3, alpha = 1",
        ),
    ] {
        let note = format!("the output `loss` is {description}, {training}");
        assert_eq!(
            case.loss_of("svm", options),
            (vec![note], operator.to_owned())
        );
    }
    let (notes, _) = case.loss_of("svm", " --loss svm --topk 3 --tau 0.5");
    let same = "the output `loss` is svm with k = 3, tau = 0.5, alpha = 2, as in training";
    assert_eq!(notes, [same]);
}

#[test]
fn a_triton_folder_is_complete() {
    let case = Case::new();
    case.write("model --checkpoint a.safetensors --triton --max-batch-size 8 --out net");
    let read = |name: &str| fs::read(case.path("net").join(name)).unwrap();
    let config = String::from_utf8(read("config.pbtxt")).unwrap();
    assert!(config.starts_with("name: \"net\"\nbackend: \"onnxruntime\"\nmax_batch_size: 8\n"));
    assert!(config.contains("dims: [ 3, 32, 32 ]"));
    assert!(config.contains("dims: [ 7 ]\n  label_filename: \"labels.txt\""));
    let labels = String::from_utf8(read("labels.txt")).unwrap();
    assert_eq!(labels.lines().count(), CLASSES);
    case.write("model --checkpoint a.safetensors --triton --outputs topk --out best");
    let config = fs::read_to_string(case.path("best/config.pbtxt")).unwrap();
    assert!(!config.contains("label_filename"), "{config}");
    let comment = "# labels.txt is for clients: line i, counted from 0, is the name of class i in the output \"classes\".\n";
    assert!(config.ends_with(comment), "{config}");
    assert!(case.path("best/labels.txt").exists());
    case.write("model --checkpoint a.safetensors --out net.onnx");
    assert!(read("1/model.onnx") == fs::read(case.path("net.onnx")).unwrap());
    assert_eq!(
        case.error("model --checkpoint a.safetensors --triton --out net"),
        "error: net already exists: remove it, or choose another folder\n"
    );
    let error = case.error("model --checkpoint a.safetensors --triton --out net.onnx/inside");
    assert!(
        error.starts_with("error: cannot write net.onnx/inside: "),
        "{error}"
    );
}

#[test]
fn a_model_that_cannot_be_kept_leaves_nothing_behind() {
    let case = Case::new();
    let size = fs::metadata(case.path("a.safetensors")).unwrap().len();
    let model = "model --checkpoint a.safetensors --out a.onnx";
    let too_large = || command::error_within(case.folder.path(), model, size / 2);
    let expected = "error: cannot write a.onnx: File too large (os error 27)\n";
    assert_eq!(too_large(), expected);

    // Nor does it replace another.
    case.write(model);
    let kept = fs::read(case.path("a.onnx")).unwrap();
    assert_eq!(too_large(), expected);
    case.error(&format!("{model} --input bytes --tolerance 0"));
    assert_eq!(fs::read(case.path("a.onnx")).unwrap(), kept);
}

#[test]
fn contradictory_arguments_are_errors() {
    let case = Case::new();
    for (arguments, expected) in [
        (
            "loss --topk 0 --num-classes 5 --out a.onnx",
            "error: k must be at least 1, got 0\n",
        ),
        (
            "loss --topk 5 --num-classes 5 --out a.onnx",
            "error: this loss needs at least 6 classes, got 5\n",
        ),
        (
            "loss --topk 129 --num-classes 1000 --out a.onnx",
            "error: k = 129 is above 128, the limit of the portable function; the native operator has no \
             limit\n",
        ),
        (
            "loss --topk 2 --num-classes 9 --tau 1e-60 --out a.onnx",
            "error: tau = 1e-60 cannot be represented as an ONNX attribute (32-bit float)\n",
        ),
        (
            "loss --topk 2 --num-classes 9 --loss psi5 --tau 1 --out a.onnx",
            "error: --tau cannot be used with --loss psi5, which has no temperature\n",
        ),
        (
            "loss --topk 2 --num-classes 9 --reduction none --scalar --out a.onnx",
            "error: --scalar cannot be used with --reduction none\n",
        ),
        (
            "loss --topk 2 --num-classes 9 --out no/a.onnx",
            "error: cannot write no/a.onnx: No such file or directory (os error 2)\n",
        ),
        (
            "model --checkpoint b.safetensors --out a.onnx",
            "error: cannot read b.safetensors: No such file or directory (os error 2)\n",
        ),
        (
            "model --checkpoint a.safetensors --topk 2 --out a.onnx",
            "error: --topk cannot be used with --outputs logits\n",
        ),
        (
            "model --checkpoint a.safetensors --outputs topk --form inline --out a.onnx",
            "error: --form cannot be used with --outputs topk\n",
        ),
        (
            "model --checkpoint a.safetensors --outputs topk --gradient --out a.onnx",
            "error: --gradient cannot be used with --outputs topk\n",
        ),
        (
            "loss --topk 2 --num-classes 9 --opset 13 --form function --out a.onnx",
            "error: --form function needs IR version 8 and operator set 15 or later, not IR version 7 and \
             operator set 13: use --form inline\n",
        ),
        (
            "model --checkpoint a.safetensors --outputs topk --topk 8 --out a.onnx",
            "error: cannot export a.safetensors: k must be between 1 and the number of classes, \
             7, got 8\n",
        ),
        (
            "model --checkpoint a.safetensors --outputs loss --topk 7 --out a.onnx",
            "note: a.safetensors: the output `loss` is svm with k = 7, tau = 1, alpha = 1, but training used \
             svm with k = 3, tau = 1, alpha = 1\n\
             error: cannot export a.safetensors: this loss needs at least 8 classes, got 7\n",
        ),
    ] {
        assert_eq!(case.error(arguments), expected, "{arguments}");
    }
}
