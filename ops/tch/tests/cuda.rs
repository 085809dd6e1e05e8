//! The losses on a GPU, where there is one, against those on the CPU.

use tch::{Device, Kind, Tensor};
use topk_libtorch::select_device;
use topk_ops::{
    BalancedNoisedTopk, BinaryCrossEntropy, Criterion, CrossEntropy, DfTopk,
    DifferentiableTopkCrossEntropy, LapSum, LdrKl, Lml, LossError, MaxTopkSvm, Psi5, Reduction,
    SmoothTopkSvm, TopkHingeAlpha, TopkHingeBeta, TruncatedTopkEntropy,
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
        Box::new(LapSum::new(k, 0.5)?),
        Box::new(DfTopk::new(k, 0.5)?),
        Box::new(LdrKl::new(0.5, 1.0)?),
        Box::new(BinaryCrossEntropy::mean()),
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

/// The GPU; `None`, after a call of [`skip()`], if there is none.
fn gpu() -> Option<Device> {
    let device = select_device(topk_native::Device::Auto).unwrap();
    if device == Device::Cpu {
        skip(Requirement::Gpu, "no GPU was found");
        return None;
    }
    Some(device)
}

fn relative_error(found: &Tensor, expected: &Tensor) -> f64 {
    let (found, expected) = (found.to_kind(Kind::Double), expected.to_kind(Kind::Double));
    let largest = expected.abs().max().double_value(&[]).max(1.0);
    (found - expected).abs().max().double_value(&[]) / largest
}

#[test]
fn losses_on_a_gpu_are_those_on_the_cpu() {
    let Some(device) = gpu() else { return };
    tch::manual_seed(0);
    // Those of halves are bounds of the rounding of gradients.
    let kinds = [
        (Kind::Double, 1e-11),
        (Kind::Float, 1e-6),
        (Kind::Half, 5e-4),
        (Kind::BFloat16, 4e-3),
    ];
    for (k, samples, classes) in [
        (1, 32, 1000),
        (5, 32, 1000),
        (5, 700, 100),
        (9, 32, 20_000),
        (20, 32, 1000),
        (40, 8, 100_000),
        (150, 8, 1000),
    ] {
        // Operations of libtorch for some others take memory that grows with the square of the classes.
        let has_kernel = |loss: &dyn TensorLoss| {
            let kernel = loss.kernel();
            kernel.is_some_and(|kernel| kernel.supports(classes as usize))
        };
        let family = family(k, classes as usize).unwrap().into_iter();
        for loss in family.filter(|loss| classes <= 1000 || has_kernel(&**loss)) {
            let name = format!("{loss:?}").chars().take(60).collect::<String>();
            let weight = (0..classes).map(|class| 1.0 + 0.001 * class as f64);
            let mut criterion = Criterion::new(loss)
                .with_ignore_index(3)
                .with_weight(weight.collect())
                .unwrap();
            for reduction in [Reduction::None, Reduction::Sum, Reduction::Mean] {
                criterion = criterion.with_reduction(reduction);
                for (kind, bar) in kinds {
                    let scores = Tensor::randn([samples, classes], tch::kind::FLOAT_CPU) * 3;
                    let scores = scores.to_kind(kind);
                    let labels = Tensor::randint(classes, [samples], tch::kind::INT64_CPU);
                    let _ = labels.get(5).fill_(3);
                    let expected = step(&criterion, &scores, &labels);
                    let found = step(
                        &criterion,
                        &scores.to_device(device),
                        &labels.to_device(device),
                    );
                    for (found, expected) in found.iter().zip(&expected) {
                        let error = relative_error(found, expected);
                        assert!(
                            error < bar,
                            "{name} {classes} {kind:?} {reduction:?}: {error}"
                        );
                    }
                }
            }
        }
    }
}

#[test]
fn graphs_on_a_gpu_can_be_kept_and_scores_be_views() {
    let Some(device) = gpu() else { return };
    let loss_of_sample: Box<dyn TensorLoss> = Box::new(SmoothTopkSvm::new(5, 1.0, 1.0).unwrap());
    let criterion = Criterion::new(loss_of_sample);
    let wide = Tensor::randn([64, 200], tch::kind::FLOAT_CPU);
    let labels = Tensor::randint(100, [32], tch::kind::INT64_CPU);
    for view in [
        |wide: &Tensor| wide.slice(0, 0, 64, 2).slice(1, 50, 150, 1),
        |wide: &Tensor| wide.slice(0, 0, 32, 1).slice(1, 0, 200, 2),
    ] {
        let gradients = |device: Device| {
            let wide = wide.to_device(device).set_requires_grad(true);
            let value = loss(&criterion, &view(&wide), &labels.to_device(device)).unwrap();
            let first = Tensor::run_backward(&[&value], &[&wide], true, false).remove(0);
            let scaled = &value * 3.0;
            let second = Tensor::run_backward(&[&scaled], &[&wide], true, false).remove(0);
            let last = Tensor::run_backward(&[&value], &[&wide], false, false).remove(0);
            [first, second, last].map(|gradient| gradient.to_device(Device::Cpu))
        };
        for (found, expected) in gradients(device).iter().zip(gradients(Device::Cpu)) {
            assert!(relative_error(found, &expected) < 1e-6);
        }
    }
}
