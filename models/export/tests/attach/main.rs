//! Losses attached to other people's models, and losses of their own for such models.

#[path = "../command/mod.rs"]
mod command;
mod example;
mod golden;

use std::fs;
use std::path::Path;

use tempfile::TempDir;
use topk_ops::{Loss, SmoothTopkSvm};
use topk_testing::{Environment, python, run};

/// A folder with the models of `models.py`; `None` if Python is not installed.
fn models() -> Option<TempDir> {
    let folder = tempfile::tempdir().unwrap();
    let mut python = python(Environment::Onnx)?;
    run(python
        .args(["-c", include_str!("models.py")])
        .arg(folder.path()));
    Some(folder)
}

/// What `check.py` prints about models of `models.py` and their copies.
fn checked(folder: &Path, pairs: &[(&str, &str)]) -> Option<Vec<String>> {
    let mut python = python(Environment::OnnxRuntime)?;
    python
        .args(["-c", include_str!("check.py")])
        .current_dir(folder);
    let printed = run(python.args(pairs.iter().flat_map(|(before, after)| [before, after])));
    Some(printed.lines().map(str::to_owned).collect())
}

/// The last words of the line about the result, without the numbers.
fn is_verified(printed: &str) -> bool {
    printed.contains("of noise in ONNX Runtime") && printed.contains("of topk-ops'")
}

#[test]
fn models_of_any_exporter_get_a_loss() {
    let Some(folder) = models() else { return };
    let no_functions = |ir: i64, opset: i64| {
        format!(
            "with IR version {ir} and operator set {opset} it cannot have functions: the loss is written as plain \
             nodes (--form inline)"
        )
    };
    let renamed = ["labels_2", "loss_2", "grad_2"];
    let in_use = |name: &str, kind: &str| {
        format!("the name `{name}` is in use: the {kind} is named `{name}_2`")
    };
    let of_names = |last: &str| {
        vec![
            in_use("labels", "input"),
            in_use("loss", "output"),
            in_use("grad", "output"),
            format!("{last}: the loss is written as plain nodes (--form inline)"),
        ]
    };
    let later = |versions: &str| format!("{versions} ['topk.SmoothTopkSVMLoss']");
    let (usual_versions, of_open, of_half) = (later("8 17"), later("9 18"), later("10 21"));
    let usual = ["labels", "loss", "grad"];
    let cases = [
        ("old", "", vec![no_functions(3, 9)], "3 9 []", usual, "['N']", "['N', 10]"),
        ("doubles", "", vec![no_functions(6, 11)], "6 11 []", usual, "['N']", "['N', 10]"),
        ("conv", "", vec![no_functions(7, 13)], "7 13 []", usual, "['N']", "['N', 10, 1, 1]"),
        ("last", "", vec![], &*usual_versions, usual, "[0]", "[0, 1, 1, 10]"),
        ("softmax", " --output logits", vec![], &*usual_versions, usual, "['N']", "['N', 10]"),
        (
            "logs",
            "",
            vec![
                "`logs` is the logarithm of a softmax, which has the same losses as the scores before it; the \
                 gradient is that with respect to `logs`"
                    .to_owned(),
            ],
            &*usual_versions,
            usual,
            "['N']",
            "['N', 10]",
        ),
        ("two", " --output logits", vec![], &*usual_versions, usual, "['N']", "['N', 10]"),
        (
            "best",
            "",
            vec!["its output `logits` has the scores (--output)".to_owned()],
            &*usual_versions,
            usual,
            "['N']",
            "['N', 10]",
        ),
        (
            "names",
            "",
            of_names("it has a function SmoothTopkSVMLoss with other settings already"),
            "8 17 ['topk.SmoothTopkSVMLoss']",
            renamed,
            "['N']",
            "['N', 10]",
        ),
        (
            "domain",
            "",
            of_names("it has other operators of the domain `topk`"),
            "8 17 ['other.SmoothTopkSVMLoss']",
            renamed,
            "['N']",
            "['N', 10]",
        ),
        ("branch", "", vec![], &*usual_versions, usual, "['N']", "['N', 10]"),
        ("tokens", "", vec![], &*usual_versions, usual, "['batch']", "['batch', 10]"),
        ("half", "", vec![], &*of_half, usual, "[4]", "[4, 10]"),
        ("open", "", vec![], &*of_open, usual, "['N']", "['N', 10]"),
        ("outside", "", vec![], &*usual_versions, usual, "['N']", "['N', 10]"),
    ];
    let (mut pairs, mut lines) = (Vec::new(), Vec::new());
    for (name, options, notes, versions, [labels, loss, grad], batch, scores) in &cases {
        let arguments = format!(
            "loss --attach {name}.onnx{options} --topk 3 --reduction none --out {name}-loss.onnx"
        );
        assert_eq!(command::notes(folder.path(), &arguments), *notes, "{name}");
        pairs.push((format!("{name}.onnx"), format!("{name}-loss.onnx")));
        lines.push(format!(
            "{name}-loss.onnx {versions} {labels}{batch} {loss}{batch} {grad}{scores}"
        ));
    }
    let pairs: Vec<_> = pairs.iter().map(|(a, b)| (&**a, &**b)).collect();
    if let Some(found) = checked(folder.path(), &pairs) {
        assert_eq!(found, lines);
    }
}

#[test]
fn losses_have_all_options() {
    let Some(folder) = models() else { return };
    let write = |arguments: &str| {
        let printed = command::write(folder.path(), arguments);
        assert!(is_verified(&printed), "{printed}");
    };
    write(
        "loss --attach open.onnx --topk 2 --loss psi5 --alpha 2 --class-weights --predictions --out 1.onnx",
    );
    write(
        "loss --attach 1.onnx --output logits --topk 4 --tau 0.5 --scalar --labels labels --ignore-index -1 --out 2.onnx",
    );
    write(
        "loss --attach 2.onnx --output logits --topk 1 --form native --labels y --reduction sum --out 3.onnx",
    );
    write(
        "loss --attach half.onnx --topk 2 --class-weights --predictions --form inline --out 4.onnx",
    );
    write(
        "loss --attach old.onnx --topk 2 --class-weights --predictions --ignore-index 3 --out 5.onnx",
    );
    write("loss --attach softmax.onnx --topk 2 --output-kind logits --out 6.onnx");
    let printed = command::write(
        folder.path(),
        "loss --attach free.onnx --num-classes 9 --topk 2 --no-verify --out 7.onnx",
    );
    assert_eq!(printed, "7.onnx: not verified\n");
    let printed = command::write(
        folder.path(),
        "loss --attach text.onnx --topk 2 --out 8.onnx",
    );
    assert!(is_verified(&printed));
    let reason = "does not run on noise: its input `text` has type String\n";
    assert!(printed.ends_with(reason), "{printed}");

    let pairs = [
        ("open.onnx", "1.onnx"),
        ("1.onnx", "2.onnx"),
        ("half.onnx", "4.onnx"),
        ("old.onnx", "5.onnx"),
        ("softmax.onnx", "6.onnx"),
        ("free.onnx", "7.onnx"),
    ];
    let Some(found) = checked(folder.path(), &pairs) else {
        return;
    };
    let psi5 = "'topk.Psi5Loss'";
    assert_eq!(
        found,
        [
            format!(
                "1.onnx 9 18 [{psi5}] labels['N'] weights[10] loss[1] grad['N', 10] probabilities['N', 2] \
                 classes['N', 2]"
            ),
            format!("2.onnx 9 18 [{psi5}, 'topk.SmoothTopkSVMLoss'] loss_2[] grad_2['N', 10]"),
            "4.onnx 10 21 [] labels[4] weights[10] loss[1] grad[4, 10] probabilities[4, 2] classes[4, 2]".to_owned(),
            "5.onnx 3 9 [] labels['N'] weights[10] loss[1] grad['N', 10] probabilities['N', 2] classes['N', 2]"
                .to_owned(),
            "6.onnx 8 17 ['topk.SmoothTopkSVMLoss'] labels['N'] loss[1] grad['N', 10]".to_owned(),
            "7.onnx 8 17 ['topk.SmoothTopkSVMLoss'] labels['N'] loss[1] grad['N', 'C']".to_owned(),
        ]
    );
    let metadata = topk_onnx::read_without_weights(&folder.path().join("3.onnx"));
    let metadata = metadata.unwrap().metadata_props;
    let entries: Vec<_> = metadata
        .iter()
        .map(|entry| (&*entry.key, &*entry.value))
        .collect();
    assert_eq!(
        entries,
        [
            (
                "topk.attached.loss",
                r#"{"alpha":2.0,"classes":10,"form":"function","grad":"grad","k":2,"labels":"labels","loss":"psi5","reduction":"mean","scores":"logits"}"#
            ),
            (
                "topk.attached.loss_2",
                r#"{"alpha":1.0,"classes":10,"form":"function","grad":"grad_2","ignore_index":-1,"k":4,"labels":"labels","loss":"svm","reduction":"mean","scores":"logits","tau":0.5}"#
            ),
            (
                "topk.attached.loss_3",
                r#"{"alpha":1.0,"classes":10,"form":"native","grad":"grad_3","k":1,"labels":"y","loss":"svm","reduction":"sum","scores":"logits","tau":1.0}"#
            ),
        ]
    );
}

#[test]
fn weights_in_other_files_come_along() {
    let Some(folder) = models() else { return };
    let path = |name: &str| folder.path().join(name);
    fs::create_dir(path("elsewhere")).unwrap();
    let arguments = "loss --attach outside.onnx --topk 2 --out elsewhere/a.onnx";
    let notes = ["its weights in outside.data are copied to elsewhere"];
    assert_eq!(command::notes(folder.path(), arguments), notes);
    let data = |name: &str| fs::read(path(name)).unwrap();
    assert!(data("outside.data") == data("elsewhere/outside.data"));
    // The copy is used again, unless it has other contents.
    assert!(command::notes(folder.path(), arguments).is_empty());
    fs::write(path("elsewhere/outside.data"), "other").unwrap();
    assert_eq!(
        command::error(folder.path(), arguments),
        "error: cannot attach a loss to outside.onnx: its weights in outside.data would replace \
         elsewhere/outside.data, which has other contents: choose another folder for --out\n"
    );
    fs::write(path("outside.data"), "short").unwrap();
    assert_eq!(
        command::error(folder.path(), arguments),
        "error: cannot attach a loss to outside.onnx: its weights in outside.data are truncated: the file has 5 \
         bytes, but the model reads 120\n"
    );
    fs::remove_file(path("outside.data")).unwrap();
    assert_eq!(
        command::error(folder.path(), arguments),
        "error: cannot attach a loss to outside.onnx: its weights in outside.data cannot be read: No such file or \
         directory (os error 2)\n"
    );
    assert_eq!(fs::read_dir(path("elsewhere")).unwrap().count(), 2);
}

#[test]
fn what_has_no_scores_is_an_error() {
    let Some(folder) = models() else { return };
    fs::write(folder.path().join("text.txt"), "no model").unwrap();
    let outputs = "`features` float32[N, 3], `logits` float32[N, 10]";
    for (arguments, expected) in [
        (
            "two.onnx",
            format!("give the --output with the scores: its outputs are {outputs}"),
        ),
        (
            "two.onnx --output fc",
            format!("its graph has no value `fc`; its outputs are {outputs}"),
        ),
        (
            "two.onnx --output w",
            "`w` is a constant: choose a value that is computed from the inputs".to_owned(),
        ),
        (
            "branch.onnx --output inner",
            "`inner` is inside a branch or a loop, where its value cannot be read from outside: choose a value of \
             the main graph, such as its outputs `logits` float32[N, 10]"
                .to_owned(),
        ),
        (
            "softmax.onnx",
            "`probs` is the result of a softmax, and losses are computed from the scores before: give --output \
             logits. To use the probabilities as if they were scores, give --output-kind logits"
                .to_owned(),
        ),
        (
            "hidden.onnx",
            "`probs` has values of each sample that are not negative and sum to 1, and losses are computed from \
             the scores before. To use the probabilities as if they were scores, give --output-kind logits"
                .to_owned(),
        ),
        (
            "free.onnx",
            "the number of classes of `logits`, of shape [N, C], is not fixed: give --num-classes".to_owned(),
        ),
        (
            "two.onnx --output logits --num-classes 9",
            "--num-classes is 9, but `logits` has 10 classes".to_owned(),
        ),
        (
            "two.onnx --output features",
            "this loss needs at least 4 classes, got 3".to_owned(),
        ),
        (
            "map.onnx",
            "`map` has shape [N, 10, 5, 5], expected [batch, classes], where further dimensions may be 1".to_owned(),
        ),
        (
            "integers.onnx",
            "`best` has type int64: scores are float32, float64, float16 or bfloat16".to_owned(),
        ),
        (
            "ancient.onnx",
            "it uses operator set 8, but losses can be written with 9 to 28: convert it first, for example with \
             onnx.version_converter.convert_version(model, 17)"
                .to_owned(),
        ),
        (
            "old.onnx --form function",
            "--form function needs IR version 8 and operator set 15 or later, but it has IR version 3 and operator \
             set 9: use --form inline"
                .to_owned(),
        ),
        (
            "names.onnx --form function",
            "the model has a function SmoothTopkSVMLoss with other settings already: inline the loss, or write a \
             call of the native operator"
                .to_owned(),
        ),
        (
            "domain.onnx --form native",
            "the model imports version 5 of the domain `topk`, which are not these losses: inline the loss".to_owned(),
        ),
        (
            "best.onnx --labels x",
            "`x` cannot have the labels, since it is an input, `x` float32[N, 3]: give the name of an input of type \
             int64 or int32 and shape [batch], or a new name"
                .to_owned(),
        ),
        (
            "best.onnx --labels best",
            "`best` cannot have the labels, since it is another value or node of the model: give the name of an \
             input of type int64 or int32 and shape [batch], or a new name"
                .to_owned(),
        ),
        (
            "unknown.onnx",
            "ONNX Runtime 1.31.1 cannot load it, even without the loss: Fatal error: com.example:Unknown(-1) is not \
             a registered function/op. --no-verify attaches the loss unverified"
                .to_owned(),
        ),
        ("text.txt", "it is not an ONNX file, or a part of one".to_owned()),
    ] {
        let (model, options) = arguments.split_once(' ').unwrap_or((arguments, ""));
        let options = if options.is_empty() { String::new() } else { format!(" {options}") };
        let error = command::error(
            folder.path(),
            &format!("loss --attach {model}{options} --topk 3 --out a.onnx"),
        );
        let expected = format!("error: cannot attach a loss to {model}: {expected}\n");
        assert_eq!(error, expected);
    }
    let error = |arguments: &str| command::error(folder.path(), arguments);
    assert_eq!(
        error("loss --attach two.onnx --output logits --topk 3 --out ./two.onnx"),
        "error: cannot attach a loss to two.onnx: --out is the model itself: give the name of another file\n"
    );
    assert_eq!(
        error("loss --attach nothing.onnx --topk 3 --out a.onnx"),
        "error: cannot read nothing.onnx: No such file or directory (os error 2)\n"
    );
    assert_eq!(
        error("loss --attach two.onnx --output logits --topk 3 --out no/a.onnx"),
        "error: cannot write no/a.onnx: No such file or directory (os error 2)\n"
    );
}

/// Runs models with attached losses in OpenVINO, and prints the losses.
const OPENVINO: &str = r#"
import sys
import numpy as np
import openvino

x = np.array([[1, 2, 3], [3, 2, 1]], dtype=np.float32)
for path in sys.argv[1:]:
    model = openvino.Core().compile_model(path, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    results = model({"x": x, "labels": np.array([0, 9])})
    scores, loss, grad = (results[output] for output in model.outputs[:3])
    print(*scores.ravel(), *loss, *grad.ravel())
"#;

#[test]
fn losses_as_plain_nodes_run_in_openvino() {
    let Some(folder) = models() else { return };
    let loss = "--topk 3 --reduction none --out";
    command::notes(
        folder.path(),
        &format!("loss --attach doubles.onnx {loss} a.onnx"),
    );
    command::write(
        folder.path(),
        &format!("loss --attach open.onnx --form inline {loss} b.onnx"),
    );
    let Some(mut python) = python(Environment::OpenVino) else {
        return;
    };
    let models = ["a.onnx", "b.onnx"];
    let printed = run(python
        .args(["-c", OPENVINO])
        .args(models)
        .current_dir(&folder));
    assert_eq!(printed.lines().count(), 2);
    for line in printed.lines() {
        let numbers: Vec<f32> = line
            .split(' ')
            .map(|number| number.parse().unwrap())
            .collect();
        let (scores, found) = numbers.split_at(20);
        let (mut losses, mut grad) = ([0.0; 2], [0.0; 20]);
        let svm = SmoothTopkSvm::new(3, 1.0, 1.0).unwrap();
        svm.forward_backward(scores, &[0, 9], &mut losses, &mut grad)
            .unwrap();
        let expected: Vec<f32> = losses.into_iter().chain(grad).collect();
        assert_eq!(found.len(), expected.len());
        for (found, expected) in found.iter().zip(expected) {
            assert!((found - expected).abs() < 1e-5, "{found} is not {expected}");
        }
    }
}

/// Merges models of several versions with losses of the same versions, and prints their losses.
const MERGE: &str = r#"
import sys
import numpy as np
import onnx
import onnxruntime
from onnx import compose, helper, numpy_helper

w = numpy_helper.from_array(np.eye(3, 5, dtype=np.float32), "w")
value = lambda name, size: helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["N", size])
matmul = helper.make_node("MatMul", ["x", "w"], ["logits"])
graph = helper.make_graph([matmul], "net", [value("x", 3)], [value("logits", 5)], [w])
for path in sys.argv[1:]:
    loss = onnx.load(path)
    opset = next(opset.version for opset in loss.opset_import if not opset.domain)
    net = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=loss.ir_version)
    merged = compose.merge_models(net, loss, io_map=[("logits", "scores")])
    onnx.checker.check_model(merged, full_check=True)
    session = onnxruntime.InferenceSession(merged.SerializeToString(), providers=["CPUExecutionProvider"])
    x = np.array([[1, 2, 3], [3, 2, 1]], dtype=np.float32)
    found, = session.run(["loss"], {"x": x, "labels": np.array([0, 0])})
    print(loss.ir_version, opset, len(merged.functions), *found)
"#;

#[test]
fn losses_merge_with_models_of_the_same_versions() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let loss = "loss --topk 2 --num-classes 5 --reduction none";
    command::write(path, &format!("{loss} --out default.onnx"));
    command::write(path, &format!("{loss} --opset 21 --out 21.onnx"));
    command::write(
        path,
        &format!("{loss} --opset 18 --ir-version 10 --out torch.onnx"),
    );
    let notes = command::notes(path, &format!("{loss} --opset 9 --out 9.onnx"));
    let note = "IR version 4 and operator set 9 have no functions for losses: the loss is written as plain nodes \
                (--form inline)";
    assert_eq!(notes, [note]);
    command::notes(path, &format!("{loss} --opset 13 --out 13.onnx"));
    command::notes(
        path,
        &format!("{loss} --opset 15 --ir-version 7 --out 15.onnx"),
    );
    let Some(mut python) = python(Environment::OnnxRuntime) else {
        return;
    };
    let files = ["default", "21", "torch", "9", "13", "15"].map(|name| format!("{name}.onnx"));
    let printed = run(python.args(["-c", MERGE]).args(files).current_dir(path));
    let scores = [1.0f32, 2.0, 3.0, 0.0, 0.0, 3.0, 2.0, 1.0, 0.0, 0.0];
    let mut expected = [0.0; 2];
    let svm = SmoothTopkSvm::new(2, 1.0, 1.0).unwrap();
    svm.forward(&scores, &[0, 0], &mut expected).unwrap();
    let mut versions = Vec::new();
    for line in printed.lines() {
        let words: Vec<&str> = line.split(' ').collect();
        for (found, expected) in words[3..].iter().zip(expected) {
            let found: f32 = found.parse().unwrap();
            assert!((found - expected).abs() < 1e-6, "{line}");
        }
        assert_eq!(words.len(), 5);
        versions.push(words[..3].join(" "));
    }
    assert_eq!(
        versions,
        ["8 17 1", "10 21 1", "10 18 1", "4 9 0", "7 13 0", "7 15 0"]
    );
}
