//! Published weights: their preprocessing, and the names of their tensors.

use std::collections::BTreeMap;

use serde_json::Value;
use topk_models::{Classifier, architecture, architectures, images};
use topk_weights::{StateDict, Tensor};

const CLASSES: usize = 7;

#[test]
fn images_match_those_of_published_weights() {
    let published: BTreeMap<String, Value> =
        serde_json::from_str(include_str!("data/transforms.json")).unwrap();
    let floats = |value: &Value| -> Vec<f32> { serde_json::from_value(value.clone()).unwrap() };
    for (name, expected) in &published {
        let images = images(name).unwrap();
        assert_eq!(
            images.size[1..],
            [expected["crop"].as_u64().unwrap() as usize; 2],
            "{name}"
        );
        let resize = serde_json::to_value(images.resize.unwrap()).unwrap();
        assert_eq!(resize["shorter_side"], expected["resize"], "{name}");
        assert_eq!(resize["interpolation"], expected["interpolation"], "{name}");
        assert_eq!(
            images.normalization.mean[..],
            floats(&expected["mean"]),
            "{name}"
        );
        assert_eq!(
            images.normalization.std[..],
            floats(&expected["std"]),
            "{name}"
        );
    }
    for built in architectures() {
        let of_imagenet = built.classes() == 1000;
        assert_eq!(
            published.contains_key(built.name()),
            of_imagenet,
            "{}",
            built.name()
        );
    }
}

/// A file of zeros for a network, whose names are changed.
fn file_of(name: &str, rename: impl Fn(&str) -> String) -> StateDict {
    let built = architecture(name, images(name).unwrap().size, CLASSES).unwrap();
    let tensors = built.parameter_shapes().into_iter().map(|(name, shape)| {
        let zeros = vec![0.0; shape.iter().product()];
        (rename(&name), Tensor::from_f32(&shape, &zeros).unwrap())
    });
    StateDict {
        tensors: tensors.collect(),
        ..StateDict::default()
    }
}

#[test]
fn names_in_older_files_are_updated() {
    for (name, new, old) in [
        ("densenet121", "denselayer1.norm1.", "denselayer1.norm.1."),
        ("densenet121", "denselayer16.conv2.", "denselayer16.conv.2."),
        ("vit_b_16", "mlp.0.", "mlp.linear_1."),
        ("vit_b_16", "mlp.3.", "mlp.linear_2."),
    ] {
        let built = architecture(name, images(name).unwrap().size, CLASSES).unwrap();
        let older = file_of(name, |name| name.replace(new, old));
        let today = file_of(name, str::to_owned);
        assert_ne!(older, today, "{old}");
        let matched = built.matched(older, Classifier::Keep).unwrap();
        assert_eq!(matched.tensors, today.tensors, "{old}");
    }
}

#[test]
fn the_classifier_is_the_last_layer() {
    for (name, expected) in [
        ("resnet18", "fc"),
        ("squeezenet1_1", "classifier.1"),
        ("vgg11", "classifier.6"),
        ("densenet121", "classifier"),
        ("vit_b_16", "heads.head"),
        ("inception_v3", "fc"),
    ] {
        let built = architecture(name, images(name).unwrap().size, CLASSES).unwrap();
        let names = ["weight", "bias"].map(|tensor| format!("{expected}.{tensor}"));
        assert_eq!(built.classifier(), names);
        let headless = file_of(name, |name| name.replace(&format!("{expected}."), "old."));
        assert!(
            built.matched(headless, Classifier::New).is_err(),
            "old tensors are unexpected"
        );
    }
    for built in architectures() {
        let shapes: BTreeMap<_, _> = built.parameter_shapes().into_iter().collect();
        for name in built.classifier() {
            assert_eq!(
                shapes[&name][0],
                built.classes(),
                "{}: {name}",
                built.name()
            );
        }
    }
}

/// A name in transformers' ResNet.
fn transformers_resnet(name: &str) -> String {
    let layer = |kind: &str| {
        let (kind, number) = kind.split_at(kind.len() - 1);
        let kind = match kind {
            "conv" => "convolution",
            _ => "normalization",
        };
        (kind, number.parse::<usize>().unwrap() - 1)
    };
    match name.split('.').collect::<Vec<_>>()[..] {
        ["fc", tensor] => format!("classifier.1.{tensor}"),
        [kind, tensor] => format!("resnet.embedder.embedder.{}.{tensor}", layer(kind).0),
        [stage, block, ref inner @ ..] => {
            let stage = stage["layer".len()..].parse::<usize>().unwrap() - 1;
            let inner = match *inner {
                ["downsample", "0", tensor] => format!("shortcut.convolution.{tensor}"),
                ["downsample", "1", tensor] => format!("shortcut.normalization.{tensor}"),
                [kind, tensor] => {
                    let (kind, index) = layer(kind);
                    format!("layer.{index}.{kind}.{tensor}")
                }
                _ => panic!("{name}"),
            };
            format!("resnet.encoder.stages.{stage}.layers.{block}.{inner}")
        }
        _ => panic!("{name}"),
    }
}

/// A name in timm's ViT.
fn timm_vit(name: &str) -> String {
    [
        ("encoder.layers.encoder_layer_", "blocks."),
        (".ln_", ".norm"),
        ("self_attention.in_proj_", "attn.qkv."),
        ("self_attention.out_proj", "attn.proj"),
        ("mlp.0", "mlp.fc1"),
        ("mlp.3", "mlp.fc2"),
        ("encoder.ln", "norm"),
        ("heads.head", "head"),
        ("conv_proj", "patch_embed.proj"),
        ("class_token", "cls_token"),
        ("encoder.pos_embedding", "pos_embed"),
    ]
    .iter()
    .fold(name.to_owned(), |name, (new, old)| name.replace(new, old))
}

/// A name in ConvNeXt, given those of a block's layers.
fn convnext(name: &str, layers: [&str; 5], stem: &str, blocks: &str, head: [&str; 2]) -> String {
    let parts: Vec<_> = name.split('.').collect();
    match parts[..] {
        ["features", "0", layer, tensor] => format!("{stem}{layer}.{tensor}"),
        ["classifier", "0", tensor] => format!("{}.{tensor}", head[0]),
        ["classifier", "2", tensor] => format!("{}.{tensor}", head[1]),
        ["features", stage, part, ref inner @ ..] => {
            let stage: usize = stage.parse().unwrap();
            let layer = match *inner {
                [tensor] if stage.is_multiple_of(2) => {
                    let stage = stage / 2;
                    return match blocks {
                        "" => format!("downsample_layers.{stage}.{part}.{tensor}"),
                        _ => format!("stages.{stage}.downsample.{part}.{tensor}"),
                    };
                }
                ["layer_scale"] => layers[4].to_owned(),
                ["block", index, tensor] => {
                    let index = ["0", "2", "3", "5"].iter().position(|i| *i == index);
                    format!("{}.{tensor}", layers[index.unwrap()])
                }
                _ => panic!("{name}"),
            };
            format!("stages.{}.{blocks}{part}.{layer}", stage / 2)
        }
        _ => panic!("{name}"),
    }
}

#[test]
fn names_of_other_libraries_are_converted() {
    type Rename = fn(&str) -> String;
    let cases: [(&str, &str, Rename); 6] = [
        ("resnet18", "transformers", transformers_resnet),
        ("resnet50", "transformers", transformers_resnet),
        ("vit_b_16", "timm", timm_vit),
        ("convnext_tiny", "timm", |name| {
            let layers = ["conv_dw", "norm", "mlp.fc1", "mlp.fc2", "gamma"];
            convnext(name, layers, "stem.", "blocks.", ["head.norm", "head.fc"])
        }),
        ("convnext_tiny", "the authors' code", |name| {
            let layers = ["dwconv", "norm", "pwconv1", "pwconv2", "gamma"];
            convnext(name, layers, "downsample_layers.0.", "", ["norm", "head"])
        }),
        ("vgg11_bn", "timm", |name| {
            let fc = [
                ("classifier.0", "pre_logits.fc1"),
                ("classifier.3", "pre_logits.fc2"),
                ("classifier.6", "head.fc"),
            ];
            let mut name = name.to_owned();
            for (new, old) in fc {
                name = name.replace(new, old);
            }
            name
        }),
    ];
    for (name, library, rename) in cases {
        let built = architecture(name, images(name).unwrap().size, CLASSES).unwrap();
        let today = file_of(name, str::to_owned);
        let mut other = file_of(name, rename);
        assert_eq!(other.tensors.len(), today.tensors.len(), "{name}");
        // Shapes that differ between the libraries.
        for (name, tensor) in &mut other.tensors {
            let shape = match *tensor.shape() {
                [channels, 1, 1] if name.ends_with("gamma") => vec![channels],
                [out, input] if name == "pre_logits.fc1.weight" => vec![out, input / 49, 7, 7],
                [out, input] if name == "pre_logits.fc2.weight" => vec![out, input, 1, 1],
                _ => continue,
            };
            *tensor = Tensor::new(&shape, tensor.dtype(), tensor.bytes().to_vec()).unwrap();
        }
        let renamed = built.renamed(other).unwrap();
        assert!(renamed.weights == today, "{name} of {library}");
        let note = format!("converted the names of {library} to those of {name}");
        assert_eq!(renamed.notes.last(), Some(&note));
        assert_eq!(renamed.ambiguous_normalization, name == "vit_b_16");
    }
}
