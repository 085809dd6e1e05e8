//! Synthetic results: random scores of imaginary models, evaluated by the crate.

use std::collections::BTreeMap;
use std::f64::consts::TAU;
use std::time::Duration;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use topk_labels::imagenet::synsets;
use topk_preprocessing::{ChannelOrder, Normalization, PixelRange};
use topk_results::{
    CropAveraging, DataInfo, Environment, Failure, FailurePolicy, Image, LossSettings,
    Measurements, ModelInfo, ModelMeasurements, Outcome, OutputKind, Results, Settings, Shard,
};

/// An imaginary model.
#[derive(Clone, Copy, Debug)]
pub struct Skill {
    /// Path of its file.
    pub path: &'static str,
    /// How much higher the score of the true class is.
    pub signal: f64,
    /// Factor of all scores: the larger, the more confident the model is.
    pub scale: f64,
}

/// Size of a run.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    /// Number of images.
    pub images: usize,
    /// Number of classes.
    pub classes: usize,
}

pub const SKILLS: [Skill; 3] = [
    Skill {
        path: "models/resnet18-ce/bestk.onnx",
        signal: 4.5,
        scale: 3.6,
    },
    Skill {
        path: "models/resnet18-svm/bestk.onnx",
        signal: 4.6,
        scale: 2.6,
    },
    Skill {
        path: "models/squeezenet1_1.onnx",
        signal: 3.8,
        scale: 3.1,
    },
];

fn settings() -> Settings {
    Settings {
        topk: vec![1, 5],
        failures: FailurePolicy::CountWrong,
        loss: Some(LossSettings {
            k: 5,
            tau: 0.1,
            alpha: 1.0,
        }),
        valid_classes: None,
    }
}

const FIRST: [&str; 40] = [
    "amber",
    "arctic",
    "banded",
    "barred",
    "black",
    "blue",
    "brindled",
    "brown",
    "common",
    "copper",
    "crested",
    "dappled",
    "desert",
    "dwarf",
    "eastern",
    "emerald",
    "giant",
    "golden",
    "grey",
    "hooded",
    "horned",
    "island",
    "ivory",
    "lesser",
    "long-tailed",
    "marsh",
    "mottled",
    "mountain",
    "northern",
    "painted",
    "pygmy",
    "red",
    "ringed",
    "river",
    "rock",
    "scarlet",
    "silver",
    "spotted",
    "striped",
    "white",
];

const SECOND: [&str; 25] = [
    "antelope",
    "beetle",
    "bunting",
    "butterfly",
    "crab",
    "finch",
    "fox",
    "frog",
    "gecko",
    "heron",
    "lizard",
    "lynx",
    "moth",
    "newt",
    "otter",
    "owl",
    "perch",
    "plover",
    "retriever",
    "salamander",
    "spaniel",
    "terrier",
    "trout",
    "viper",
    "warbler",
];

/// Names of up to 1,000 classes, as varied as those of ImageNet.
pub fn class_names(classes: usize) -> Vec<String> {
    let name = |class: usize| {
        let [first, second] = [FIRST[class / 25], SECOND[class % 25]];
        format!("{first} {second}, {second} no. {class}")
    };
    (0..classes).map(name).collect()
}

struct Normal(ChaCha8Rng);

impl Normal {
    fn next(&mut self) -> f64 {
        // In (0, 1], for the logarithm.
        let mut uniform = || ((self.0.next_u64() >> 11) + 1) as f64 * f64::exp2(-53.0);
        (-2.0 * uniform().ln()).sqrt() * (TAU * uniform()).cos()
    }
}

/// The class of an image, in mixed order as in ImageNet's validation set.
fn label(index: usize, classes: usize) -> u32 {
    (index * 7919 % classes) as u32
}

/// A run over the images of a shard, or all.
pub fn run(size: Size, skills: &[Skill], shard: Option<Shard>) -> Results {
    let indices = shard.map_or(0..size.images, |shard| shard.indices(size.images));
    run_indices(size, skills, shard, &indices.collect::<Vec<_>>())
}

/// A run over some images. Every 9,973rd cannot be read, nor the 262nd.
pub fn run_indices(
    size: Size,
    skills: &[Skill],
    shard: Option<Shard>,
    indices: &[usize],
) -> Results {
    let images: Vec<Image> = indices
        .iter()
        .map(|&index| Image {
            index,
            name: format!("ILSVRC2012_val_{:08}.JPEG", index + 1),
            labels: vec![label(index, size.classes)],
            groups: None,
        })
        .collect();
    let fails = |index: usize| index % 9973 == 11 || index == 261;
    let failures = images.iter().filter(|image| fails(image.index));
    let failures = failures
        .map(|image| Failure {
            index: image.index,
            name: image.name.clone(),
            message: "the JPEG data ends in the middle of the image".to_owned(),
        })
        .collect();
    let models = skills.iter().enumerate().map(|(number, skill)| {
        let outcomes = images
            .iter()
            .map(|image| (!fails(image.index)).then(|| outcome(size, skill, number, image)))
            .collect();
        let per_image = |seconds: f64| Duration::from_secs_f64(seconds * images.len() as f64);
        ModelMeasurements {
            model: model_info(skill, number),
            threads: 16,
            sessions: 1,
            elapsed: per_image(0.0031) / (1 + number as u32),
            decode: per_image(0.0018),
            inference: per_image(0.0024) / (1 + number as u32),
            outcomes,
        }
    });
    let models = models.collect();
    let measurements = Measurements {
        topk_eval: "0.1.0".to_owned(),
        started: "2026-11-24T09:30:00Z".to_owned(),
        subset: None,
        shard,
        data: DataInfo {
            path: "/data/imagenet/val".to_owned(),
            format: "imagenet".to_owned(),
            labels: Some("/data/imagenet/val.txt".to_owned()),
            preset: None,
            real_labels: None,
            valid_labels: None,
            groups: None,
            group_names: Vec::new(),
            images: size.images,
            classes: size.classes,
            sha256: "5f1d0c6f2b6a43a6d1c7c2a2ba5b4c38f5b8e3f5a6d7f0e9c8b7a6958473625f".to_owned(),
            labels_sha256: None,
            decisions: Vec::new(),
        },
        settings: settings(),
        environment: Environment {
            onnxruntime: "1.31.1".to_owned(),
            cpu: "Imaginary Processor 9000".to_owned(),
            cores: 16,
            os: "linux x86_64".to_owned(),
            gpu: None,
            no_gpu: None,
        },
        class_names: class_names(size.classes),
        wnids: Some(
            synsets()[..size.classes]
                .iter()
                .map(|synset| synset.wnid.to_owned())
                .collect(),
        ),
        images,
        failures,
        models,
    };
    measurements.finish().unwrap()
}

fn outcome(size: Size, skill: &Skill, number: usize, image: &Image) -> Outcome {
    let label = image.labels[0] as usize;
    // Difficult images and classes are difficult for all models.
    let mut shared = Normal(ChaCha8Rng::seed_from_u64(image.index as u64));
    let mut class = Normal(ChaCha8Rng::seed_from_u64(1 << 40 | label as u64));
    let mut own = Normal(ChaCha8Rng::seed_from_u64(
        (2 + number as u64) << 41 | image.index as u64,
    ));
    let ease = skill.signal + 1.3 * shared.next() + 0.6 * class.next();
    let mut scores: Vec<f32> = (0..size.classes)
        .map(|_| (skill.scale * (0.7 * shared.next() + 0.7 * own.next())) as f32)
        .collect();
    scores[label] += (skill.scale * ease) as f32;
    // Each class has one that it is easily confused with.
    let twin = (label + 25) % size.classes;
    scores[twin] += (skill.scale * (2.2 + 0.9 * class.next())) as f32;
    let scorer = settings().scorer(size.classes).unwrap();
    let outcome = scorer.score(&image.name, &scores, CropAveraging::None, &image.labels);
    outcome.unwrap().unwrap()
}

fn model_info(skill: &Skill, number: usize) -> ModelInfo {
    ModelInfo {
        path: skill.path.to_owned(),
        sha256: format!("{number:064x}"),
        architecture: Some("resnet18".to_owned()),
        provider: "cuda".to_owned(),
        plugin: None,
        nodes: BTreeMap::from([
            ("CPUExecutionProvider".to_owned(), 2),
            ("CUDAExecutionProvider".to_owned(), 47),
        ]),
        device: "Imaginary Accelerator (cuda:0)".to_owned(),
        tf32: false,
        fp16: false,
        provider_options: BTreeMap::new(),
        batch_size: 256,
        precision: "float32".to_owned(),
        quantization: None,
        bytes: Some(46_800_000),
        input: "float32".to_owned(),
        preprocessing: "shorter side to 256, bilinear, antialiased; centre crop of 224".to_owned(),
        preprocessing_settings: serde_json::json!({
            "resize": 256, "interpolation": "bilinear", "crop": [224, 224],
        }),
        normalization: Some(Normalization {
            mean: [0.485, 0.456, 0.406],
            std: [0.229, 0.224, 0.225],
        }),
        pixel_range: PixelRange::One,
        channel_order: ChannelOrder::Rgb,
        preset: None,
        crops: CropAveraging::None,
        external_data: Vec::new(),
        run_size: None,
        output: "logits".to_owned(),
        output_kind: OutputKind::Logits,
        label_offset: 0,
        notes: Vec::new(),
    }
}
