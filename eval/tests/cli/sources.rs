//! Preprocessing from presets and from configuration files, and the order and range of channels.

use std::fs;

use serde_json::Value;
use topk_onnx::proto::DataType;
use topk_onnx::{Dim, GraphBuilder, attribute};

use super::case::{CLASSES, Case, GraphProtoBuilder, RECORD};

const CFG: &str = r#"{"architecture": "resnet18", "pretrained_cfg": {
    "input_size": [3, 32, 32], "crop_pct": 1.0, "interpolation": "bilinear", "mean": [0.5, 0.5, 0.5]}}"#;

const VIT: &str = r#"{"image_processor_type": "ViTImageProcessor", "size": {"height": 32, "width": 32},
    "resample": 2, "image_mean": [0.25, 0.25, 0.25], "image_std": [0.5, 0.5, 0.5]}"#;

/// A model that predicts the channel with the largest mean.
fn brightest_channel() -> Box<GraphProtoBuilder> {
    Box::new(|| {
        let mut graph = GraphBuilder::new("brightest");
        let (batch, side) = (Dim::Dynamic("batch"), Dim::Fixed(32));
        let shape = [batch, Dim::Fixed(3), side, side];
        graph.input("input", DataType::Float, &shape, "");
        let weights: Vec<f32> = (0..CLASSES * 3)
            .map(|at| f32::from(u8::from(at / 3 == at % 3)))
            .collect();
        graph.initializer("weight", &[CLASSES, 3], &weights);
        graph.initializer("bias", &[CLASSES], &[0.0; CLASSES]);
        graph.node("GlobalAveragePool", "mean", &["input"], []);
        graph.node("Flatten", "flat", &["mean"], [attribute::int("axis", 1)]);
        let inputs = ["flat", "weight", "bias"];
        graph.node("Gemm", "logits", &inputs, [attribute::int("transB", 1)]);
        let shape = [batch, Dim::Fixed(CLASSES)];
        graph.output("logits", DataType::Float, &shape, "");
        graph.finish()
    })
}

/// Images that are 10 in red, 20 in green and 30 in blue, and a model without metadata.
fn case() -> Case {
    let case = Case::new();
    let mut records = Vec::new();
    for label in 0..3 {
        records.extend([0, label]);
        for value in [10, 20, 30] {
            records.resize(records.len() + (RECORD - 2) / 3, value);
        }
    }
    fs::write(case.path("test.bin"), records).unwrap();
    case.write_model(&brightest_channel(), None);
    case
}

fn model(results: &Value) -> &Value {
    &results["models"][0]["model"]
}

#[test]
fn channels_and_ranges_are_as_requested() {
    let case = case();
    let raw = ["--pixel-range", "255", "--topk", "1,3"];
    let rgb = case.results(&raw);
    let bgr = case.results(&[&raw[..], &["--bgr"]].concat());
    let predicted = |results: &Value| results["models"][0]["outcomes"]["predicted"].clone();
    assert_eq!(predicted(&rgb), serde_json::json!([2, 2, 2]));
    assert_eq!(predicted(&bgr), serde_json::json!([0, 0, 0]));
    assert_eq!(model(&rgb)["pixel_range"], 255);
    assert_eq!(model(&rgb)["channel_order"], Value::Null);
    assert_eq!(model(&bgr)["channel_order"], "bgr");
    // Logits of 30, 20, 10 and three of 0.
    let best = 1.0 / (1.0 + (-10f64).exp() + (-20f64).exp() + 3.0 * (-30f64).exp());
    let confidence = rgb["models"][0]["outcomes"]["confidence"][0].as_f64();
    assert!((confidence.unwrap() - best).abs() < 1e-6);

    let named = case.results(&["--preset", "keras-caffe"]);
    assert_eq!(model(&named)["pixel_range"], 255);
    assert_eq!(model(&named)["channel_order"], "bgr");
    assert_eq!(model(&named)["preset"], "keras-caffe");

    let printed = case.run(&["--pixel-range", "255", "--bgr"]);
    let printed = String::from_utf8(printed.stderr).unwrap();
    assert!(
        printed.contains("mean 0 0 0, std 1 1 1, times 255, blue, green, red"),
        "{printed}"
    );
}

#[test]
fn results_with_other_channels_are_not_resumed() {
    let case = case();
    let raw = ["--pixel-range", "255", "--mean", "0,0,0", "--std", "1,1,1"];
    case.results(&raw);
    for (flags, what) in [
        (&["--bgr", "--pixel-range", "255"][..], "channel_order"),
        (&["--pixel-range", "1"], "pixel_range"),
    ] {
        let json = case.path("out.json");
        let same = ["--mean", "0,0,0", "--std", "1,1,1", "--resume", "--json"];
        let output = case.run(&[flags, &same, &[json.to_str().unwrap()]].concat());
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(
            error.contains("cannot resume ") && error.contains(what),
            "{error}"
        );
    }
}

#[test]
fn a_configuration_beside_the_model_is_used_and_recorded() {
    let case = case();
    fs::write(case.path("config.json"), CFG).unwrap();
    let results = case.results(&[]);
    let found = model(&results);
    let path = case.path("config.json").display().to_string();
    assert_eq!(found["preset"], path);
    assert_eq!(found["normalization"]["mean"][0], 0.5);
    assert_eq!(
        found["preprocessing"],
        "resize shorter side to 32 (bilinear), centre crop of 32x32, as Pillow 13"
    );
    let note = format!("preprocessing of {path}, as the model has no metadata (--preset)");
    let notes = found["notes"].as_array().unwrap();
    assert!(notes.contains(&note.into()), "{notes:?}");
    let output = case.run(&[]);
    let printed = String::from_utf8(output.stderr).unwrap();
    assert!(printed.contains("preprocessing of /"), "{printed}");

    // Flags replace single settings of the file; --mean and --std all of them.
    let results = case.results(&["--interpolation", "lanczos"]);
    assert_eq!(
        model(&results)["preprocessing_settings"]["interpolation"],
        "lanczos"
    );
    assert_eq!(model(&results)["preset"], path);
    let results = case.results(&["--mean", "0,0,0", "--std", "1,1,1"]);
    assert_eq!(model(&results)["preset"], Value::Null);
    let results = case.results(&["--preset", "clip"]);
    assert_eq!(model(&results)["preset"], "clip");

    fs::remove_file(case.path("out.json")).unwrap();
    fs::write(case.path("preprocessor_config.json"), VIT).unwrap();
    let error = case.error(&[]);
    assert!(
        error.contains("prescribe different preprocessing: choose one with --preset"),
        "{error}"
    );
    let vit = case.path("preprocessor_config.json");
    let results = case.results(&["--preset", vit.to_str().unwrap()]);
    assert_eq!(model(&results)["normalization"]["mean"][0], 0.25);
}

#[test]
fn a_model_with_metadata_does_not_need_the_file_beside_it() {
    let case = Case::new();
    fs::write(case.path("config.json"), CFG.replace("bilinear", "random")).unwrap();
    let results = case.results(&[]);
    assert_eq!(model(&results)["preset"], Value::Null);
    assert_eq!(model(&results)["normalization"]["std"][0], 0.25);
    case.write_model(&brightest_channel(), None);
    fs::remove_file(case.path("out.json")).unwrap();
    let error = case.error(&[]);
    assert!(
        error.contains("config.json: `interpolation` is \"random\", expected nearest")
            && error.contains("to ignore it, pass --preset, or --mean and --std"),
        "{error}"
    );
}

#[test]
fn presets_that_do_not_fit_are_errors() {
    let case = case();
    let error = case.error(&["--preset", "resnet50"]);
    assert!(
        error.starts_with("unknown preset `resnet50`: expected torchvision, "),
        "{error}"
    );
    let error = case.error(&["--preset", "ResNet50_Weights.IMAGENET1K_V2"]);
    assert!(
        error.contains(
            "takes images of 32x32 pixels (height x width), but ResNet50_Weights.IMAGENET1K_V2 is for 224x224"
        ),
        "{error}"
    );
    let flags = [
        "--preset",
        "ResNet50_Weights.IMAGENET1K_V2",
        "--resize",
        "32",
    ];
    let results = case.results(&flags);
    assert_eq!(model(&results)["normalization"]["mean"][0], 0.485);
}
