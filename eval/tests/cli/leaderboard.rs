//! `topk-eval report`, and the limits of `topk-eval compare`.

use std::fs;
use std::process::{Command, Output};

use topk_testing::root;

use crate::case::{CLASSES, Case, card, linear};

/// Results of two models in `runs/out.json`: one that ranks classes by index, and one in the reverse order.
fn two_models() -> Case {
    let case = Case::new();
    fs::copy(case.path("model.onnx"), case.path("in_order.onnx")).unwrap();
    let reverse = (0..CLASSES).map(|class| class as f32).collect();
    case.write_model(&linear(32, reverse), Some(&card()));
    let in_order = case.path("in_order.onnx");
    case.results(&["--model", in_order.to_str().unwrap(), "--topk", "2"]);
    fs::create_dir_all(case.path("runs/deep")).unwrap();
    fs::rename(case.path("out.json"), case.path("runs/out.json")).unwrap();
    case
}

fn command(case: &Case, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_topk-eval"));
    command.current_dir(case.folder.path()).args(arguments);
    command.output().unwrap()
}

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap()
}

#[test]
fn a_folder_becomes_a_leaderboard() {
    let case = two_models();
    case.results(&[]);
    fs::rename(case.path("out.json"), case.path("runs/deep/one.json")).unwrap();
    fs::write(case.path("runs/settings.json"), "{}").unwrap();
    let whole = fs::read_to_string(case.path("runs/out.json")).unwrap();
    fs::write(case.path("runs/deep/cut.json"), &whole[..whole.len() / 2]).unwrap();
    let outputs = [
        "--html",
        "a.html",
        "--markdown",
        "a.md",
        "--csv",
        "a.csv",
        "--model-index",
        "a.yaml",
    ];
    let output = command(
        &case,
        &[&["report", "runs", "runs/out.json"][..], &outputs].concat(),
    );
    assert!(output.status.success(), "{output:?}");
    let table = text(output.stdout);
    let lines = table.lines().filter(|line| line.contains(" ±"));
    assert_eq!(lines.count(), 3, "{table}");
    let messages = text(output.stderr);
    let skipped = "skipped, because they are not result files: runs/settings.json";
    assert!(messages.contains(skipped), "{messages}");
    assert!(
        messages.contains("left out: runs/deep/cut.json is not"),
        "{messages}"
    );
    assert!(messages.contains("a.yaml has 2 models"), "{messages}");
    let html = fs::read_to_string(case.path("a.html")).unwrap();
    assert!(html.contains("Top-k accuracy of 2 models") && html.contains("runs/settings.json"));
    assert_eq!(
        fs::read_to_string(case.path("a.csv"))
            .unwrap()
            .lines()
            .count(),
        4
    );
    assert!(
        fs::read_to_string(case.path("a.md"))
            .unwrap()
            .contains("| model (deep/one) |")
    );

    // A file that is named must be a result file.
    let output = command(&case, &["report", "runs/settings.json"]);
    assert_eq!(output.status.code(), Some(1));
    let message = text(output.stderr);
    assert!(
        message.contains("runs/settings.json is not a topk-eval result file"),
        "{message}"
    );
    fs::create_dir(case.path("empty")).unwrap();
    let output = command(&case, &["report", "empty"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(output.stderr).contains("no results in empty"));
}

#[test]
fn a_drop_has_exit_status_2_and_errors_have_1() {
    let case = two_models();
    // Top-1 accuracy is 30 % in the one order, 20 % in the other.
    let compare = |flags: &[&str]| command(&case, &[&["compare", "runs/out.json"], flags].concat());
    for (flags, code) in [
        (&["--models", "1,2", "--fail-if-top1-drops", "5"][..], 0),
        (&["--models", "2,1", "--fail-if-top1-drops", "10"], 0),
        (&["--models", "2,1", "--fail-if-top1-drops", "9.9"], 2),
        (&["--models", "2,1", "--fail-if-topk-drops", "0"], 2),
        (&["--models", "2,1", "--fail-if-top1-drops", "-1"], 1),
        (&["--models", "2,1", "--fail-if-top1-drops", "much"], 1),
        (&["--models", "2,3", "--fail-if-top1-drops", "1"], 1),
    ] {
        let output = compare(flags);
        assert_eq!(output.status.code(), Some(code), "{flags:?}: {output:?}");
    }
    let flags = [
        "--models",
        "2,1",
        "--fail-if-top1-drops",
        "5",
        "--json",
        "changes.json",
    ];
    let output = compare(&flags);
    assert_eq!(output.status.code(), Some(2));
    let message = text(output.stderr);
    let expected = "failed: top-1 accuracy drops by 10.00 points (30.00 % to 20.00 %), more than the allowed 5";
    assert!(message.contains(expected), "{message}");
    let json: serde_json::Value =
        serde_json::from_slice(&fs::read(case.path("changes.json")).unwrap()).unwrap();
    assert_eq!(json["gates"][0]["passed"], false);
    assert_eq!(json["before"]["number_format"], "float32");
}

/// Models that ONNX Runtime's tools made; see `onnx/tests/data/quantization`.
#[test]
fn quantisation_is_recorded_and_compared() {
    let case = Case::new();
    let model = |name: &str| {
        let path = root().join("onnx/tests/data/quantization").join(name);
        path.to_str().unwrap().to_owned()
    };
    fs::copy(model("float32.onnx"), case.path("model.onnx")).unwrap();
    let flags = [
        "--preset",
        "torchvision",
        "--input-size",
        "8",
        "--device",
        "cpu",
    ];
    let models = [
        "--model",
        &model("qdq_part.onnx"),
        "--model",
        &model("dynamic.onnx"),
    ];
    let results = case.results(&[&flags[..], &models].concat());
    let model = |at: usize| &results["models"][at]["model"];
    assert_eq!(model(0).get("quantization"), None);
    assert_eq!(
        model(0)["bytes"],
        fs::metadata(case.path("model.onnx")).unwrap().len()
    );
    let expected = serde_json::json!({
        "format": "QDQ", "nodes": 3, "quantized": 1, "weights": ["int8"], "activations": ["int8"],
    });
    assert_eq!(model(1)["quantization"], expected);
    let note = "quantised: int8 QDQ, 1 of 3 Conv, MatMul and Gemm nodes";
    assert_eq!(model(1)["notes"][0], note);
    assert_eq!(model(2)["quantization"]["format"], "dynamic");
    let output = command(&case, &["compare", "out.json", "--models", "1,2"]);
    let table = text(output.stdout);
    assert!(
        table.contains("weights float32 → int8 QDQ (1 of 3 nodes), "),
        "{table}"
    );
}
