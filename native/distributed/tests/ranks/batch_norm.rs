//! Synchronised batch normalisation against libtorch's over the whole batch.

use tch::{Device, Kind, Tensor};
use topk_distributed::{BatchNorm, Op, sync_batch_norm};

use crate::processes::with_ranks;

const MOMENTUM: f64 = 0.1;
const EPS: f64 = 1e-5;

/// Weight, bias, running mean, and running variance of three channels.
fn parameters() -> [Tensor; 4] {
    let weight = Tensor::from_slice(&[0.5f32, 1.0, 2.0]).set_requires_grad(true);
    let bias = Tensor::from_slice(&[0.1f32, -0.2, 0.3]).set_requires_grad(true);
    let mean = Tensor::from_slice(&[0.5f32, 0.0, -1.0]);
    let var = Tensor::from_slice(&[1.0f32, 2.0, 0.5]);
    [weight, bias, mean, var]
}

fn distance(one: &Tensor, other: &Tensor) -> f64 {
    assert_eq!(one.size(), other.size());
    if one.numel() == 0 {
        return 0.0;
    }
    let difference = one.to_kind(Kind::Double) - other.to_kind(Kind::Double);
    difference.abs().max().double_value(&[])
}

#[test]
fn statistics_are_those_of_the_images_of_all_ranks() {
    with_ranks(
        "batch_norm::statistics_are_those_of_the_images_of_all_ranks",
        3,
        |group| {
            tch::manual_seed(7);
            // Images of each rank: the last one has none.
            let (start, count) = [(0, 3), (3, 2), (5, 0)][group.rank()];
            // Channels far from zero lose precision in one-pass variances.
            let options = (Kind::Float, Device::Cpu);
            let shift = Tensor::from_slice(&[0f32, 100.0, -3.0]).view([1, 3, 1, 1]);
            let images = Tensor::randn([5, 3, 4, 5], options) * 2.0 + shift;
            // The loss is a weighted sum of all normalised values.
            let factors = Tensor::randn([5, 3, 4, 5], options);
            for (kind, tolerance) in [(Kind::Float, 3e-6), (Kind::BFloat16, 0.02)] {
                let [weight, bias, mean, var] = parameters();
                let whole = images.to_kind(kind).copy().set_requires_grad(true);
                let [w, b, m, v] = [&weight, &bias, &mean, &var].map(Some);
                let expected = whole.batch_norm(w, b, m, v, true, MOMENTUM, EPS, true);
                (&expected * &factors).sum(Kind::Float).backward();

                let [own_weight, own_bias, own_mean, own_var] = parameters();
                let part = |tensor: &Tensor| tensor.detach().narrow(0, start, count).copy();
                let own = part(&whole).set_requires_grad(true);
                let norm = BatchNorm {
                    weight: &own_weight,
                    bias: &own_bias,
                    running_mean: &own_mean,
                    running_var: &own_var,
                    momentum: MOMENTUM,
                    eps: EPS,
                };
                let found = sync_batch_norm(&group, &own, norm).unwrap();
                (&found * part(&factors)).sum(Kind::Float).backward();
                assert_eq!(found.kind(), kind);
                assert_eq!(own.grad().kind(), kind);
                let (weight_grad, bias_grad) = (own_weight.grad(), own_bias.grad());
                group
                    .all_reduce(&[&weight_grad, &bias_grad], Op::Sum)
                    .unwrap();
                for (what, found, expected, scale) in [
                    ("values", &found, &part(&expected), 1.0),
                    ("gradient of values", &own.grad(), &part(&whole.grad()), 1.0),
                    ("gradient of weight", &weight_grad, &weight.grad(), 20.0),
                    ("gradient of bias", &bias_grad, &bias.grad(), 20.0),
                    ("running mean", &own_mean, &mean, 1.0),
                    ("running variance", &own_var, &var, 1.0),
                ] {
                    let distance = distance(found, expected);
                    assert!(
                        distance <= tolerance * scale,
                        "{kind:?}, {what}: {distance:e}"
                    );
                }
                assert!(distance(&own_mean, &parameters()[2]) > 0.1);
            }
        },
    );
}
