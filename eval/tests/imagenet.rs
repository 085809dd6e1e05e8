//! Predictions of real models match Python: Pillow 13, torchvision's transforms and onnxruntime.

use std::fs::{self, File};
use std::io::{self, BufReader};
use std::path::Path;
use std::process::Command;

use lzma_rust2::XzReader;
use serde_json::{Value, json};
use topk_testing::shared;

/// The results of all three models.
fn run(shared: &Path, folder: &Path, flags: &[&str]) -> Value {
    let resnet = folder.join("resnet18_pqf.onnx");
    if !resnet.exists() {
        let packed = File::open(shared.join("models/resnet18_pqf.onnx.xz")).unwrap();
        let mut reader = XzReader::new(BufReader::new(packed), false);
        io::copy(&mut reader, &mut File::create(&resnet).unwrap()).unwrap();
    }
    let json = folder.join("results.json");
    let output = Command::new(env!("CARGO_BIN_EXE_topk-eval"))
        .args([
            "--preset",
            "torchvision",
            "--topk",
            "5",
            "--device",
            "cpu",
            "--model",
        ])
        .arg(shared.join("models/squeezenet1_1.onnx"))
        .arg("--model")
        .arg(resnet)
        .arg("--model")
        .arg(shared.join("models/efficientnet_lite0.onnx"))
        .arg("--data")
        .arg(shared.join("data/imagenet-sample"))
        .arg("--json")
        .arg(&json)
        .args(flags)
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    serde_json::from_slice(&fs::read(json).unwrap()).unwrap()
}

#[test]
fn predictions_match_python_for_every_image() {
    let Some(shared) = shared("") else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let results = run(&shared, folder.path(), &[]);
    let golden = fs::read_to_string(shared.join("golden/imagenet-sample.pillow13.jsonl")).unwrap();
    let golden: Vec<Value> = golden
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let column =
        |key: &str| -> Vec<Value> { golden[1..].iter().map(|image| image[key].clone()).collect() };
    assert_eq!(results["images"]["names"], Value::from(column("file")));
    assert_eq!(results["images"]["labels"], Value::from(column("label")));
    for (i, name) in ["squeezenet1_1", "resnet18_pqf", "efficientnet_lite0"]
        .iter()
        .enumerate()
    {
        let model = &results["models"][i];
        let best: Vec<Value> = golden[1..]
            .iter()
            .flat_map(|image| image[name]["top5"].as_array().unwrap().clone())
            .collect();
        assert!(
            model["outcomes"]["best"]["classes"] == Value::from(best),
            "{name}"
        );
        let expected = &golden[0]["correct"][name];
        let topk = &model["metrics"]["topk"];
        assert_eq!(
            json!([topk[0]["k"], topk[0]["correct"]]),
            json!([1, expected["top1"]])
        );
        assert_eq!(
            json!([topk[1]["k"], topk[1]["correct"]]),
            json!([5, expected["top5"]])
        );
    }
}
