//! Exponential moving average (EMA) of a network's weights.

use tch::{TchError, Tensor};
use topk_libtorch::lerp_all;
use topk_models_tch::Network;

/// A copy of a network whose tensors are the moving averages of the original's.
#[derive(Debug)]
pub(crate) struct Ema {
    network: Network,
    decay: f64,
    /// Tensors of `network`, in the order of `values`.
    averages: Vec<Tensor>,
    /// Tensors of the original network.
    values: Vec<Tensor>,
}

impl Ema {
    /// Starts with the weights of `network`.
    pub(crate) fn new(network: &Network, decay: f64) -> Self {
        let device = network.variables().device();
        let mut copy = Network::new(network.architecture().clone(), device);
        let loaded = copy.load(&network.weights());
        loaded.expect("both networks have the same architecture");
        let [averages, values] = [&copy, network].map(|network| {
            let tensors = network.tensors().values();
            tensors.map(Tensor::shallow_clone).collect()
        });
        Self {
            network: copy,
            decay,
            averages,
            values,
        }
    }

    /// Moves each average towards the current value: `average = decay · average + (1 − decay) · value`.
    pub(crate) fn update(&self) -> Result<(), TchError> {
        lerp_all(&self.averages, &self.values, 1.0 - self.decay)
    }

    /// The network with the averages as weights.
    pub(crate) fn network(&self) -> &Network {
        &self.network
    }

    /// The same, to load weights into.
    pub(crate) fn network_mut(&mut self) -> &mut Network {
        &mut self.network
    }
}
