//! A small generated model and data set.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output};

use serde_json::Value;
use tempfile::TempDir;
use topk_onnx::proto::{DataType, GraphProto, ModelProto};
use topk_onnx::{Dim, GraphBuilder, ModelCard, attribute, model};

pub const RECORD: usize = 2 + 3 * 32 * 32;
pub const CLASSES: usize = 6;

/// A folder with a data set of six classes and a model that always ranks them by index.
pub struct Case {
    pub folder: TempDir,
}

impl Case {
    /// Labels of the images, which are also the ranks of the true class.
    pub const LABELS: [u8; 10] = [0, 1, 2, 3, 4, 5, 0, 0, 1, 5];

    pub fn new() -> Self {
        let case = Self {
            folder: tempfile::tempdir().unwrap(),
        };
        let names: String = class_names()
            .iter()
            .map(|name| format!("{name}\n"))
            .collect();
        fs::write(case.path("fine_label_names.txt"), names).unwrap();
        case.write_records(&Self::LABELS);
        case.write_model(&in_order(), Some(&card()));
        case
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn write_records(&self, labels: &[u8]) {
        let mut records = Vec::new();
        for &label in labels {
            records.extend([0, label]);
            records.resize(records.len() + RECORD - 2, 128);
        }
        fs::write(self.path("test.bin"), records).unwrap();
    }

    pub fn write_model(&self, graph: &GraphProtoBuilder, card: Option<&ModelCard>) {
        let metadata = card.map(ModelCard::to_metadata).unwrap_or_default();
        let file: ModelProto = model(graph(), "", metadata);
        fs::write(
            self.path("model.onnx"),
            prost::Message::encode_to_vec(&file),
        )
        .unwrap();
    }

    /// A run in another folder with an empty environment.
    pub fn command(&self, flags: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_topk-eval"));
        command
            .env_clear()
            .current_dir("/")
            .arg("--model")
            .arg(self.path("model.onnx"))
            .arg("--data")
            .arg(self.folder.path())
            .args(flags);
        command
    }

    pub fn run(&self, flags: &[&str]) -> Output {
        self.command(flags).output().unwrap()
    }

    /// The error of a run that must fail without results.
    pub fn error(&self, flags: &[&str]) -> String {
        let json = self.path("out.json");
        let output = self.run(&[flags, &["--json", json.to_str().unwrap()]].concat());
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        assert!(output.stdout.is_empty(), "{output:?}");
        assert!(!json.exists());
        let printed = String::from_utf8(output.stderr).unwrap();
        let (_, message) = printed.split_once("error: ").expect(&printed);
        message.trim_end().to_owned()
    }

    /// The results of a run.
    pub fn results(&self, flags: &[&str]) -> Value {
        let json = self.path("out.json");
        let output = self.run(&[flags, &["--json", json.to_str().unwrap()]].concat());
        assert!(output.status.success(), "{output:?}");
        serde_json::from_slice(&fs::read(json).unwrap()).unwrap()
    }
}

pub type GraphProtoBuilder = dyn Fn() -> GraphProto;

pub fn class_names() -> Vec<String> {
    (0..CLASSES).map(|class| format!("class {class}")).collect()
}

pub fn card() -> ModelCard {
    ModelCard {
        format: ModelCard::FORMAT,
        architecture: "constant".to_owned(),
        class_names: Some(class_names()),
        input_size: [3, 32, 32],
        resize: None,
        mean: [0.5; 3].into(),
        std: [0.25; 3].into(),
        training: None,
    }
}

/// A linear classifier for images of `side` x `side` pixels, with weights 0 and this bias.
pub fn linear(side: usize, bias: Vec<f32>) -> Box<GraphProtoBuilder> {
    Box::new(move || {
        let (features, classes) = (3 * side * side, bias.len());
        let mut graph = GraphBuilder::new("linear");
        let side = Dim::Fixed(side);
        graph.input(
            "input",
            DataType::Float,
            &[Dim::Dynamic("batch"), Dim::Fixed(3), side, side],
            "",
        );
        graph.initializer(
            "weight",
            &[classes, features],
            &vec![0.0; classes * features],
        );
        graph.initializer("bias", &[classes], &bias);
        graph.node("Flatten", "flat", &["input"], [attribute::int("axis", 1)]);
        let inputs = ["flat", "weight", "bias"];
        graph.node("Gemm", "logits", &inputs, [attribute::int("transB", 1)]);
        graph.output(
            "logits",
            DataType::Float,
            &[Dim::Dynamic("batch"), Dim::Fixed(classes)],
            "",
        );
        graph.finish()
    })
}

pub fn in_order() -> Box<GraphProtoBuilder> {
    linear(32, (0..CLASSES).map(|class| -(class as f32)).collect())
}

/// Number of correct images for each k.
pub fn correct(results: &Value, model: usize) -> Vec<(u64, u64)> {
    let topk = results["models"][model]["metrics"]["topk"]
        .as_array()
        .unwrap();
    let pair = |topk: &Value| Some((topk["k"].as_u64()?, topk["correct"].as_u64()?));
    topk.iter().map(|topk| pair(topk).unwrap()).collect()
}

/// Images of [`slow_case`].
pub const SLOW_IMAGES: usize = 401;

/// Number of features of a layer.
const WIDTH: usize = 1024;

/// Number of layers, which share their weights.
const DEPTH: usize = 100;

/// Deterministic noise from −1 to 1.
pub fn noise(count: usize, seed: u32) -> Vec<f32> {
    let mut state = seed;
    let values = (0..count).map(|_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 23) as f32 - 1.0
    });
    values.collect()
}

/// A slow network with a different prediction for each image.
pub fn slow() -> GraphProto {
    let mut graph = GraphBuilder::new("slow");
    let side = Dim::Fixed(32);
    let batch = Dim::Dynamic("batch");
    let input = [batch, Dim::Fixed(3), side, side];
    graph.input("input", DataType::Float, &input, "");
    let mut weights = |name: &str, [outputs, inputs]: [usize; 2]| {
        // This scale keeps the variance of activations constant.
        let scale = 1.7 / (inputs as f32).sqrt();
        let values = noise(outputs * inputs, inputs as u32);
        let values: Vec<f32> = values.iter().map(|value| scale * value).collect();
        graph.initializer(name, &[outputs, inputs], &values);
    };
    weights("first", [WIDTH, 3 * 32 * 32]);
    weights("weight", [WIDTH, WIDTH]);
    weights("last", [CLASSES, WIDTH]);
    graph.node("Flatten", "flat", &["input"], [attribute::int("axis", 1)]);
    let mut layer = |from: &str, weights: &str, to: &str| {
        graph.node("Gemm", to, &[from, weights], [attribute::int("transB", 1)]);
    };
    layer("flat", "first", "sum 0");
    for i in 0..DEPTH {
        layer(&format!("sum {i}"), "weight", &format!("sum {}", i + 1));
    }
    layer(&format!("sum {DEPTH}"), "last", "logits");
    let output = [batch, Dim::Fixed(CLASSES)];
    graph.output("logits", DataType::Float, &output, "");
    graph.finish()
}

/// Random images, and a slow network.
pub fn slow_case() -> Case {
    let case = Case::new();
    let pixels = noise(SLOW_IMAGES * (RECORD - 2), 1);
    let mut records = Vec::new();
    for (i, pixels) in pixels.chunks(RECORD - 2).enumerate() {
        records.extend([0, (i % CLASSES) as u8]);
        records.extend(pixels.iter().map(|pixel| (127.0 * pixel + 128.0) as u8));
    }
    fs::write(case.path("test.bin"), records).unwrap();
    case.write_model(&slow, Some(&card()));
    case
}
