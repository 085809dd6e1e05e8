//! A model card for weights that were not trained.

use std::collections::BTreeMap;

use topk_models::Architecture;
use topk_onnx::{ModelCard, Training};

/// A card that is only correct about the architecture.
pub fn card(architecture: &Architecture) -> ModelCard {
    let classes = 0..architecture.classes();
    ModelCard {
        format: ModelCard::FORMAT,
        architecture: architecture.name().to_owned(),
        class_names: Some(classes.map(|class| format!("class {class}")).collect()),
        input_size: architecture.input_size(),
        resize: None,
        mean: [0.5; 3].into(),
        std: [0.25; 3].into(),
        training: Some(Training {
            dataset: "random".to_owned(),
            noise: 0.0,
            loss: "svm".to_owned(),
            k: 3,
            tau: Some(1.0),
            alpha: Some(1.0),
            loss_settings: BTreeMap::new(),
            optimizer: Default::default(),
            data_settings: Default::default(),
            seed: 5,
            epoch: 1,
            val_top1: Some(0.5),
            val_topk: Some(0.75),
            val_loss: None,
        }),
    }
}
