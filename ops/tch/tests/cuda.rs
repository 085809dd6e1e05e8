//! The losses on a GPU, where there is one, against those on the CPU.

use tch::{Device, Kind, Tensor};
use topk_libtorch::select_device;
use topk_ops::{
    BalancedNoisedTopk, Criterion, CrossEntropy, DifferentiableTopkCrossEntropy, Lml, LossError,
    MaxTopkSvm, Psi5, Reduction, SmoothTopkSvm, TopkHingeAlpha, TopkHingeBeta,
    TruncatedTopkEntropy,
};
use topk_ops_tch::{TensorLoss, loss};
use topk_testing::{Requirement, skip};

fn family(k: usize, classes: usize) -> Result<Vec<Box<dyn TensorLoss>>, LossError> {
    let margins = (0..classes).map(|class| 0.01 * class as f64).collect();
    Ok(vec![
        Box::new(CrossEntropy),
        Box::new(SmoothTopkSvm::new(k, 1.0, 1.0)?),
        Box::new(SmoothTopkSvm::new(k, 1e-3, 1.0)?),
        Box::new(MaxTopkSvm::new(k, 1.0)?),
        Box::new(TopkHingeAlpha::new(k, 1.0)?),
        Box::new(TopkHingeBeta::new(k, 1.0)?),
        Box::new(TruncatedTopkEntropy::new(k)?),
        Box::new(Psi5::new(k, 1.0)?),
        Box::new(BalancedNoisedTopk::new(k, 0.5, 3, 1.0, 7)?.with_margins(margins)?),
        Box::new(Lml::new(k)?),
        Box::new(DifferentiableTopkCrossEntropy::new(
            vec![1.0 / k as f64; k],
            2.0,
        )?),
    ])
}

/// Loss and gradient, on the CPU.
fn step(
    criterion: &Criterion<Box<dyn TensorLoss>>,
    scores: &Tensor,
    labels: &Tensor,
) -> [Tensor; 2] {
    let scores = scores.detach().set_requires_grad(true);
    let values = loss(criterion, &scores, labels).unwrap();
    assert_eq!(values.device(), scores.device());
    values.sum(Kind::Double).backward();
    [values.detach(), scores.grad()].map(|result| result.to_device(Device::Cpu))
}

#[test]
fn losses_on_a_gpu_are_those_on_the_cpu() {
    let device = select_device(topk_native::Device::Auto).unwrap();
    if device == Device::Cpu {
        return skip(Requirement::Gpu, "no GPU was found");
    }
    let (samples, classes) = (32, 1000);
    tch::manual_seed(0);
    for k in [1, 5, 20] {
        for loss in family(k, classes as usize).unwrap() {
            let name = format!("{loss:?}").chars().take(60).collect::<String>();
            let weight = (0..classes).map(|class| 1.0 + 0.001 * class as f64);
            let criterion = Criterion::new(loss)
                .with_reduction(Reduction::None)
                .with_ignore_index(3)
                .with_weight(weight.collect())
                .unwrap();
            for (kind, bar) in [(Kind::Double, 1e-11), (Kind::Float, 1e-6)] {
                let scores = Tensor::randn([samples, classes], (kind, Device::Cpu)) * 3;
                let labels = Tensor::randint(classes, [samples], (Kind::Int64, Device::Cpu));
                let _ = labels.get(5).fill_(3);
                let expected = step(&criterion, &scores, &labels);
                let found = step(
                    &criterion,
                    &scores.to_device(device),
                    &labels.to_device(device),
                );
                for (found, expected) in found.iter().zip(&expected) {
                    let largest = expected.abs().max().double_value(&[]).max(1.0);
                    let error = (found - expected).abs().max().double_value(&[]) / largest;
                    assert!(error < bar, "{name} {kind:?}: {error}");
                }
            }
        }
    }
}
