//! Trains a linear classifier on made-up data with the smooth top-5 SVM.

use std::error::Error;

use tch::nn::{Module, OptimizerConfig};
use tch::{Device, Kind, Tensor, nn};
use topk_ops::{Criterion, SmoothTopkSvm};

const SAMPLES: i64 = 512;
const FEATURES: i64 = 64;
const CLASSES: i64 = 100;
const K: usize = 5;

fn main() -> Result<(), Box<dyn Error>> {
    tch::manual_seed(0);
    let device = Device::cuda_if_available();
    let images = Tensor::randn([SAMPLES, FEATURES], (Kind::Float, device));
    let labels = Tensor::randint(CLASSES, [SAMPLES], (Kind::Int64, device));

    let variables = nn::VarStore::new(device);
    let network = nn::linear(variables.root(), FEATURES, CLASSES, Default::default());
    let mut optimizer = nn::Sgd {
        momentum: 0.9,
        ..Default::default()
    }
    .build(&variables, 1.0)?;

    // k, tau, alpha. The mean over the batch, as PyTorch's losses compute by default.
    let criterion = Criterion::new(SmoothTopkSvm::new(K, 1.0, 1.0)?);
    for step in 0..=100 {
        let scores = network.forward(&images);
        let loss = topk_ops_tch::loss(&criterion, &scores, &labels)?;
        optimizer.zero_grad();
        loss.backward();
        optimizer.step();
        if step % 20 == 0 {
            let loss = loss.double_value(&[]);
            let accuracy = top_k_accuracy(&scores, &labels);
            println!("step {step:3}  loss {loss:.4}  top-{K} {accuracy:5.1} %");
        }
    }
    Ok(())
}

/// The share of samples in % whose label is among the `K` highest scores.
fn top_k_accuracy(scores: &Tensor, labels: &Tensor) -> f64 {
    let (_, top) = scores.topk(K as i64, 1, true, true);
    let correct = top.eq_tensor(&labels.unsqueeze(1)).sum(Kind::Int64);
    100.0 * correct.double_value(&[]) / SAMPLES as f64
}
