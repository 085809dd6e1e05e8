//! The networks compute what the original PyTorch networks compute, in libtorch and in ONNX Runtime.
//!
//! `models/tests/data/make_architectures.py` recorded what the originals compute, and defines how weights and
//! images are generated.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tch::{Device, Kind, Tensor, no_grad};
use topk_eval::{Execution, InputTensor, Model};
use topk_models::op::{BatchNorm, Node, Op};
use topk_models::{Architecture, Checkpoint, OnnxOptions, architecture, onnx_model};
use topk_models_tch::{BatchNormTensors, Mode, Network, SyncBatchNorm, scores};
use topk_native::Runtime;

#[path = "../../tests/card/mod.rs"]
mod card;
#[path = "../../tests/from_names/mod.rs"]
mod from_names;
#[path = "../../tests/originals/mod.rs"]
mod originals;
use card::card;
use from_names::{values, weights};
use originals::{Original, originals};

const CLASSES: usize = 10;
const BATCH: usize = 2;

fn build(original: &Original) -> Architecture {
    architecture(&original.name, original.size, CLASSES).unwrap()
}

fn checkpoint(original: &Original) -> Checkpoint {
    let weights = weights(&original.parameters, original.gain);
    Checkpoint::new(card(&build(original)), weights).unwrap()
}

/// Checks that the initial values have the distributions of the original's, as far as samples can show.
fn check_initial(original: &Original, network: &Network) {
    for (name, tensor) in network.variables().variables() {
        let [mean, std] = original.initial[&name];
        let found_mean = tensor.mean(Kind::Float).double_value(&[]);
        let found_std = tensor.std(false).double_value(&[]);
        // Six standard deviations of the difference of two means, and of two standard deviations.
        let bound = 6.0 * std / (tensor.numel() as f64).sqrt() + 1e-3 * std;
        let exact = 1e-6 * mean.abs();
        assert!(
            (found_std - std).abs() <= bound + exact
                && (found_mean - mean).abs() <= 1.5 * bound + exact,
            "{}: {name} initially {found_mean} ± {found_std}, the original {mean} ± {std}",
            original.name
        );
    }
}

/// Largest difference from the original's logits, relative to the largest of them.
fn difference(original: &Original, logits: &[f32]) -> f32 {
    let largest =
        |values: &mut dyn Iterator<Item = f32>| values.fold(0f32, |max, v| max.max(v.abs()));
    assert_eq!(logits.len(), original.logits.len());
    let differences = logits.iter().zip(&original.logits).map(|(a, b)| a - b);
    assert!(logits.iter().all(|logit| logit.is_finite()));
    largest(&mut { differences }) / largest(&mut original.logits.iter().copied())
}

/// Compares the networks whose names start with one of these.
fn compare(families: &[&str]) {
    // The tests run side by side.
    tch::set_num_threads(1);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.onnx");
    let runtime = Runtime::load().unwrap();
    let execution = Execution {
        threads: Some(1),
        ..Execution::default()
    };
    for original in originals() {
        if !families
            .iter()
            .any(|family| original.name.starts_with(family))
        {
            continue;
        }
        let checkpoint = checkpoint(&original);
        let count = BATCH * original.size.iter().product::<usize>();
        let images = values("images", count, -2.0, 2.0);
        let libtorch = {
            tch::manual_seed(1);
            let mut network = Network::new(build(&original), Device::Cpu);
            check_initial(&original, &network);
            network.load(checkpoint.weights()).unwrap();
            let [channels, height, width] = original.size.map(|dim| dim as i64);
            let shape = [BATCH as i64, channels, height, width];
            let images = Tensor::from_slice(&images).reshape(shape);
            let logits = no_grad(|| network.forward(&images, Mode::Eval));
            Vec::<f32>::try_from(logits.view(-1)).unwrap()
        };
        let onnx = onnx_model(checkpoint, &OnnxOptions::default()).unwrap();
        topk_onnx::save(&onnx, &path).unwrap();
        let mut model = Model::open(&runtime, &path, execution).unwrap();
        let onnx = model
            .scores(&InputTensor::f32(
                images,
                [original.size[1], original.size[2]],
            ))
            .unwrap();

        let [libtorch, onnx] = [libtorch, onnx].map(|logits| difference(&original, &logits));
        println!(
            "{}: {libtorch:.1e} in libtorch, {onnx:.1e} in ONNX Runtime",
            original.name
        );
        assert!(libtorch <= 1e-5, "{}: {libtorch}", original.name);
        assert!(onnx <= 1e-4, "{}: {onnx}", original.name);
    }
}

// One test at a time has a network of 500 MB in memory.
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

/// Batch normalisation by libtorch, counted.
#[derive(Debug)]
struct Counted(Arc<AtomicUsize>);

impl SyncBatchNorm for Counted {
    fn batch_norm(&self, x: &Tensor, tensors: BatchNormTensors<'_>, settings: BatchNorm) -> Tensor {
        self.0.fetch_add(1, Ordering::Relaxed);
        let BatchNormTensors {
            weight,
            bias,
            running_mean,
            running_var,
        } = tensors;
        let BatchNorm { momentum, eps } = settings;
        let [mean, var] = [running_mean, running_var].map(Some);
        x.batch_norm(
            Some(weight),
            Some(bias),
            mean,
            var,
            true,
            momentum,
            eps,
            true,
        )
    }
}

#[test]
fn training_normalises_with_what_it_is_told_to_use() {
    let architecture = architecture("resnet18", [3, 32, 32], CLASSES).unwrap();
    let is_norm = |node: &&Node| matches!(node.op, Op::BatchNorm2d { .. });
    let norms = architecture.nodes().iter().filter(is_norm).count();
    let images = Tensor::randn([4, 3, 32, 32], (Kind::Float, Device::Cpu));
    let mut networks = [0, 1].map(|_| Network::new(architecture.clone(), Device::Cpu));
    // Seeding both networks would not do: tests beside this one draw from the same generator.
    let weights = networks[0].weights();
    networks[1].load(&weights).unwrap();
    let calls = Arc::new(AtomicUsize::new(0));
    networks[1].synchronize_batch_norm(Box::new(Counted(Arc::clone(&calls))));
    let scores = networks
        .each_ref()
        .map(|network| network.forward(&images, Mode::Train));
    assert_eq!(scores[0], scores[1]);
    assert_eq!(networks[0].weights(), networks[1].weights());
    assert_eq!(calls.load(Ordering::Relaxed), norms);
    let _ = no_grad(|| networks[1].forward(&images, Mode::Eval));
    assert_eq!(calls.load(Ordering::Relaxed), norms);
}

#[test]
fn scores_of_a_checkpoint_are_those_of_its_network() {
    tch::manual_seed(7);
    for (name, side) in [("basic-4", 32), ("resnet18", 64), ("vit_b_16", 224)] {
        let network = Network::new(
            architecture(name, [3, side, side], CLASSES).unwrap(),
            Device::Cpu,
        );
        let checkpoint = network.checkpoint(card(network.architecture()));
        let side = side as i64;
        let images = Tensor::randn([2, 3, side, side], (Kind::Float, Device::Cpu));
        let expected = no_grad(|| network.forward(&images, Mode::Eval));
        assert_eq!(scores(&checkpoint, &images), expected, "{name}");
    }
}
