//! Defaults that follow the data and the checkpoint: the network, k, and the preparation of images.

use std::path::Path;

use tch::Device;
use topk_history::Confusion;
use topk_models::{Architecture, Checkpoint, Classifier, MatchError, architecture};
use topk_weights::{Loaded, ReadOptions};

use crate::TrainError;
use crate::class_weights::ClassWeights;
use crate::config::{Config, TOPK};
use crate::dataset::{Dataset, DatasetError, default_augmentation};
use crate::order::{self, Shuffle};
use crate::train::criterion;

/// The network for CIFAR's images, as in the paper.
const CIFAR_MODEL: &str = "densenet-40-40";
/// The network for other images.
const MODEL: &str = "resnet18";

/// Settings whose defaults follow the data. A run that is resumed without them keeps its own.
pub(crate) const FOLLOW_THE_DATA: [&str; 8] = [
    "model",
    "topk",
    "input-size",
    "val-resize",
    "augment",
    "shuffle",
    "shuffle-buffer",
    "channels-last",
];

/// With fewer output channels of a convolution, oneDNN is slower in the channels-last memory format; see
/// `docs/benchmarks.md`.
const CHANNELS_LAST_FROM: usize = 8;

/// The settings with all defaults filled in, and these among the [decisions](Config::decisions).
///
/// # Errors
/// If the network is neither given nor known from --checkpoint, and the default does not fit its weights.
pub(crate) fn resolve(
    config: &Config,
    data: &Dataset,
    device: Device,
) -> Result<Config, TrainError> {
    let mut config = config.clone().resolved();
    let mut defaults = Vec::new();
    if config.model.is_none() {
        let (model, from_checkpoint) = default_model(&config, data)?;
        match (from_checkpoint, &config.checkpoint) {
            (true, Some(path)) => {
                let path = path.display();
                let line = format!("--model {model}: the architecture of the weights in {path}");
                config.decisions.push(line);
            }
            _ => defaults.push(format!("--model {model}")),
        }
        config.model = Some(model);
    }
    if config.topk.is_none() {
        let classes = data.class_names.len();
        let k = default_k(&config, classes);
        config.topk = Some(k);
        match k < TOPK {
            true => config.decisions.push(format!(
                "--topk {k}: the default is {TOPK}, but the data has {classes} classes"
            )),
            false => defaults.push(format!("--topk {k}")),
        }
    }
    let [_, side, _] = data.shape;
    if config.input_size.is_none() {
        defaults.push(format!("--input-size {side}"));
        config.input_size = Some(vec![side]);
    }
    if config.augment.is_none() && !config.augmenting.are_given() {
        let text = default_augmentation(is_cifar_sized(data), data.shape);
        defaults.push(format!("--augment {text}"));
        config.augment = Some(data.augmentation.clone());
    }
    if let (None, Some(side)) = (config.val_resize, data.val_resize) {
        defaults.push(format!("--val-resize {side}"));
        config.val_resize = Some(side);
    }
    if !defaults.is_empty() {
        let images = match is_cifar_sized(data) {
            true => "CIFAR",
            false => "these images",
        };
        let defaults = defaults.join(" ");
        let line = format!("defaults for {images}: {defaults}");
        config.decisions.push(line);
    }
    if config.machine.channels_last.is_none() {
        let network = architecture(config.model(), data.shape, data.class_names.len())?;
        let narrowest = network.narrowest_convolution();
        let faster = device == Device::Cpu && narrowest >= Some(CHANNELS_LAST_FROM);
        if faster {
            let line =
                "--channels-last: this memory format is the faster one for this network on the CPU";
            config.decisions.push(line.to_owned());
        }
        config.machine.channels_last = Some(faster);
    }
    if let Some(weights) = &config.loss.class_weights {
        let resolved = weights.resolve(&data.class_names, &data.class_counts)?;
        config
            .decisions
            .push(weights_decision(weights, &resolved, data));
        config.loss.of_classes.weights = Some(resolved);
    }
    let counts = data.class_counts.iter().map(|&count| count as u64);
    config.loss.of_classes.counts = Some(counts.collect());
    let smoothing = config.loss.decision(data.class_names.len());
    config.decisions.extend(smoothing);
    // Those of full shuffling are not recorded: older runs do not have them.
    if data.shuffle == Shuffle::Shards {
        config.shuffle = Some(Shuffle::Shards);
        config.shuffle_buffer.get_or_insert(order::BUFFER);
    }
    config.decisions.extend(config.validation_decisions());
    config.decisions.extend(unused(&config, data));
    let (lr, images) = (config.peak_lr(), config.images_per_step());
    let of_schedule = config.schedule.decisions(lr, images, config.epochs);
    config.decisions.extend(of_schedule);
    Ok(config)
}

/// The line about the weights of the classes.
fn weights_decision(weights: &ClassWeights, resolved: &[f64], data: &Dataset) -> String {
    let largest = (resolved.iter().zip(&data.class_names)).max_by(|a, b| a.0.total_cmp(b.0));
    let least = (resolved.iter().zip(&data.class_names)).min_by(|a, b| a.0.total_cmp(b.0));
    let shown = |found: Option<(&f64, &String)>| {
        found.map_or_else(String::new, |(weight, name)| {
            format!("{weight:.4} ({})", topk_files::excerpt(name))
        })
    };
    format!(
        "--class-weights {weights}: from {} to {}",
        shown(least),
        shown(largest)
    )
}

/// Whether the images are CIFAR's in their own size.
fn is_cifar_sized(data: &Dataset) -> bool {
    data.is_cifar && data.shape[1..] == [32, 32]
}

/// The network, and whether it is that of the weights in --checkpoint.
fn default_model(config: &Config, data: &Dataset) -> Result<(String, bool), TrainError> {
    let default = match is_cifar_sized(data) {
        true => CIFAR_MODEL,
        false => MODEL,
    };
    match &config.checkpoint {
        None => Ok((default.to_owned(), false)),
        Some(path) => Ok((model_of(path, default, data)?, true)),
    }
}

/// The network that the weights in a file are of: the one that the file names, the default if they fit it, or
/// another that they fit.
fn model_of(path: &Path, default: &str, data: &Dataset) -> Result<String, TrainError> {
    let file = topk_data::remote::local(path).map_err(DatasetError::from)?;
    let Loaded { weights, .. } = Loaded::read(&file, ReadOptions::default())?;
    if let Ok(Some(card)) = Checkpoint::card_of(&weights) {
        return Ok(card.architecture);
    }
    let network = architecture(default, data.shape, data.class_names.len())?;
    let matched = |network: &Architecture| {
        let mut renamed = network.renamed(weights)?;
        network.adapt_input_conv(&mut renamed.weights)?;
        network.matched(renamed.weights, Classifier::New)
    };
    match matched(&network) {
        Ok(_) => Ok(default.to_owned()),
        Err(MatchError::OtherArchitecture { other, .. }) => Ok(other),
        Err(_) => Err(TrainError::UnknownModel {
            path: path.to_owned(),
            default: default.to_owned(),
        }),
    }
}

/// The paper's k, or the largest for which the loss exists and top-k accuracy is not trivial: below the number of
/// classes.
fn default_k(config: &Config, classes: usize) -> usize {
    let largest = TOPK.min(classes.saturating_sub(1)).max(1);
    let exists = |k: &usize| {
        let config = Config {
            topk: Some(*k),
            ..config.clone()
        };
        criterion(&config, 1, 0).is_ok_and(|loss| loss.check_classes(classes).is_ok())
    };
    (1..=largest).rev().find(exists).unwrap_or(largest)
}

/// Lines about settings that have no effect with this data.
fn unused(config: &Config, data: &Dataset) -> Vec<String> {
    let mut lines = Vec::new();
    if data.test.is_none() && config.test_crops != topk_preprocessing::Crops::Center {
        lines.push("--test-crops has no effect: the data has no test images".to_owned());
    }
    if data.class_names.len() > Confusion::MAX_CLASSES {
        lines.push(format!(
            "no confusion matrix for TensorBoard: there are more than {} classes",
            Confusion::MAX_CLASSES
        ));
    }
    if data.shuffle == Shuffle::Full && config.shuffle_buffer.is_some() {
        lines.push(
            "--shuffle-buffer has no effect: training images are not shuffled by shard (--shuffle shards)"
                .to_owned(),
        );
    }
    if let (Some(side), true) = (config.train_resize, data.validation.is_resized())
        && data.augmentation.steps.is_empty()
    {
        lines.push(format!(
            "--train-resize {side} has no effect with --augment none: training images are prepared as \
             validation images"
        ));
    }
    lines
}
