//! Time of the losses, forward and with gradient: `cargo bench --package topk-perf`.

use std::hint::black_box;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use topk_ops::{CrossEntropy, Loss, SmoothTopkSvm};
use topk_perf::Algorithm;
use topk_reference::random_batch;

/// Samples, classes and k.
const SHAPES: [(usize, usize, usize); 5] = [
    (256, 1000, 5),
    (256, 1000, 20),
    (256, 21843, 5),
    (256, 2, 1),
    (1, 1000, 5),
];

fn svm(k: usize) -> SmoothTopkSvm {
    SmoothTopkSvm::new(k, 1.0, 1.0).expect("parameters are valid")
}

/// Times `compute` without and with a gradient.
fn bench(
    criterion: &mut Criterion,
    name: &str,
    (samples, classes): (usize, usize),
    suffix: &str,
    compute: impl Fn(&[f32], &[i64], &mut [f32], Option<&mut [f32]>),
) {
    let (scores, labels) = random_batch::<f32>(0, samples, classes, 1.0);
    let (mut values, mut grad) = (vec![0.0; samples], vec![0.0; samples * classes]);
    let mut group = criterion.benchmark_group(name);
    group.throughput(Throughput::Elements(samples as u64));
    let shape = format!("{samples}x{classes}{suffix}");
    group.bench_function(BenchmarkId::new("forward", &shape), |bencher| {
        bencher.iter(|| compute(black_box(&scores), &labels, &mut values, None));
    });
    group.bench_function(BenchmarkId::new("forward+backward", &shape), |bencher| {
        bencher.iter(|| compute(black_box(&scores), &labels, &mut values, Some(&mut grad)));
    });
    group.finish();
}

fn algorithm(
    criterion: &mut Criterion,
    algorithm: Algorithm,
    (samples, classes, k): (usize, usize, usize),
) {
    let svm = svm(k);
    bench(
        criterion,
        algorithm.name(),
        (samples, classes),
        &format!(" k={k}"),
        |scores, labels, values, grad| {
            algorithm
                .compute(&svm, scores, labels, values, grad)
                .expect("the batch is valid");
        },
    );
}

fn fused(criterion: &mut Criterion) {
    for shape in SHAPES {
        algorithm(criterion, Algorithm::Fused, shape);
    }
}

fn cross_entropy(criterion: &mut Criterion) {
    let mut shapes = SHAPES
        .map(|(samples, classes, _)| (samples, classes))
        .to_vec();
    shapes.dedup();
    for shape in shapes {
        bench(
            criterion,
            "cross-entropy",
            shape,
            "",
            |scores, labels, values, grad| {
                match grad {
                    None => CrossEntropy.forward(scores, labels, values),
                    Some(grad) => CrossEntropy.forward_backward(scores, labels, values, grad),
                }
                .expect("the batch is valid");
            },
        );
    }
}

fn references(criterion: &mut Criterion) {
    for reference in [
        Algorithm::Summation,
        Algorithm::LogSummation,
        Algorithm::DivideAndConquer,
    ] {
        algorithm(criterion, reference, SHAPES[0]);
    }
}

criterion_group! {
    name = losses;
    config = Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_secs(1))
        .measurement_time(Duration::from_secs(2));
    targets = fused, cross_entropy, references
}
criterion_main!(losses);
