//! Gradients that are averaged over ranks.

use tch::{Device, Kind, Tensor};
use topk_distributed::{Group, Reducer, ReducerOptions};
use topk_libtorch::{Algorithm, Optimizer};

use crate::processes::with_ranks;

/// A network of two linear layers, from the same random numbers on all ranks.
struct Network {
    parameters: Vec<Tensor>,
    optimizer: Optimizer,
}

impl Network {
    fn new() -> Self {
        tch::manual_seed(7);
        let shapes: [&[i64]; 4] = [&[64, 32], &[64], &[10, 64], &[10]];
        let parameters = shapes.map(|shape| {
            let values = Tensor::randn(shape, (Kind::Float, Device::Cpu)) * 0.1;
            values.set_requires_grad(true)
        });
        let sgd = Algorithm::Sgd {
            momentum: 0.9,
            nesterov: false,
        };
        let clones = parameters.iter().map(Tensor::shallow_clone).collect();
        Self {
            optimizer: Optimizer::new(clones, sgd, 0.0),
            parameters: parameters.into(),
        }
    }

    fn loss(&self, inputs: &Tensor, targets: &Tensor) -> Tensor {
        let [weight, bias, head, head_bias] = &self.parameters[..] else {
            unreachable!("four parameters");
        };
        let hidden = inputs.linear(weight, Some(bias)).relu();
        hidden
            .linear(head, Some(head_bias))
            .mse_loss(targets, tch::Reduction::Mean)
    }

    /// Makes a step of the optimizer, and removes the gradients.
    fn step(&mut self) {
        self.optimizer.step(0.1, &Tensor::from(0f32)).unwrap();
        self.optimizer.zero_grad().unwrap();
    }

    fn bits(&self) -> Vec<u32> {
        let all: Vec<Tensor> = self
            .parameters
            .iter()
            .map(|p| p.detach().reshape([-1]))
            .collect();
        let values = Vec::<f32>::try_from(Tensor::cat(&all, 0)).unwrap();
        values.into_iter().map(f32::to_bits).collect()
    }

    fn gradients(&self) -> Tensor {
        let all: Vec<Tensor> = self
            .parameters
            .iter()
            .map(|p| p.grad().reshape([-1]))
            .collect();
        Tensor::cat(&all, 0)
    }

    fn names() -> Vec<String> {
        ["fc1.weight", "fc1.bias", "fc2.weight", "fc2.bias"]
            .map(str::to_owned)
            .into()
    }
}

/// Small enough for several buckets.
fn options() -> ReducerOptions {
    ReducerOptions {
        names: Network::names(),
        bucket_bytes: 8 << 10,
        first_bucket_bytes: 2 << 10,
        ..ReducerOptions::default()
    }
}

/// A batch of 12 images, the same on all ranks, and the rows of this rank.
struct Batch {
    inputs: Tensor,
    targets: Tensor,
}

impl Batch {
    fn new(step: i64) -> Self {
        tch::manual_seed(100 + step);
        Self {
            inputs: Tensor::randn([12, 32], (Kind::Float, Device::Cpu)),
            targets: Tensor::randn([12, 10], (Kind::Float, Device::Cpu)),
        }
    }

    fn rows(&self, start: i64, end: i64) -> Self {
        Self {
            inputs: self.inputs.slice(0, start, end, 1),
            targets: self.targets.slice(0, start, end, 1),
        }
    }

    fn part(&self, group: &Group) -> Self {
        let size = 12 / group.world_size() as i64;
        let start = group.rank() as i64 * size;
        self.rows(start, start + size)
    }

    fn loss(&self, network: &Network) -> Tensor {
        network.loss(&self.inputs, &self.targets)
    }
}

fn largest_difference(a: &Tensor, b: &Tensor) -> f64 {
    (a - b).abs().max().double_value(&[])
}

fn reduced_step(reducer: &mut Reducer, loss: impl FnOnce() -> Tensor) {
    reducer.prepare().unwrap();
    reducer.backward(&loss()).unwrap();
}

fn ranks_equal_the_whole_batch(test: &str, world_size: usize) {
    with_ranks(test, world_size, |group| {
        for bucket_view in [true, false] {
            let (mut network, mut alone) = (Network::new(), Network::new());
            let options = ReducerOptions {
                bucket_view,
                ..options()
            };
            let mut reducer = Reducer::new(&group, &network.parameters, options).unwrap();
            for step in 0..20 {
                let batch = Batch::new(step);
                reduced_step(&mut reducer, || batch.part(&group).loss(&network));
                batch.loss(&alone).backward();
                let difference = largest_difference(&network.gradients(), &alone.gradients());
                assert!(difference < 1e-6, "step {step}: {difference}");
                network.step();
                alone.step();
            }
            let stats = reducer.stats().unwrap();
            let bytes: usize = stats.buckets.iter().map(|bucket| bucket.bytes).sum();
            assert_eq!(bytes, 4 * (64 * 32 + 64 + 10 * 64 + 10));
            assert!(stats.rebuilt && stats.buckets.len() > 1, "{stats:?}");
            assert!(stats.backward >= stats.overlap, "{stats:?}");
            assert!(!stats.communication.is_zero(), "{stats:?}");
        }
    });
}

#[test]
fn two_ranks_equal_the_whole_batch() {
    ranks_equal_the_whole_batch("reducer::two_ranks_equal_the_whole_batch", 2);
}

#[test]
fn three_ranks_equal_the_whole_batch() {
    ranks_equal_the_whole_batch("reducer::three_ranks_equal_the_whole_batch", 3);
}

#[test]
fn gradients_accumulate_without_a_message() {
    with_ranks(
        "reducer::gradients_accumulate_without_a_message",
        2,
        |group| {
            let (network, alone) = (Network::new(), Network::new());
            let mut reducer = Reducer::new(&group, &network.parameters, options()).unwrap();
            let whole = Batch::new(0);
            let own = whole.part(&group);
            // Not prepared: local, so the ranks may even differ in how often they do it.
            for _ in 0..=group.rank() {
                reducer.backward(&own.rows(0, 3).loss(&network)).unwrap();
            }
            let local = own.rows(0, 3).loss(&alone);
            local.backward();
            let expected = alone.gradients() * (1.0 + group.rank() as f64);
            assert!(largest_difference(&network.gradients(), &expected) < 1e-6);

            // Two halves of this rank's rows, of which the second is reduced, equal the whole batch.
            for network in [&network, &alone] {
                for parameter in &network.parameters {
                    let _ = parameter.grad().zero_();
                }
            }
            reducer
                .backward(&(own.rows(0, 3).loss(&network) * 0.5))
                .unwrap();
            reduced_step(&mut reducer, || own.rows(3, 6).loss(&network) * 0.5);
            whole.loss(&alone).backward();
            let difference = largest_difference(&network.gradients(), &alone.gradients());
            assert!(difference < 1e-6, "{difference}");
        },
    );
}

#[test]
fn a_rank_without_images_takes_part() {
    with_ranks("reducer::a_rank_without_images_takes_part", 2, |group| {
        let (network, alone) = (Network::new(), Network::new());
        let mut reducer = Reducer::new(&group, &network.parameters, options()).unwrap();
        let batch = Batch::new(0);
        for expected in [0.0, f64::NAN] {
            reducer.prepare().unwrap();
            if group.rank() == 0 {
                reducer.backward(&(batch.loss(&network) * 2.0)).unwrap();
            } else {
                reducer.backward_constant(expected).unwrap();
            }
            if expected.is_nan() {
                assert!(network.gradients().isnan().all().int64_value(&[]) == 1);
            } else {
                batch.loss(&alone).backward();
                assert!(largest_difference(&network.gradients(), &alone.gradients()) < 1e-6);
            }
        }
    });
}

#[test]
fn networks_that_differ_are_refused_on_all_ranks() {
    with_ranks(
        "reducer::networks_that_differ_are_refused_on_all_ranks",
        3,
        |group| {
            let classes = if group.rank() == 2 { 11 } else { 10 };
            let parameters = [
                Tensor::zeros([4, 3], (Kind::Float, Device::Cpu)).set_requires_grad(true),
                Tensor::zeros([classes, 4], (Kind::Float, Device::Cpu)).set_requires_grad(true),
            ];
            let options = ReducerOptions {
                names: vec!["stem".to_owned(), "head.weight".to_owned()],
                ..ReducerOptions::default()
            };
            let error = Reducer::new(&group, &parameters, options).unwrap_err();
            assert_eq!(
                error.to_string(),
                "the parameter head.weight is Float [11, 4] on rank 2, but Float [10, 4] on rank 0: all ranks must train \
             the same network"
            );
            // Not a failed operation: the group still works, and there is nothing to diagnose.
            assert_eq!(group.diagnose(&error), error);
            group.barrier().unwrap();
        },
    );
}

#[test]
fn a_parameter_that_a_loss_does_not_use_needs_the_option() {
    with_ranks(
        "reducer::a_parameter_that_a_loss_does_not_use_needs_the_option",
        2,
        |group| {
            let parameters = || {
                [2.0, 3.0].map(|value: f64| Tensor::from_slice(&[value]).set_requires_grad(true))
            };
            // Only rank 0 uses the second one.
            let loss = |parameters: &[Tensor; 2]| match group.rank() {
                0 => &parameters[0] * &parameters[1],
                _ => &parameters[0] * 1.0,
            };
            let used = parameters();
            let options = ReducerOptions {
                find_unused_parameters: true,
                ..ReducerOptions::default()
            };
            let mut reducer = Reducer::new(&group, &used, options).unwrap();
            for _ in 0..2 {
                reduced_step(&mut reducer, || loss(&used).sum(Kind::Double));
            }
            assert_eq!(used[1].grad().double_value(&[0]), 2.0 * 2.0 / 2.0);
            drop(reducer);

            let unused = [Tensor::from_slice(&[1.0]), Tensor::from_slice(&[1.0])]
                .map(|tensor| tensor.set_requires_grad(true));
            let mut reducer = Reducer::new(&group, &unused, ReducerOptions::default()).unwrap();
            reduced_step(&mut reducer, || unused[0].sum(Kind::Double));
            let error = reducer.prepare().unwrap_err().to_string();
            assert!(
                error.contains("finished reduction in the prior iteration"),
                "{error}"
            );
        },
    );
}

#[test]
fn hooks_end_with_the_reducer() {
    with_ranks("reducer::hooks_end_with_the_reducer", 2, |group| {
        let (network, alone) = (Network::new(), Network::new());
        let mut reducer = Reducer::new(&group, &network.parameters, options()).unwrap();
        reducer.prepare().unwrap();
        drop(reducer);
        let own = Batch::new(0).part(&group);
        own.loss(&network).backward();
        own.loss(&alone).backward();
        assert_eq!(network.gradients(), alone.gradients());
        // A second reducer of the same parameters.
        let mut reducer = Reducer::new(&group, &network.parameters, options()).unwrap();
        reduced_step(&mut reducer, || own.loss(&network));
    });
}

/// Trains this many steps with a new reducer, as after a restart.
fn train(group: &Group, network: &mut Network, steps: std::ops::Range<i64>) {
    let mut reducer = Reducer::new(group, &network.parameters, options()).unwrap();
    reducer.warm_up().unwrap();
    for step in steps {
        let batch = Batch::new(step);
        reduced_step(&mut reducer, || batch.part(group).loss(network));
        network.step();
    }
}

#[test]
fn a_restart_after_warming_up_gives_the_same_bits() {
    with_ranks(
        "reducer::a_restart_after_warming_up_gives_the_same_bits",
        3,
        |group| {
            let mut undisturbed = Network::new();
            train(&group, &mut undisturbed, 0..8);
            let mut restarted = Network::new();
            let before = restarted.bits();
            let mut reducer = Reducer::new(&group, &restarted.parameters, options()).unwrap();
            reducer.warm_up().unwrap();
            assert_eq!(restarted.bits(), before);
            assert!(
                restarted
                    .parameters
                    .iter()
                    .all(|parameter| !parameter.grad().defined())
            );
            assert!(reducer.stats().unwrap().rebuilt);
            drop(reducer);
            for steps in [0..3, 3..4, 4..8] {
                train(&group, &mut restarted, steps);
            }
            assert_eq!(restarted.bits(), undisturbed.bits());
        },
    );
}
