//! Presets and configuration files give the inputs that timm, transformers, torchvision and Keras make of images.
//!
//! `data/make_presets.py` makes the expected values.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde::Deserialize;
use serde_json::Value;
use topk_eval::{
    Batches, DataOptions, EvalOptions, Execution, ImageSet, Model, NamedPreset, Runtime,
};
use topk_files::Hasher;
use topk_onnx::proto::DataType;
use topk_onnx::{Dim, GraphBuilder, attribute, model};
use topk_preprocessing::{Crop, Geometry, Preset, Resize};
use topk_testing::root;

#[derive(Deserialize)]
struct Expected {
    weights: BTreeMap<String, Weights>,
    cases: Vec<Case>,
}

/// `transforms` of torchvision's weights.
#[derive(Deserialize)]
struct Weights {
    resize: u32,
    crop: u32,
    interpolation: String,
    mean: [f32; 3],
    std: [f32; 3],
}

#[derive(Deserialize)]
struct Case {
    name: String,
    /// Name of the preset, or none with a configuration.
    preset: Option<String>,
    #[serde(default)]
    config: Value,
    images: BTreeMap<String, Input>,
}

/// What the input for an image must be.
#[derive(Deserialize)]
struct Input {
    shape: [usize; 3],
    /// SHA-256 of the rank of each value among the distinct values of its channel.
    ranks: String,
    /// The values at the indices i × 245,489 modulo their number.
    values: Vec<f64>,
}

fn expected() -> Expected {
    let path = root().join("eval/tests/presets/data/presets.json");
    serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

/// A model for images of any size.
fn write_model(path: &Path) {
    let mut graph = GraphBuilder::new("mean");
    let sides = [Dim::Dynamic("height"), Dim::Dynamic("width")];
    let shape = [Dim::Dynamic("batch"), Dim::Fixed(3), sides[0], sides[1]];
    graph.input("input", DataType::Float, &shape, "");
    graph.node("GlobalAveragePool", "mean", &["input"], []);
    graph.node("Flatten", "logits", &["mean"], [attribute::int("axis", 1)]);
    let shape = [Dim::Dynamic("batch"), Dim::Fixed(3)];
    graph.output("logits", DataType::Float, &shape, "");
    let file = model(graph.finish(), "", Vec::new());
    fs::write(path, prost::Message::encode_to_vec(&file)).unwrap();
}

/// Checks the input for an image, and returns the largest error of a value, as a part of the range of the values.
fn check(name: &str, file: &str, values: &[f32], shape: &[usize], expected: &Input) -> f64 {
    assert_eq!(shape, expected.shape, "{name}, {file}");
    let mut hash = Hasher::default();
    for channel in values.chunks_exact(values.len() / 3) {
        let mut distinct = channel.to_vec();
        distinct.sort_by(f32::total_cmp);
        distinct.dedup();
        for value in channel {
            let rank = distinct.binary_search_by(|other| other.total_cmp(value));
            hash.update((rank.unwrap() as u16).to_le_bytes());
        }
    }
    assert_eq!(hash.finish(), expected.ranks, "pixels of {name}, {file}");
    let [low, high] = [f64::min as fn(f64, f64) -> f64, f64::max].map(|choose| {
        let values = values.iter().map(|&value| f64::from(value));
        values.reduce(choose).unwrap()
    });
    let errors = expected.values.iter().enumerate().map(|(at, expected)| {
        let found = f64::from(values[at * 245_489 % values.len()]);
        (found - expected).abs() / (high - low)
    });
    errors.fold(0.0, f64::max)
}

#[test]
fn inputs_are_those_of_the_libraries() {
    let images = root().join("data/image/tests/data/images");
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    // One image per class: the order of the data is that of the names.
    let Expected { cases, .. } = expected();
    for file in cases[0].images.keys() {
        let class = data.join(file.replace('.', "_"));
        fs::create_dir_all(&class).unwrap();
        fs::copy(images.join(file), class.join(file)).unwrap();
    }
    let set = ImageSet::open(&data, &DataOptions::default()).unwrap();
    let path = folder.path().join("model.onnx");
    write_model(&path);
    let runtime = Runtime::load().unwrap();
    let mut largest: f64 = 0.0;
    for case in &cases {
        let mut model = Model::open(&runtime, &path, Execution::default()).unwrap();
        let preset = match &case.preset {
            Some(name) => NamedPreset::find(name).unwrap(),
            None => {
                let config = folder.path().join("config.json");
                fs::write(&config, case.config.to_string()).unwrap();
                NamedPreset::read(&config).unwrap()
            }
        };
        let mut options = EvalOptions::new(&set).unwrap();
        options.overrides.preset = Some(preset);
        options.batch_size = 1;
        let batches = Batches::<f32>::new(&set, &mut model, &options).unwrap();
        for (batch, (file, expected)) in batches.zip(&case.images) {
            let batch = batch.unwrap();
            assert!(batch.names[0].ends_with(file), "{:?}", batch.names);
            let shape = &batch.images.shape()[1..];
            let values = batch.images.as_slice().unwrap();
            let error = check(&case.name, file, values, shape, expected);
            assert!(error < 1e-6, "{}, {file}: error {error}", case.name);
            largest = largest.max(error);
        }
    }
    println!(
        "{} inputs; largest error {largest:.1e} of the range of values",
        3 * cases.len()
    );
}

#[test]
fn weights_have_the_transforms_of_torchvision() {
    let Expected { weights, .. } = expected();
    assert!(weights.len() > 100);
    for (name, weights) in weights {
        let preset = Preset::named(&name).unwrap();
        let Geometry::Fixed { resize, crop } = preset.geometry else {
            panic!("{name}");
        };
        assert_eq!(resize, Resize::ShorterSide(weights.resize), "{name}");
        assert!(
            matches!(crop, Crop::Center { size, .. } if size == [weights.crop; 2]),
            "{name}"
        );
        assert_eq!(preset.interpolation.name(), weights.interpolation, "{name}");
        assert_eq!(preset.normalization.mean, weights.mean, "{name}");
        assert_eq!(preset.normalization.std, weights.std, "{name}");
    }
}
