//! A network of random weights and its checkpoint.

use tch::{Device, no_grad};
use topk_models::{Checkpoint, Network, architecture};

use crate::card::card;

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
    Checkpoint::of_network(card(network.architecture()), network)
}
