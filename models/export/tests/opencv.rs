//! Exported models in OpenCV's DNN module, in both of its engines: `classic`, that of OpenCV 4, and `new`.

use std::fs;
use std::path::Path;
use std::process::Command;

use topk_eval::{Execution, InputTensor, Model};
use topk_export::{ExportOptions, export};
use topk_models::{
    CLASSES, Checkpoint, LOGITS, LOSS, OnnxOptions, Outputs, PROBABILITIES, architecture,
};
use topk_native::Runtime;
use topk_onnx::ImageInput;
use topk_ops::{Reduction, SmoothTopkSvm};
use topk_ops_onnx::{Form, OnnxLoss};
use topk_testing::{Environment, python, run};

#[path = "../../tests/card/mod.rs"]
mod card;
#[path = "../../tests/from_names/mod.rs"]
mod from_names;
use card::card;
use from_names::{values, weights};

/// The smallest network of each family, height and width of small images for it, and the factor of its
/// weights' bounds at which scores neither vanish nor overflow.
const NETWORKS: [(&str, [usize; 2], f64); 15] = [
    ("basic-6", [32, 32], 1.4),
    ("densenet-10-12", [32, 32], 1.4),
    ("resnet18-cifar", [32, 16], 1.0),
    ("alexnet", [99, 130], 1.5),
    ("vgg11", [32, 64], 1.5),
    ("squeezenet1_1", [97, 64], 1.5),
    ("inception_v3", [107, 139], 1.4),
    ("resnet18", [65, 96], 1.0),
    ("densenet121", [65, 96], 1.0),
    ("mobilenet_v2", [97, 64], 1.5),
    ("mobilenet_v3_small", [97, 64], 1.5),
    ("efficientnet_b0", [97, 64], 1.5),
    ("tf_efficientnet_lite0", [97, 64], 1.5),
    ("convnext_tiny", [97, 64], 1.0),
    ("vit_b_16", [64, 64], 1.0),
];

const NUMBER_OF_CLASSES: usize = 10;

/// Images in a batch; each network is also run on the first alone.
const BATCH: usize = 3;

/// Runs the model `argv[1]` in each engine on the first of the images in the file `argv[2]` and on all of
/// them. Their type and shape are `argv[3]` and `argv[4]`, the outputs' names the rest. Prints one line
/// per run: the engine, the number of images, and shapes and values of the outputs, or the error.
const RUN: &str = r#"
import json, sys, cv2, numpy
model, images, dtype, shape, *outputs = sys.argv[1:]
images = numpy.fromfile(images, dtype).reshape(json.loads(shape))
for engine in ["classic", "new"]:
    for count in [1, len(images)]:
        try:
            net = cv2.dnn.readNetFromONNX(model, getattr(cv2.dnn, f"ENGINE_{engine.upper()}"))
            net.setInput(images[:count], "input")
            if "loss" in outputs:
                net.setInput(numpy.arange(count), "labels")
            result = {"Ok": [[o.shape, o.ravel().tolist()] for o in net.forward(outputs)]}
        except cv2.error as error:
            result = {"Err": str(error)}
        print(json.dumps([engine, count, result]))
"#;

/// Engine, number of images, and shape and values of each output.
type Found = (String, usize, Result<Vec<(Vec<usize>, Vec<f32>)>, String>);

/// Images in the format of a model's input.
struct Images {
    shape: Vec<usize>,
    /// Name of the type in numpy.
    dtype: &'static str,
    bytes: Vec<u8>,
}

impl Images {
    fn floats(shape: &[usize], values: &[f32]) -> Self {
        Self {
            shape: shape.to_vec(),
            dtype: "float32",
            bytes: values
                .iter()
                .flat_map(|value| value.to_le_bytes())
                .collect(),
        }
    }
}

/// Runs the model in OpenCV; `None` if OpenCV is not installed.
fn run_in_opencv(model: &Path, images: &Images, outputs: &[&str]) -> Option<Vec<Found>> {
    let mut python = python(Environment::OpenCv)?;
    let path = model.with_extension("images");
    fs::write(&path, &images.bytes).unwrap();
    let printed = run(python
        .args(["-c", RUN])
        .args([model, &path])
        .arg(images.dtype)
        .arg(serde_json::to_string(&images.shape).unwrap())
        .args(outputs)
        .env("OPENCV_LOG_LEVEL", "SILENT"));
    let found: Vec<Found> = printed
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(found.len(), 4);
    Some(found)
}

/// Compares a run's outputs with those expected for the whole batch, whose first dimension is the batch. `bar`
/// is the tolerance relative to the largest value. Returns the largest error.
fn check_run(what: &str, (engine, count, outputs): &Found, expected: &[&[f32]], bar: f32) -> f32 {
    let what = format!("{what}, {count} in the {engine} engine");
    let outputs = outputs
        .as_ref()
        .unwrap_or_else(|error| panic!("{what}: {error}"));
    assert_eq!(outputs.len(), expected.len());
    let mut largest_error = 0f32;
    for ((shape, values), expected) in outputs.iter().zip(expected) {
        let width = expected.len() / BATCH;
        assert_eq!(*shape, [*count, width], "{what}");
        assert!(values.iter().all(|value| value.is_finite()));
        let largest = expected.iter().fold(0f32, |max, x| max.max(x.abs()));
        let errors = values.iter().zip(*expected).map(|(a, b)| (a - b).abs());
        let error = errors.fold(0f32, f32::max) / largest;
        assert!(error <= bar, "{what}: error {error:.1e}");
        largest_error = largest_error.max(error);
    }
    largest_error
}

fn checkpoint(name: &str, [height, width]: [usize; 2], gain: f64) -> Checkpoint {
    let architecture = architecture(name, [3, height, width], NUMBER_OF_CLASSES).unwrap();
    let shapes = architecture.parameter_shapes().into_iter().collect();
    Checkpoint::new(card(&architecture), weights(&shapes, gain)).unwrap()
}

fn export_with(checkpoint: &Checkpoint, options: &OnnxOptions, path: &Path) {
    let options = ExportOptions {
        model: options.clone(),
        ..ExportOptions::default()
    };
    export(checkpoint.clone(), &options, path).unwrap();
}

/// Scores of a model in ONNX Runtime.
fn scores(model: &Path, images: &[f32], size: [usize; 2]) -> Vec<f32> {
    let runtime = Runtime::load().unwrap();
    let mut model = Model::open(&runtime, model, Execution::default()).unwrap();
    let images = InputTensor::f32(images.to_vec(), size);
    model.scores(&images).unwrap()
}

#[test]
fn every_family_agrees_with_onnx_runtime() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.onnx");
    for (name, size, gain) in NETWORKS {
        let options = ExportOptions::default();
        export(checkpoint(name, size, gain), &options, &path).unwrap();
        let shape = [BATCH, 3, size[0], size[1]];
        let images = values("images", shape.iter().product(), -2.0, 2.0);
        let expected = scores(&path, &images, size);
        let images = Images::floats(&shape, &images);
        let Some(found) = run_in_opencv(&path, &images, &[LOGITS]) else {
            return;
        };
        let errors = found
            .iter()
            .map(|found| check_run(name, found, &[&expected], 1e-4));
        let error = errors.fold(0f32, f32::max);
        println!("{name}: error {error:.1e}");
    }
}

/// A checkpoint, test images as bytes, and the logits for them.
struct Bytes {
    checkpoint: Checkpoint,
    /// `[BATCH, 3, side, side]`.
    pixels: Vec<u8>,
    side: usize,
    logits: Vec<f32>,
}

impl Bytes {
    fn new(folder: &Path) -> Self {
        let (side, path) = (32, folder.join("plain.onnx"));
        let checkpoint = checkpoint("basic-6", [side; 2], 1.4);
        export(checkpoint.clone(), &ExportOptions::default(), &path).unwrap();
        let pixels = values("pixels", BATCH * 3 * side * side, 0.0, 256.0);
        let pixels: Vec<u8> = pixels.into_iter().map(|value| value as u8).collect();
        let mut bytes = Self {
            checkpoint,
            pixels,
            side,
            logits: Vec::new(),
        };
        let normalized: Vec<f32> = bytes.fractions().iter().map(|x| (x - 0.5) / 0.25).collect();
        bytes.logits = scores(&path, &normalized, [side; 2]);
        bytes
    }

    /// Pixels / 255.
    fn fractions(&self) -> Vec<f32> {
        self.pixels
            .iter()
            .map(|&pixel| f32::from(pixel) / 255.0)
            .collect()
    }

    /// The images in the format of a model's input.
    fn images(&self, input: Option<ImageInput>) -> Images {
        let (side, planes) = (self.side, [BATCH, 3, self.side, self.side]);
        let plane = side * side;
        match input {
            None => {
                let normalized: Vec<f32> =
                    self.fractions().iter().map(|x| (x - 0.5) / 0.25).collect();
                Images::floats(&planes, &normalized)
            }
            Some(ImageInput::Float) => Images::floats(&planes, &self.fractions()),
            Some(ImageInput::Bytes) => {
                let index = |i: usize| (i / (3 * plane) * 3 + i % 3) * plane + i / 3 % plane;
                Images {
                    shape: vec![BATCH, side, side, 3],
                    dtype: "uint8",
                    bytes: (0..self.pixels.len())
                        .map(|i| self.pixels[index(i)])
                        .collect(),
                }
            }
        }
    }

    /// Probabilities and indices of the k best classes of each image.
    fn ranked(&self, k: usize) -> [Vec<f32>; 2] {
        let (mut probabilities, mut classes) = (Vec::new(), Vec::new());
        for logits in self.logits.chunks(NUMBER_OF_CLASSES) {
            let sum: f32 = logits.iter().map(|logit| logit.exp()).sum();
            let mut order: Vec<usize> = (0..NUMBER_OF_CLASSES).collect();
            order.sort_by(|&a, &b| logits[b].total_cmp(&logits[a]));
            for &class in &order[..k] {
                probabilities.push(logits[class].exp() / sum);
                classes.push(class as f32);
            }
        }
        [probabilities, classes]
    }
}

#[test]
fn export_options_do_not_change_the_outputs() {
    let folder = tempfile::tempdir().unwrap();
    let bytes = Bytes::new(folder.path());
    let path = folder.path().join("model.onnx");
    let run_with = |options: &OnnxOptions, outputs: &[&str]| {
        export_with(&bytes.checkpoint, options, &path);
        run_in_opencv(&path, &bytes.images(options.image_input), outputs)
    };
    let plain = OnnxOptions::default;
    let keep = OnnxOptions {
        fold_batch_norm: false,
        ..plain()
    };
    let newest = OnnxOptions {
        opset: 21,
        ..plain()
    };
    for image_input in [None, Some(ImageInput::Float), Some(ImageInput::Bytes)] {
        for options in [plain(), keep.clone(), newest.clone()] {
            let options = OnnxOptions {
                image_input,
                ..options
            };
            let Some(found) = run_with(&options, &[LOGITS]) else {
                return;
            };
            for found in &found {
                check_run(&format!("{options:?}"), found, &[&bytes.logits], 1e-4);
            }
        }
    }

    let options = OnnxOptions {
        outputs: Outputs::TopK(3),
        image_input: Some(ImageInput::Bytes),
        ..plain()
    };
    let [probabilities, classes] = bytes.ranked(3);
    for found in &run_with(&options, &[PROBABILITIES, CLASSES]).unwrap() {
        check_run("top-k", found, &[&probabilities, &classes], 1e-4);
    }
}

/// If this fails, the table in `docs/opencv.md` is outdated.
#[test]
fn unsupported_options_fail() {
    let folder = tempfile::tempdir().unwrap();
    let bytes = Bytes::new(folder.path());
    let path = folder.path().join("model.onnx");
    let options = OnnxOptions {
        float16: true,
        ..OnnxOptions::default()
    };
    export_with(&bytes.checkpoint, &options, &path);
    let Some(found) = run_in_opencv(&path, &bytes.images(None), &[LOGITS]) else {
        return;
    };
    for found in &found {
        if found.0 == "classic" {
            let error = found.2.as_ref().unwrap_err();
            assert!(error.contains("CV_16F"), "{error}");
        } else {
            check_run("float16", found, &[&bytes.logits], 1e-2);
        }
    }

    let loss = OnnxLoss {
        loss: SmoothTopkSvm::new(3, 1.0, 1.0).unwrap().into(),
        reduction: Reduction::None,
        ignore_index: None,
    };
    for form in [Form::Function, Form::Inline] {
        let options = OnnxOptions {
            outputs: Outputs::Loss {
                loss,
                form,
                gradient: false,
            },
            ..OnnxOptions::default()
        };
        export_with(&bytes.checkpoint, &options, &path);
        let found = run_in_opencv(&path, &bytes.images(None), &[LOGITS, LOSS]).unwrap();
        for (engine, _, outputs) in found {
            assert!(outputs.is_err(), "{form:?} in the {engine} engine");
        }
    }
}

/// The example of a language in the page.
fn example(language: &str) -> &'static str {
    let page = include_str!("../../../docs/opencv.md");
    let (_, rest) = page.split_once(&format!("```{language}\n")).unwrap();
    rest.split_once("```").unwrap().0
}

#[test]
fn the_example_of_the_page() {
    let Some(mut python) = python(Environment::OpenCv) else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let bytes = Bytes::new(folder.path());
    let run_folder = folder.path().join("run");
    fs::create_dir(&run_folder).unwrap();
    let checkpoint = run_folder.join("bestk.safetensors");
    bytes.checkpoint.save(&checkpoint).unwrap();
    let mut words = example("sh").split_whitespace();
    assert_eq!(words.next(), Some("topk-export"));
    let export = env!("CARGO_BIN_EXE_topk-export");
    run(Command::new(export).args(words).current_dir(&folder));

    // OpenCV detects formats by content, and PPM needs no encoder.
    let images = bytes.images(Some(ImageInput::Bytes));
    let mut image = format!("P6 {0} {0} 255\n", bytes.side).into_bytes();
    image.extend(&images.bytes[..images.bytes.len() / BATCH]);
    fs::write(folder.path().join("image.png"), image).unwrap();
    let printed = run(python
        .args(["-c", example("python")])
        .current_dir(&folder)
        .env("OPENCV_LOG_LEVEL", "SILENT"));
    let k = bytes.checkpoint.card().training.as_ref().unwrap().k;
    let [probabilities, classes] = bytes.ranked(k);
    let lines: Vec<&str> = printed.lines().collect();
    assert_eq!(lines.len(), k);
    for ((line, probability), class) in lines.iter().zip(probabilities).zip(classes) {
        let (index, found) = line.split_once(' ').unwrap();
        assert_eq!(index.parse(), Ok(class), "{printed}");
        let found: f32 = found.parse().unwrap();
        assert!((found - probability).abs() <= 1e-4, "{printed}");
    }
}
