//! Exponential moving average (EMA) of a network's weights.

use tch::{TchError, Tensor};
use topk_libtorch::{lerp_all, lerp_all_by};
use topk_models_tch::Network;

/// A copy of a network whose tensors are the moving averages of the original's.
#[derive(Debug)]
pub(crate) struct Ema {
    network: Network,
    /// Its decay after the warm-up.
    decay: f64,
    warmup: bool,
    /// Tensors of `network`, in the order of `values`.
    averages: Vec<Tensor>,
    /// Tensors of the original network.
    values: Vec<Tensor>,
}

impl Ema {
    /// Starts with the weights of `network`. With `warmup`, the decay rises from 0 to `decay`; see
    /// [`update`](Self::update).
    pub(crate) fn new(network: &Network, decay: f64, warmup: bool) -> Self {
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
            warmup,
            averages,
            values,
        }
    }

    /// Moves each average towards the current value: `average = decay · average + (1 − decay) · value`, after the
    /// optimizer step of this number, from 1.
    pub(crate) fn update(&self, step: usize) -> Result<(), TchError> {
        lerp_all(&self.averages, &self.values, self.weight(step))
    }

    /// As [`update`](Self::update) with this [`weight`](Self::weight), a scalar on the device, unless `skip`, another one,
    /// is 1.
    pub(crate) fn update_unless(&self, skip: &Tensor, weight: &Tensor) -> Result<(), TchError> {
        let weight = weight.f_sub(&weight.f_mul(skip)?)?;
        lerp_all_by(&self.averages, &self.values, &weight)
    }

    /// The weight of the values in the update at an optimizer step, from 1.
    pub(crate) fn weight(&self, step: usize) -> f64 {
        1.0 - self.decay_at(step)
    }

    /// The decay at an optimizer step, from 1. With warm-up, that of timm's `ModelEmaV3` with `use_warmup`: the first
    /// step copies the weights, and the average covers about the last `step^(2/3)` steps until `decay` is reached.
    fn decay_at(&self, step: usize) -> f64 {
        match self.warmup {
            true => self.decay.min(1.0 - (step as f64).powf(-2.0 / 3.0)),
            false => self.decay,
        }
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

#[cfg(test)]
mod tests {
    use tch::{Device, Kind, no_grad};
    use topk_models::architecture;

    use super::*;

    /// Averages of a weight that is 2, 4, 8, … after the steps, from an initial value of 1.
    fn averages(decay: f64, warmup: bool, steps: i32) -> Vec<f64> {
        let network = Network::new(
            architecture("basic-4", [3, 32, 32], 10).unwrap(),
            Device::Cpu,
        );
        let weight = network.tensors()["fc.bias"].shallow_clone();
        let set = |value: f64| no_grad(|| drop(weight.shallow_clone().fill_(value)));
        set(1.0);
        let ema = Ema::new(&network, decay, warmup);
        let step = |step: i32| {
            set(2f64.powi(step));
            ema.update(step as usize).unwrap();
            let average = &ema.network().tensors()["fc.bias"];
            average.to_kind(Kind::Double).double_value(&[0])
        };
        (1..=steps).map(step).collect()
    }

    fn assert_close(found: &[f64], expected: &[f64]) {
        assert_eq!(found.len(), expected.len());
        for (found, expected) in found.iter().zip(expected) {
            assert!(
                (found / expected - 1.0).abs() < 1e-6,
                "{found}, expected {expected}"
            );
        }
    }

    /// The numbers are those of timm 1.0.31: `ModelEmaV3(model, decay, use_warmup=True)` and
    /// `update(model, step)` with steps from 1, as in timm's train.py.
    #[test]
    fn warm_up_gives_the_averages_of_timm() {
        let expected = [
            2.000000000,
            3.259921050,
            5.538713326,
            9.690277694,
            17.320095398,
            31.457264719,
        ];
        assert_close(&averages(0.9999, true, 6), &expected);
        let limited = [
            2.000000000,
            3.259921050,
            5.629960525,
            10.814980262,
            21.407490131,
            42.703745066,
        ];
        assert_close(&averages(0.5, true, 6), &limited);
    }

    #[test]
    fn without_warm_up_the_decay_is_constant() {
        assert_close(&averages(0.75, false, 3), &[1.25, 1.9375, 3.453_125]);
    }
}
