//! Predictions of real models match Python: Pillow 13, torchvision's transforms and onnxruntime.

mod photographs;

use std::fs;
use std::path::Path;

use photographs::evaluate;
use serde_json::{Value, json};
use topk_testing::shared;

/// The results of all three models.
fn run(shared: &Path, folder: &Path, flags: &[&str]) -> Value {
    let models = ["squeezenet1_1", "resnet18_pqf", "efficientnet_lite0"];
    let flags = [&["--topk", "5", "--device", "cpu"], flags].concat();
    let json = evaluate(shared, folder, &models, &flags);
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
