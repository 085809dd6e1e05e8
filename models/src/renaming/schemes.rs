//! Names that other libraries give to the parameters of the same networks.

/// How a library names the parameters of a family of networks.
pub(super) struct Scheme {
    /// The library, for messages.
    pub(super) library: &'static str,
    /// What the names of the architectures begin with.
    pub(super) family: &'static str,
    /// Whether the library publishes weights for images with different mean and std.
    pub(super) ambiguous_normalization: bool,
    /// The name here of a parameter, given the parts of its name there.
    pub(super) convert: fn(&[&str]) -> Option<String>,
}

/// Only networks that compute the same: those that also differ in constants, such as the epsilon of batch norm,
/// are missing on purpose.
pub(super) const SCHEMES: [Scheme; 5] = [
    Scheme {
        library: "timm",
        family: "vit_",
        ambiguous_normalization: true,
        convert: timm_vit,
    },
    Scheme {
        library: "timm",
        family: "convnext_",
        ambiguous_normalization: false,
        convert: timm_convnext,
    },
    Scheme {
        library: "the authors' code",
        family: "convnext_",
        ambiguous_normalization: false,
        convert: original_convnext,
    },
    Scheme {
        library: "timm",
        family: "vgg",
        ambiguous_normalization: false,
        convert: timm_vgg,
    },
    Scheme {
        library: "transformers",
        family: "resnet",
        ambiguous_normalization: false,
        convert: transformers_resnet,
    },
];

fn timm_vit(parts: &[&str]) -> Option<String> {
    Some(match *parts {
        ["cls_token"] => "class_token".to_owned(),
        ["pos_embed"] => "encoder.pos_embedding".to_owned(),
        ["patch_embed", "proj", tensor] => format!("conv_proj.{tensor}"),
        ["norm", tensor] => format!("encoder.ln.{tensor}"),
        ["head", tensor] => format!("heads.head.{tensor}"),
        ["blocks", block, ref inner @ ..] => {
            let inner = match *inner {
                ["norm1", tensor] => format!("ln_1.{tensor}"),
                ["norm2", tensor] => format!("ln_2.{tensor}"),
                ["attn", "qkv", tensor] => format!("self_attention.in_proj_{tensor}"),
                ["attn", "proj", tensor] => format!("self_attention.out_proj.{tensor}"),
                ["mlp", "fc1", tensor] => format!("mlp.0.{tensor}"),
                ["mlp", "fc2", tensor] => format!("mlp.3.{tensor}"),
                _ => return None,
            };
            format!("encoder.layers.encoder_layer_{block}.{inner}")
        }
        _ => return None,
    })
}

fn timm_convnext(parts: &[&str]) -> Option<String> {
    Some(match *parts {
        ["stem", layer, tensor] => format!("features.0.{layer}.{tensor}"),
        ["head", "norm", tensor] => format!("classifier.0.{tensor}"),
        ["head", "fc", tensor] => format!("classifier.2.{tensor}"),
        ["stages", stage, "downsample", layer, tensor] => downsample(stage, layer, tensor)?,
        ["stages", stage, "blocks", block, ref inner @ ..] => {
            let inner = match *inner {
                ["conv_dw", tensor] => format!("block.0.{tensor}"),
                ["norm", tensor] => format!("block.2.{tensor}"),
                ["mlp", "fc1", tensor] => format!("block.3.{tensor}"),
                ["mlp", "fc2", tensor] => format!("block.5.{tensor}"),
                ["gamma"] => "layer_scale".to_owned(),
                _ => return None,
            };
            in_stage(stage, block, &inner)?
        }
        _ => return None,
    })
}

fn original_convnext(parts: &[&str]) -> Option<String> {
    Some(match *parts {
        ["norm", tensor] => format!("classifier.0.{tensor}"),
        ["head", tensor] => format!("classifier.2.{tensor}"),
        ["downsample_layers", stage, layer, tensor] => downsample(stage, layer, tensor)?,
        ["stages", stage, block, ref inner @ ..] => {
            let inner = match *inner {
                ["dwconv", tensor] => format!("block.0.{tensor}"),
                ["norm", tensor] => format!("block.2.{tensor}"),
                ["pwconv1", tensor] => format!("block.3.{tensor}"),
                ["pwconv2", tensor] => format!("block.5.{tensor}"),
                ["gamma"] => "layer_scale".to_owned(),
                _ => return None,
            };
            in_stage(stage, block, &inner)?
        }
        _ => return None,
    })
}

/// Of ConvNeXt: what precedes a stage.
fn downsample(stage: &str, layer: &str, tensor: &str) -> Option<String> {
    let stage: u8 = stage.parse().ok()?;
    Some(format!(
        "features.{}.{layer}.{tensor}",
        2 * u16::from(stage)
    ))
}

/// Of ConvNeXt: a block of a stage.
fn in_stage(stage: &str, block: &str, inner: &str) -> Option<String> {
    let stage: u8 = stage.parse().ok()?;
    Some(format!(
        "features.{}.{block}.{inner}",
        2 * u16::from(stage) + 1
    ))
}

/// The layers of the classifier are convolutions there.
fn timm_vgg(parts: &[&str]) -> Option<String> {
    Some(match *parts {
        ["features", layer, tensor] => format!("features.{layer}.{tensor}"),
        ["pre_logits", "fc1", tensor] => format!("classifier.0.{tensor}"),
        ["pre_logits", "fc2", tensor] => format!("classifier.3.{tensor}"),
        ["head", "fc", tensor] => format!("classifier.6.{tensor}"),
        _ => return None,
    })
}

fn transformers_resnet(parts: &[&str]) -> Option<String> {
    let numbered = |kind: &str, index: &str| {
        let index: u8 = index.parse().ok()?;
        let prefix = match kind {
            "convolution" => "conv",
            "normalization" => "bn",
            _ => return None,
        };
        Some(format!("{prefix}{}", u16::from(index) + 1))
    };
    Some(match *parts {
        ["embedder", "embedder", kind, tensor] => format!("{}.{tensor}", numbered(kind, "0")?),
        ["classifier", "1", tensor] => format!("fc.{tensor}"),
        ["encoder", "stages", stage, "layers", block, ref inner @ ..] => {
            let stage: u8 = stage.parse().ok()?;
            let inner = match *inner {
                ["layer", index, kind, tensor] => format!("{}.{tensor}", numbered(kind, index)?),
                ["shortcut", "convolution", tensor] => format!("downsample.0.{tensor}"),
                ["shortcut", "normalization", tensor] => format!("downsample.1.{tensor}"),
                _ => return None,
            };
            format!("layer{}.{block}.{inner}", u16::from(stage) + 1)
        }
        _ => return None,
    })
}

/// Parts of names that only one kind of networks has, and whose they are.
const SIGNS: [(&str, &str); 26] = [
    (
        "roi_heads.",
        "a detector of torchvision, not of a classifier",
    ),
    (
        "rpn.head.",
        "a detector of torchvision, not of a classifier",
    ),
    (
        "backbone.body.",
        "a detector of torchvision, not of a classifier",
    ),
    (
        "backbone.layer1.0.conv1.",
        "a network of torchvision around this one, such as for segmentation",
    ),
    ("visual.transformer.", "CLIP"),
    ("visual.conv1.", "CLIP"),
    ("logit_scale", "CLIP"),
    ("vision_model.", "transformers (CLIP)"),
    ("_conv_stem.", "the package efficientnet_pytorch"),
    ("_blocks.", "the package efficientnet_pytorch"),
    ("embeddings.patch_embeddings.", "transformers"),
    ("embedder.embedder.", "transformers"),
    ("embedder.convolution.", "transformers"),
    ("layernorm_before.", "transformers"),
    ("layer_scale_parameter", "transformers"),
    ("depthwise_norm.", "transformers"),
    (".normalization.running_mean", "transformers"),
    (".convolution.weight", "transformers"),
    ("downsample_layers.", "the authors of ConvNeXt"),
    ("patch_embed.", "timm"),
    ("conv_stem.", "timm"),
    ("conv_pwl.", "timm"),
    ("pre_logits.", "timm"),
    (".mlp.fc1.", "timm"),
    ("stem.0.", "timm"),
    ("head.fc.", "timm"),
];

/// Whose names these are, and one that shows it.
pub(super) fn library<'a>(
    names: impl Iterator<Item = &'a str> + Clone,
) -> Option<(&'static str, &'a str)> {
    SIGNS.iter().find_map(|&(sign, library)| {
        let mut names = names.clone();
        let shows = |name: &&str| {
            name.match_indices(sign)
                .any(|(at, _)| sign.starts_with('.') || at == 0 || name.as_bytes()[at - 1] == b'.')
        };
        Some((library, names.find(shows)?))
    })
}
