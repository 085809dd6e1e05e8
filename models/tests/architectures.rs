//! The networks compute what the originals of PyTorch compute, in libtorch and in ONNX Runtime.
//!
//! `data/make_architectures.py` wrote what the originals compute, and says how weights and images are made.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value;
use tch::{Device, Kind, Tensor, no_grad};
use topk_eval::{Execution, InputTensor, Model};
use topk_models::{
    Architecture, ArchitectureError, Checkpoint, ExportOptions, Mode, Network, architecture,
    architectures, export,
};
use topk_native::Runtime;

mod card;
mod from_names;
use card::card;
use from_names::{values, weights};

const CLASSES: usize = 10;
const BATCH: usize = 2;

/// A line of the file: an original network and what it computes.
struct Original {
    name: String,
    size: [usize; 3],
    /// Factor of the weights' bounds.
    gain: f64,
    logits: Vec<f32>,
    parameters: BTreeMap<String, Vec<usize>>,
    /// Mean and standard deviation of each parameter before training.
    initial: BTreeMap<String, [f64; 2]>,
    /// Number of parameters, if it is known for this network, and billions of multiply-adds, as torchvision
    /// states them for its own image size and number of classes.
    published: Option<(Option<usize>, f64)>,
}

fn originals() -> Vec<Original> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/architectures.jsonl");
    let text = std::fs::read_to_string(path).unwrap();
    let usizes = |value: &Value| -> Vec<usize> { serde_json::from_value(value.clone()).unwrap() };
    text.lines()
        .map(|line| {
            let line: Value = serde_json::from_str(line).unwrap();
            let parameters = line["parameters"].as_array().unwrap().iter();
            let named = parameters.map(|entry| (entry[0].as_str().unwrap().to_owned(), entry));
            Original {
                name: line["name"].as_str().unwrap().to_owned(),
                size: [3, usizes(&line["size"])[0], usizes(&line["size"])[1]],
                gain: line["gain"].as_f64().unwrap(),
                logits: serde_json::from_value(line["logits"].clone()).unwrap(),
                parameters: named
                    .clone()
                    .map(|(name, entry)| (name, usizes(&entry[1])))
                    .collect(),
                initial: named
                    .map(|(name, entry)| (name, [2, 3].map(|i| entry[i].as_f64().unwrap())))
                    .collect(),
                published: line.get("published").map(|published| {
                    let parameters = published["parameters"].as_u64();
                    let giga = published["giga"].as_f64().unwrap();
                    (parameters.map(|count| count as usize), giga)
                }),
            }
        })
        .collect()
}

impl Original {
    fn architecture(&self) -> Architecture {
        architecture(&self.name, self.size, CLASSES).unwrap()
    }

    fn checkpoint(&self) -> Checkpoint {
        let weights = weights(&self.parameters, self.gain);
        Checkpoint::new(card(&self.architecture()), weights).unwrap()
    }

    fn images(&self) -> Vec<f32> {
        values(
            "images",
            BATCH * self.size.iter().product::<usize>(),
            -2.0,
            2.0,
        )
    }

    /// Checks that a network begins as the original does, as far as samples of random numbers can show.
    fn check_initial(&self, network: &Network) {
        for (name, tensor) in network.variables().variables() {
            let [mean, std] = self.initial[&name];
            let found_mean = tensor.mean(Kind::Float).double_value(&[]);
            let found_std = tensor.std(false).double_value(&[]);
            // Six deviations of the difference of two means, and of two deviations of normal numbers.
            let bound = 6.0 * std / (tensor.numel() as f64).sqrt() + 1e-3 * std;
            let exact = 1e-6 * mean.abs();
            assert!(
                (found_std - std).abs() <= bound + exact
                    && (found_mean - mean).abs() <= 1.5 * bound + exact,
                "{}: {name} begins with {found_mean} ± {found_std}, the original's with {mean} ± {std}",
                self.name
            );
        }
    }

    /// Largest difference from the original's logits, as a share of the largest of them.
    fn difference(&self, logits: &[f32]) -> f32 {
        let largest =
            |values: &mut dyn Iterator<Item = f32>| values.fold(0f32, |max, v| max.max(v.abs()));
        assert_eq!(logits.len(), self.logits.len());
        let differences = logits.iter().zip(&self.logits).map(|(a, b)| a - b);
        assert!(logits.iter().all(|logit| logit.is_finite()));
        largest(&mut { differences }) / largest(&mut self.logits.iter().copied())
    }
}

/// Compares the networks whose names begin with one of these.
fn compare(families: &[&str]) {
    // The tests run side by side.
    tch::set_num_threads(1);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.onnx");
    let runtime = Runtime::load().unwrap();
    // What it compares is compared here.
    let execution = Execution {
        threads: Some(1),
        ..Execution::default()
    };
    let options = ExportOptions {
        verify: false,
        ..ExportOptions::default()
    };
    for original in originals() {
        if !families
            .iter()
            .any(|family| original.name.starts_with(family))
        {
            continue;
        }
        let checkpoint = original.checkpoint();
        let images = original.images();
        let libtorch = {
            tch::manual_seed(1);
            let mut network = Network::new(original.architecture(), Device::Cpu);
            original.check_initial(&network);
            network.load(checkpoint.weights()).unwrap();
            let [channels, height, width] = original.size.map(|dim| dim as i64);
            let shape = [BATCH as i64, channels, height, width];
            let images = Tensor::from_slice(&images).reshape(shape);
            let logits = no_grad(|| network.forward(&images, Mode::Eval));
            Vec::<f32>::try_from(logits.view(-1)).unwrap()
        };
        export(checkpoint, &options, &path).unwrap();
        let mut model = Model::open(&runtime, &path, execution).unwrap();
        let onnx = model
            .scores(&InputTensor::f32(
                images,
                [original.size[1], original.size[2]],
            ))
            .unwrap();

        let [libtorch, onnx] = [libtorch, onnx].map(|logits| original.difference(&logits));
        println!(
            "{}: {libtorch:.1e} in libtorch, {onnx:.1e} in ONNX Runtime",
            original.name
        );
        assert!(libtorch <= 1e-5, "{}: {libtorch}", original.name);
        assert!(onnx <= 1e-4, "{}: {onnx}", original.name);
    }
}

// One test at a time holds a network of 500 MB.
#[test]
fn alexnet_and_vgg_compute_what_the_originals_compute() {
    compare(&["alexnet", "vgg"]);
}

#[test]
fn resnets_compute_what_the_originals_compute() {
    compare(&["resnet", "resnext", "wide_resnet"]);
}

#[test]
fn other_convolutional_networks_compute_what_the_originals_compute() {
    compare(&["basic", "densenet", "squeezenet", "inception"]);
    compare(&["mobilenet", "efficientnet", "tf_efficientnet"]);
}

#[test]
fn convnext_and_vit_compute_what_the_originals_compute() {
    compare(&["convnext", "vit"]);
}

#[test]
fn parameters_have_the_originals_names_and_shapes() {
    let originals = originals();
    for original in &originals {
        let found: BTreeMap<_, _> = original
            .architecture()
            .parameter_shapes()
            .into_iter()
            .collect();
        assert_eq!(found, original.parameters, "{}", original.name);
    }
    for made in architectures() {
        let family = made.name().split('-').next().unwrap();
        assert!(
            originals.iter().any(|original| original.name == made.name()
                || family == "basic" && original.name.starts_with(family)),
            "nothing is known of {}",
            made.name()
        );
    }
}

#[test]
fn as_large_as_torchvision_says() {
    let made: BTreeMap<_, _> = architectures()
        .into_iter()
        .map(|made| (made.name().to_owned(), made))
        .collect();
    for original in originals() {
        if let Some((parameters, giga)) = original.published {
            let made = &made[&original.name];
            if let Some(parameters) = parameters {
                assert_eq!(made.trainable_len(), parameters, "{}", original.name);
            }
            let found = made.multiply_adds() as f64 / 1e9;
            assert!(
                (found - giga).abs() < 0.001,
                "{}: {found} {giga}",
                original.name
            );
        }
    }
    // Those of AuxLogits are not here; torchvision states 27,161,264.
    assert_eq!(made["inception_v3"].trainable_len(), 23_834_568);
    // As timm 1.0 builds it.
    assert_eq!(made["tf_efficientnet_lite0"].trainable_len(), 4_652_008);
}

#[test]
fn a_training_step_reaches_every_parameter() {
    for (name, side, random) in [
        ("basic-6", 32, false),
        ("densenet-10-12", 32, false),
        ("resnet18-cifar", 32, false),
        ("alexnet", 64, true),
        ("vgg11_bn", 32, true),
        ("squeezenet1_1", 64, true),
        ("inception_v3", 107, true),
        ("resnet50", 64, false),
        ("densenet121", 64, false),
        ("mobilenet_v2", 64, true),
        ("mobilenet_v3_small", 64, true),
        ("efficientnet_b0", 64, true),
        ("tf_efficientnet_lite0", 64, true),
        ("convnext_tiny", 64, true),
        ("vit_b_16", 32, false),
    ] {
        tch::manual_seed(1);
        let architecture = architecture(name, [3, side as usize, side as usize], CLASSES).unwrap();
        let shapes = architecture.parameter_shapes().into_iter().collect();
        let mut network = Network::new(architecture, Device::Cpu);
        network.load(&weights(&shapes, 1.5).tensors).unwrap();
        let images = Tensor::randn([4, 3, side, side], (Kind::Float, Device::Cpu));
        let same = |mode| {
            let run = || no_grad(|| network.forward(&images, mode));
            run() == run()
        };
        assert!(same(Mode::Eval), "{name}");
        assert_eq!(same(Mode::Train), !random, "{name}");

        let scores = network.forward(&images, Mode::Train);
        let labels = Tensor::from_slice(&[0i64, 1, 2, 3]);
        scores.cross_entropy_for_logits(&labels).backward();
        for (parameter, tensor) in network.variables().variables() {
            if tensor.requires_grad() {
                let grad = tensor.grad();
                assert!(grad.defined(), "{name}: {parameter} has no gradient");
                let size = f64::try_from(grad.abs().max()).unwrap();
                assert!(size.is_finite(), "{name}: {parameter}");
            }
        }
    }
}

#[test]
fn images_that_no_network_takes_are_named() {
    let message = |name, size| architecture(name, size, CLASSES).unwrap_err().to_string();
    assert_eq!(
        message("inception_v3", [3, 32, 32]),
        "images of 3×32×32 are too small for inception_v3: nothing is left of them at Mixed_6a.branch3x3.conv"
    );
    assert_eq!(
        message("vit_b_16", [3, 224, 230]),
        "vit_b_16 takes images whose sides are multiples of 16, not 3×224×230"
    );
    assert!(message("resnet18", [3, 0, 32]).contains("too small for resnet18"));
    assert!(matches!(
        architecture("vgg11", [3, 16, 64], CLASSES),
        Err(ArchitectureError::TooSmall { .. })
    ));
}

#[test]
fn parameters_that_may_be_left_out_are_known() {
    let net = architecture("inception_v3", [3, 299, 299], 1000).unwrap();
    assert!(net.is_ignorable("Mixed_5b.branch1x1.bn.num_batches_tracked"));
    assert!(net.is_ignorable("AuxLogits.fc.weight"));
    assert!(!net.is_ignorable("fc.weight"));
    assert!(!net.is_ignorable("fc.num_batches_tracked"));
    let net = architecture("resnet18", [3, 224, 224], 1000).unwrap();
    assert!(net.is_ignorable("bn1.num_batches_tracked"));
    assert!(!net.is_ignorable("AuxLogits.fc.weight"));
}

#[test]
fn stages_are_as_fine_as_is_asked_for() {
    let resnet = architecture("resnet18", [3, 224, 224], 1000).unwrap();
    let names = |most: usize| -> Vec<String> {
        let stages = resnet.stages(most).into_iter();
        stages.map(|stage| stage.name).collect()
    };
    let coarse = [
        "conv1", "bn1", "relu", "maxpool", "layer1", "layer2", "layer3", "layer4", "avgpool",
        "flatten", "fc",
    ];
    assert_eq!(names(0), coarse);
    assert_eq!(names(14), coarse);
    assert_eq!(names(15).len(), 15);
    assert_eq!(names(15)[4..6], ["layer1.0", "layer1.1"]);
    for most in [0, 15, 1000] {
        let stages = resnet.stages(most);
        let parameters: usize = stages.iter().map(|stage| stage.trainable_len).sum();
        let multiply_adds: usize = stages.iter().map(|stage| stage.multiply_adds).sum();
        assert_eq!(parameters, resnet.trainable_len());
        assert_eq!(multiply_adds, resnet.multiply_adds());
    }
    let layer2 = &resnet.stages(0)[5];
    // torchvision's children().
    assert_eq!(
        (&layer2.shape[..], layer2.trainable_len),
        (&[128, 28, 28][..], 525_568)
    );
}
