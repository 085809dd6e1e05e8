//! The optimizer of a run: which parameters it trains, and how.

mod settings;
#[cfg(test)]
mod tests;

use tch::Tensor;
use thiserror::Error;
use topk_libtorch::ParameterOptions;
use topk_models::Architecture;

pub use settings::{Betas, ClipMode, OptimizerName, OptimizerSettings, ParseBetasError};

/// `--freeze` does not fit the network.
#[derive(Clone, Debug, Error, PartialEq)]
#[non_exhaustive]
pub(crate) enum FreezeError {
    /// A name is not that of a layer.
    #[error(
        "--freeze {layer}: {model} has no parameter whose name begins with {layer}. Its layers are {layers}; or give backbone, for all but the last"
    )]
    Unknown {
        /// The name.
        layer: String,
        /// The network.
        model: String,
        /// The first parts of the names of its parameters.
        layers: String,
    },
    /// Nothing would be trained.
    #[error("--freeze {freeze} leaves no parameter of {model} to train: leave out a layer")]
    All {
        /// The value.
        freeze: String,
        /// The network.
        model: String,
    },
}

/// The trainable parameters of a network, in the optimizer's order.
#[derive(Debug)]
pub(crate) struct Parameters {
    pub(crate) options: Vec<ParameterOptions>,
    /// Indices of those that `--freeze` names.
    pub(crate) frozen: Vec<usize>,
    /// Indices of those that are not of the classifier.
    pub(crate) backbone: Vec<usize>,
}

impl Parameters {
    /// What the settings say about the parameters of these names; `lr` is the peak learning rate.
    ///
    /// # Errors
    /// If `--freeze` does not fit the network.
    pub(crate) fn new<'a>(
        settings: &OptimizerSettings,
        lr: f64,
        architecture: &Architecture,
        parameters: impl Iterator<Item = (&'a String, &'a Tensor)>,
    ) -> Result<Self, FreezeError> {
        let classifier = architecture.classifier();
        let groups = architecture.layer_groups();
        let last = groups.iter().map(|(_, group)| *group).max().unwrap_or(0);
        let mut found = Self {
            options: Vec::new(),
            frozen: Vec::new(),
            backbone: Vec::new(),
        };
        let mut unknown: Vec<&String> = settings.freeze.iter().collect();
        for (index, (name, tensor)) in parameters.enumerate() {
            let is_head = classifier.contains(name);
            let group = groups.iter().find(|(of_group, _)| of_group == name);
            let below = last - group.map_or(last, |(_, group)| *group);
            let mut lr_scale = settings
                .layer_decay
                .map_or(1.0, |decay| decay.powi(below as i32));
            if let (true, Some(head_lr)) = (is_head, settings.head_lr) {
                lr_scale = if lr == 0.0 { 0.0 } else { head_lr / lr };
            }
            let decays = !(settings.filter_bias_and_bn && is_filtered(name, tensor));
            found.options.push(ParameterOptions {
                weight_decay: if decays { settings.weight_decay } else { 0.0 },
                lr_scale,
            });
            if !is_head {
                found.backbone.push(index);
            }
            let begins = |layer: &String| {
                let is_backbone = layer == settings::BACKBONE && !is_head;
                is_backbone || name == layer || name.starts_with(&format!("{layer}."))
            };
            if settings.freeze.iter().any(begins) {
                found.frozen.push(index);
            }
            unknown.retain(|layer| !begins(layer));
        }
        let model = || architecture.name().to_owned();
        if let Some(layer) = unknown.first() {
            let mut layers: Vec<&str> = Vec::new();
            for (name, _) in &groups {
                let first = name.split('.').next().unwrap_or(name);
                if !layers.contains(&first) {
                    layers.push(first);
                }
            }
            return Err(FreezeError::Unknown {
                layer: (*layer).clone(),
                model: model(),
                layers: layers.join(", "),
            });
        }
        if !found.frozen.is_empty() && found.frozen.len() == found.options.len() {
            return Err(FreezeError::All {
                freeze: settings.freeze.join(","),
                model: model(),
            });
        }
        Ok(found)
    }
}

/// Whether a parameter has no weight decay with `--filter-bias-and-bn`: timm's rule, and the embeddings that its vision
/// transformers exempt.
fn is_filtered(name: &str, tensor: &Tensor) -> bool {
    tensor.dim() <= 1
        || name.ends_with(".bias")
        || matches!(name, "class_token" | "encoder.pos_embedding")
}
