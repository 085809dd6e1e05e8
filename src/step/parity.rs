//! Twenty optimizer steps, compared with PyTorch's from the same weights and with the same batches.
//!
//! `tests/data/make_parity.py` recorded the results of PyTorch in `f64`. It also defines weights, batches and options.

use std::collections::BTreeMap;
use std::ffi::OsString;

use serde::Deserialize;
use topk_image::augment::Mix;
use topk_models::architecture;

use super::*;
use crate::args::Args;
use crate::images::Pixels;
use crate::train::criterion;

#[path = "../../models/tests/from_names/mod.rs"]
mod from_names;
use from_names::{values, weights};

const CLASSES: usize = 10;
const SHAPE: [usize; 3] = [3, 32, 32];
const STEPS: usize = 20;
/// Largest number of elements recorded per tensor.
const SAMPLE: usize = 12;
/// Largest difference, relative to values above 1.
const TOLERANCE: f64 = 1e-5;

/// One line of the file: a network after the steps with some options.
#[derive(Deserialize)]
struct Recorded {
    network: String,
    /// Images per step.
    images: usize,
    title: String,
    options: Options,
    tensors: Summaries,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Options {
    loss: String,
    momentum: f64,
    nesterov: bool,
    weight_decay: f64,
    clip_grad: Option<f64>,
    grad_accum_steps: usize,
    model_ema_decay: Option<f64>,
    model_ema_warmup: bool,
    label_smoothing: f64,
    mixup: bool,
    #[serde(default)]
    opt: Option<String>,
    #[serde(default)]
    opt_betas: Option<[f64; 2]>,
    #[serde(default)]
    opt_eps: Option<f64>,
    #[serde(default)]
    filter_bias_and_bn: bool,
    #[serde(default)]
    clip_mode: Option<String>,
    #[serde(default)]
    layer_decay: Option<f64>,
    /// As a factor of the learning rate of the other layers.
    #[serde(default)]
    head_lr: Option<f64>,
    #[serde(default)]
    freeze: bool,
    /// The first step, from 0, with all layers.
    #[serde(default)]
    unfreeze_step: Option<usize>,
}

/// The frozen layers of a network.
fn freeze(network: &str) -> &'static str {
    match network {
        "basic-4" => "base.0,base.1,base.3",
        _ => "conv1,bn1,layer1",
    }
}

/// Mean, norm and some elements of each tensor, those of the EMA after `ema.`.
type Summaries = BTreeMap<String, Vec<f64>>;

fn recorded(network: &str) -> Vec<Recorded> {
    let lines = include_str!("../../tests/data/parity.jsonl").lines();
    let all = lines.map(|line| serde_json::from_str(line).unwrap());
    all.filter(|line: &Recorded| line.network == network)
        .collect()
}

/// The network with its weights before the first step.
fn network(name: &str) -> Network {
    let architecture = architecture(name, SHAPE, CLASSES).unwrap();
    let shapes = architecture.parameter_shapes().into_iter().collect();
    let mut network = Network::new(architecture, Device::Cpu);
    network.load(&weights(&shapes, 1.0).tensors).unwrap();
    for (name, tensor) in network.tensors() {
        let mut tensor = tensor.detach();
        let is_bias_of_norm = name.strip_suffix("bias").is_some_and(|module| {
            network
                .tensors()
                .contains_key(&format!("{module}running_mean"))
        });
        if is_bias_of_norm {
            tensor += 4.0;
        } else if tensor.dim() == 2 {
            tensor *= 0.25;
        }
    }
    network
}

fn config(recorded: &Recorded) -> Config {
    let options = &recorded.options;
    let mut flags = vec![
        "--data=D".to_owned(),
        "--topk=5".to_owned(),
        format!("--model={}", recorded.network),
        format!("--loss={}", options.loss),
        format!("--momentum={}", options.momentum),
        format!("--nesterov={}", options.nesterov),
        format!("--weight-decay={}", options.weight_decay),
        format!("--grad-accum-steps={}", options.grad_accum_steps),
        format!("--label-smoothing={}", options.label_smoothing),
    ];
    flags.extend(options.clip_grad.map(|norm| format!("--clip-grad={norm}")));
    let opt = &options.opt;
    flags.extend(opt.as_ref().map(|opt| format!("--opt={opt}")));
    let betas = options.opt_betas;
    flags.extend(betas.map(|[first, second]| format!("--opt-betas={first},{second}")));
    flags.extend(options.opt_eps.map(|eps| format!("--opt-eps={eps}")));
    flags.push(format!(
        "--filter-bias-and-bn={}",
        options.filter_bias_and_bn
    ));
    let mode = &options.clip_mode;
    flags.extend(mode.as_ref().map(|mode| format!("--clip-mode={mode}")));
    let decay = options.layer_decay;
    flags.extend(decay.map(|decay| format!("--layer-decay={decay}")));
    if let Some(factor) = options.head_lr {
        flags.extend(["--lr=1".to_owned(), format!("--head-lr={factor}")]);
    }
    if options.freeze {
        flags.push(format!("--freeze={}", freeze(&recorded.network)));
    }
    if options.unfreeze_step.is_some() {
        flags.push("--unfreeze-epoch=2".to_owned());
    }
    if let Some(decay) = options.model_ema_decay {
        flags.push(format!("--model-ema-decay={decay}"));
        flags.push(format!("--model-ema-warmup={}", options.model_ema_warmup));
    }
    Args::config_of(flags.into_iter().map(OsString::from)).unwrap()
}

/// The batch of one forward pass.
fn batch(recorded: &Recorded, step: usize, part: usize) -> Batch {
    let count = recorded.images / recorded.options.grad_accum_steps;
    let len: usize = SHAPE.iter().product();
    let images = values(&format!("images {step} {part}"), count * len, -2.0, 2.0);
    let label = |i: usize| ((7 * i + 3 * step + 5 * part) % CLASSES) as i64;
    let mut batch = Batch {
        labels: (0..count).map(label).collect(),
        ..Batch::default()
    };
    batch.images = Pixels::Normalized(if recorded.options.mixup {
        let lambda = (5 + step % 11) as f64 / 20.0;
        let mix = Mix::mixup((0..count).rev().collect(), lambda);
        let mut mixed = vec![0.0; images.len()];
        for (i, out) in mixed.chunks_mut(len).enumerate() {
            mix.write(i, &images, [SHAPE[2], SHAPE[1]], out);
        }
        let partners = mix.partners().iter().map(|&i| batch.labels[i]);
        batch.mixed = Some((partners.collect(), mix.lambda()));
        mixed
    } else {
        images
    });
    batch
}

/// Trains as a run does, except that the learning rate follows no schedule of topk-train.
fn train(recorded: &Recorded) -> Summaries {
    let config = config(recorded);
    let mut learner = Learner::new(&config, network(&recorded.network), SHAPE).unwrap();
    let parts = config.grad_accum_steps;
    for step in 0..STEPS {
        if recorded.options.unfreeze_step == Some(step) {
            assert!(learner.begin_epoch(2));
        }
        learner.zero_grad().unwrap();
        for part in 0..parts {
            let batch = batch(recorded, step, part);
            let criterion = criterion(&config, 1, 0).unwrap();
            let weight = 1.0 / parts as f64;
            learner
                .accumulate_gradients(&batch, &criterion, weight, true)
                .unwrap();
        }
        let lr = 0.0002 - 0.000_005 * step as f64;
        assert_eq!(learner.step(lr, step + 1, true).unwrap(), Some(true));
    }
    let mut found = summaries("", learner.network());
    if let Some(ema) = learner.ema() {
        found.extend(summaries("ema.", ema));
    }
    found
}

fn summaries(prefix: &str, network: &Network) -> Summaries {
    let tensors = network.tensors().iter();
    tensors
        .map(|(name, tensor)| (format!("{prefix}{name}"), summary(tensor)))
        .collect()
}

/// Mean, norm, and up to `SAMPLE` elements at even distances.
fn summary(tensor: &Tensor) -> Vec<f64> {
    let tensor = tensor.detach().to_kind(Kind::Double).reshape(-1);
    let len = tensor.numel();
    let count = len.min(SAMPLE);
    let sample = (0..count).map(|i| tensor.double_value(&[(i * len / count) as i64]));
    let mean = tensor.mean(Kind::Double).double_value(&[]);
    let norm = tensor.norm().double_value(&[]);
    [mean, norm].into_iter().chain(sample).collect()
}

/// The largest difference, and the tensor that has it.
fn difference<'a>(found: &'a Summaries, expected: &Summaries) -> (f64, &'a str) {
    let mut largest = (0.0, "");
    for (name, found) in found {
        let expected = &expected[name];
        assert_eq!(found.len(), expected.len(), "{name}");
        for (found, expected) in found.iter().zip(expected) {
            let difference = (found - expected).abs() / expected.abs().max(1.0);
            assert!(difference.is_finite(), "{name}: {found} {expected}");
            if difference > largest.0 {
                largest = (difference, name);
            }
        }
    }
    largest
}

fn compare(network: &str) {
    // For the threads of this test: tests run side by side, and libtorch's threads spin where they wait.
    tch::set_num_threads(1);
    let all = recorded(network);
    let plain = all.iter().find(|line| line.title == "momentum").unwrap();
    println!("{network:16} {:56} difference", "options");
    for line in &all {
        let found = train(line);
        assert!(
            found.keys().eq(line.tensors.keys()),
            "both have the same tensors"
        );
        let (largest, name) = difference(&found, &line.tensors);
        println!("{network:16} {:56} {largest:.1e}", line.title);
        assert!(
            largest <= TOLERANCE,
            "{network}, {}: {name} differs by {largest}",
            line.title
        );
        // The options make a difference that is far above the tolerance.
        let prefix = line.options.model_ema_decay.map_or("", |_| "ema.");
        let relevant = line.tensors.iter().filter_map(|(name, values)| {
            let name = name.strip_prefix(prefix)?;
            plain
                .tensors
                .contains_key(name)
                .then(|| (name.to_owned(), values.clone()))
        });
        let effect = difference(&relevant.collect(), &plain.tensors).0;
        assert!(
            line.title == "momentum" || effect > 10.0 * TOLERANCE,
            "{network}, {}: an effect of {effect}",
            line.title
        );
    }
}

#[test]
fn steps_of_a_basic_network_agree_with_pytorch() {
    compare("basic-4");
}

#[test]
fn steps_of_a_densenet_agree_with_pytorch() {
    compare("densenet-22-4");
}

#[test]
fn steps_of_a_resnet_agree_with_pytorch() {
    compare("resnet18-cifar");
}
