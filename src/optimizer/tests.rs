use std::ffi::OsString;

use tch::Device;
use topk_models::architecture;
use topk_models_tch::Network;

use super::*;
use crate::args::Args;
use crate::config::Config;

const SHAPE: [usize; 3] = [3, 32, 32];

fn config(flags: &str) -> Config {
    let words = format!("--data=D {flags}");
    let words = words.split_whitespace().map(OsString::from);
    Args::config_of(words).unwrap()
}

/// What flags say about the parameters of a network.
fn parameters(model: &str, flags: &str) -> Result<(Vec<String>, Parameters), FreezeError> {
    let network = Network::new(architecture(model, SHAPE, 10).unwrap(), Device::Cpu);
    let config = config(flags);
    let trainable = network
        .tensors()
        .iter()
        .filter(|(_, tensor)| tensor.requires_grad());
    let names = trainable.clone().map(|(name, _)| name.clone()).collect();
    let found = Parameters::new(
        &config.optimizer,
        config.peak_lr(),
        network.architecture(),
        trainable,
    )?;
    Ok((names, found))
}

#[test]
fn biases_norms_and_embeddings_have_no_weight_decay() {
    let flags = "--weight-decay=0.5 --filter-bias-and-bn";
    let (names, found) = parameters("resnet18-cifar", flags).unwrap();
    for (name, options) in names.iter().zip(&found.options) {
        let decays =
            !name.ends_with(".bias") && !name.contains("bn") && !name.contains("downsample.1");
        let expected = if decays { 0.5 } else { 0.0 };
        assert_eq!(options.weight_decay, expected, "{name}");
    }
    let (_, all) = parameters("resnet18-cifar", "--weight-decay=0.5").unwrap();
    assert!(
        all.options
            .iter()
            .all(|options| options.weight_decay == 0.5)
    );
    let embedding = Tensor::zeros([1, 2, 3], (tch::Kind::Float, Device::Cpu));
    for (name, filtered) in [
        ("class_token", true),
        ("encoder.pos_embedding", true),
        ("conv_proj.weight", false),
    ] {
        assert_eq!(is_filtered(name, &embedding), filtered, "{name}");
    }
}

#[test]
fn the_last_layer_has_a_learning_rate_of_its_own() {
    let (names, found) = parameters("basic-4", "--lr=0.1 --head-lr=0.5 --layer-decay=0.5").unwrap();
    let scale = |name: &str| {
        let index = names.iter().position(|found| found == name).unwrap();
        found.options[index].lr_scale
    };
    assert_eq!(scale("fc.weight"), 5.0);
    assert_eq!(scale("fc.bias"), 5.0);
    // The last batch norm, and the first convolution, eleven groups before it.
    assert_eq!(scale("base.18.weight"), 0.5);
    assert_eq!(scale("base.0.weight"), 0.5f64.powi(12));
}

#[test]
fn frozen_layers_are_named_by_beginnings_of_parameter_names() {
    let frozen = |flags: &str| {
        let (names, found) = parameters("resnet18-cifar", flags)?;
        let names = found.frozen.iter().map(|&index| names[index].clone());
        Ok::<Vec<String>, FreezeError>(names.collect())
    };
    assert!(frozen("").unwrap().is_empty());
    assert_eq!(
        frozen("--freeze=conv1,bn1").unwrap(),
        ["bn1.bias", "bn1.weight", "conv1.weight"]
    );
    let backbone = frozen("--freeze=backbone").unwrap();
    assert_eq!(backbone.len(), 60);
    assert!(!backbone.iter().any(|name| name.starts_with("fc")));
    assert_eq!(
        frozen("--freeze=layer").unwrap_err().to_string(),
        "--freeze layer: resnet18-cifar has no parameter whose name begins with layer. Its layers are conv1, bn1, layer1, \
         layer2, layer3, layer4, fc; or give backbone, for all but the last"
    );
    assert_eq!(
        frozen("--freeze=backbone,fc").unwrap_err().to_string(),
        "--freeze backbone,fc leaves no parameter of resnet18-cifar to train: leave out a layer"
    );
}

#[test]
fn settings_of_other_optimizers_are_reported() {
    let decisions = |flags: &str| config(flags).decisions;
    assert_eq!(
        decisions("--opt=adamw --momentum=0.5 --nesterov"),
        [
            "--momentum has no effect with --opt adamw",
            "--nesterov has no effect with --opt adamw"
        ]
    );
    assert_eq!(
        decisions("--opt-eps=1e-3 --sched=cosine --decay-rate=0.5 --patience-epochs=3"),
        [
            "--decay-rate has no effect with --sched cosine",
            "--patience-epochs has no effect with --sched cosine",
            "--opt-eps has no effect with --opt sgd"
        ]
    );
    assert_eq!(
        decisions("--opt=lamb --freeze=conv1 --unfreeze-epoch=9 --epochs=5"),
        [
            "--unfreeze-epoch 9: not reached in --epochs 5",
            "--opt lamb limits the norm of all gradients to 1, as timm's"
        ]
    );
}

#[test]
fn the_default_learning_rate_follows_the_optimizer() {
    for (flags, lr) in [
        ("", 0.1),
        ("--opt=rmsprop", 0.01),
        ("--opt=adam", 0.001),
        ("--opt=adamw", 0.001),
        ("--opt=lamb", 0.001),
        ("--opt=lamb --lr=0.5", 0.5),
    ] {
        assert_eq!(config(flags).peak_lr(), lr, "{flags}");
        assert_eq!(config(flags).resolved().schedule.lr, Some(lr), "{flags}");
    }
}

#[test]
fn settings_that_cannot_be_used_are_rejected_with_the_flag() {
    for (flags, message) in [
        (
            "--layer-decay=0",
            "--layer-decay must be above 0 and at most 1, got 0",
        ),
        (
            "--opt=adam --opt-eps=-1",
            "--opt-eps must be a finite number of at least 0, got -1",
        ),
        (
            "--clip-mode=agc",
            "--clip-mode has no effect without --clip-grad: remove it, or give the limit with --clip-grad",
        ),
        (
            "--unfreeze-epoch=3",
            "--unfreeze-epoch has no effect without --freeze: remove it, or name the layers with --freeze",
        ),
        (
            "--freeze=conv1 --unfreeze-epoch=1",
            "--unfreeze-epoch must be at least 2, the first epoch being 1, got 1",
        ),
        (
            "--lr-base-size=9",
            "--lr-base-size has no effect without --lr-base: remove it, or give a learning rate with --lr-base",
        ),
        (
            "--warmup-lr=0.01",
            "--warmup-lr has no effect without a warm-up: remove it, or give --warmup-epochs",
        ),
        (
            "--sched=cosine --min-lr=0.2",
            "--min-lr must be at most the peak learning rate, got 0.2",
        ),
        (
            "--sched=cosine --cooldown-epochs=5",
            "--cooldown-epochs has no effect without --min-lr: the learning rate of these epochs would be 0: remove it, or \
             give a --min-lr above 0",
        ),
        (
            "--sched=cosine --warmup-epochs=200 --cooldown-epochs=100 --min-lr=0.01",
            "--cooldown-epochs must be below --epochs without those of --warmup-epochs, got 100",
        ),
        (
            "--decay-epochs=0",
            "--decay-epochs must be a finite number above 0, got 0",
        ),
        (
            "--sched=poly --decay-milestones=3",
            "--decay-milestones 3 has no effect with --sched poly: remove it, or use --sched step",
        ),
    ] {
        let words = format!("--data=D {flags}");
        let words = words.split_whitespace().map(OsString::from);
        assert_eq!(Args::config_of(words).unwrap_err().to_string(), message);
    }
    for flags in ["--opt-betas=0.9", "--opt-betas=0.9,1", "--opt-betas=x,y"] {
        let words = ["--data=D", flags].map(OsString::from);
        let error = Args::config_of(words).unwrap_err().to_string();
        assert!(
            error.contains("expected two numbers of at least 0 and below 1"),
            "{error}"
        );
    }
}
