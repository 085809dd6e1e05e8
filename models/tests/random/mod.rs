//! A network of random weights and its checkpoint.

use tch::{Device, no_grad};
use topk_models::{Checkpoint, Network, architecture};
use topk_onnx::ModelCard;

pub const CLASSES: usize = 7;

/// A network none of whose parameters and statistics is as it was initialised.
pub fn random_network() -> Network {
    tch::manual_seed(5);
    let architecture = architecture("basic-6", [3, 32, 32], CLASSES).unwrap();
    let network = Network::new(architecture, Device::Cpu);
    no_grad(|| {
        for (name, mut tensor) in network.variables().variables() {
            if name.ends_with("running_var") {
                let _ = tensor.uniform_(0.5, 2.0);
            } else {
                tensor += 0.1 * tensor.randn_like();
            }
        }
    });
    network
}

pub fn checkpoint(network: &Network) -> Checkpoint {
    let card = ModelCard {
        format: ModelCard::FORMAT,
        architecture: network.architecture().name().to_owned(),
        class_names: (0..CLASSES).map(|class| format!("class {class}")).collect(),
        input_size: network.architecture().input_size(),
        mean: [0.5; 3],
        std: [0.25; 3],
        dataset: "random".to_owned(),
        noise: 0.0,
        loss: "svm".to_owned(),
        k: 3,
        tau: Some(1.0),
        alpha: Some(1.0),
        seed: 5,
        epoch: 1,
        val_top1: 0.5,
        val_topk: 0.75,
    };
    Checkpoint {
        card,
        weights: network.weights(),
    }
}
