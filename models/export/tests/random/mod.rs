//! A network with random weights, and its checkpoint.

use tch::{Device, no_grad};
use topk_models::{Checkpoint, architecture};
use topk_models_tch::Network;

use crate::card::card;

pub const CLASSES: usize = 7;

/// A network in which no parameter or statistic has its initial value.
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
    network.checkpoint(card(network.architecture()))
}
