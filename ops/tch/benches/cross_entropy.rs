//! Forward and backward of the losses beside those of libtorch's cross-entropy, in one process and
//! turn by turn. Prints medians, in microseconds, and their ratios.
//!
//! `RAYON_NUM_THREADS` and `OMP_NUM_THREADS` set the numbers of threads.

use std::time::{Duration, Instant};

use tch::{Device, Kind, Reduction, Tensor};
use topk_ops::{Criterion, CrossEntropy, Loss, SmoothTopkSvm};
use topk_ops_tch::{TensorLoss, loss};

/// Turns of each, after a tenth of that to warm up.
const TURNS: usize = 300;

fn main() {
    // Cargo passes `--bench`; as a test, it is enough to have built it.
    if !std::env::args().any(|arg| arg == "--bench") {
        return;
    }
    println!(
        "{} threads of libtorch, {} turns; forward and backward, f32, in us",
        tch::get_num_threads(),
        TURNS
    );
    println!("batch  classes   k  libtorch's  slices        tensors       cross-entropy");
    println!("                      cross-    of the loss   of the loss   of topk-ops,");
    println!("                     entropy         ratio         ratio    tensors, ratio");
    for (batch, classes, k) in [
        (256, 1000, 5),
        (256, 1000, 1),
        (256, 1000, 20),
        (256, 100, 5),
        (64, 21843, 5),
        (64, 21843, 20),
        (256, 2, 1),
        (1, 1000, 5),
    ] {
        compare(batch, classes, k);
    }
}

fn compare(batch: i64, classes: i64, k: usize) {
    tch::manual_seed(0);
    let scores = Tensor::randn([batch, classes], (Kind::Float, Device::Cpu));
    let labels = Tensor::randint(classes, [batch], (Kind::Int64, Device::Cpu));
    let svm = SmoothTopkSvm::new(k, 1.0, 1.0).expect("the parameters are good");

    let slice: Vec<f32> = Vec::try_from(scores.view(-1)).expect("scores are f32");
    let slice_labels: Vec<i64> = Vec::try_from(&labels).expect("labels are i64");
    let mut values = vec![0.0; slice_labels.len()];
    let mut grad = vec![0.0; slice.len()];

    let [theirs, slices, tensors, ours] = turns([
        &mut || {
            tensor_step(&scores, |scores| {
                scores.cross_entropy_loss(&labels, None::<&Tensor>, Reduction::Mean, -100, 0.0)
            });
        },
        &mut || {
            svm.forward_backward(&slice, &slice_labels, &mut values, &mut grad)
                .expect("the batch is good");
        },
        &mut || tensor_step(&scores, |scores| mean(svm, scores, &labels)),
        &mut || tensor_step(&scores, |scores| mean(CrossEntropy, scores, &labels)),
    ]);
    let with_ratio = |time: Duration| {
        format!(
            "{:7.1} {:5.2}",
            micros(time),
            time.as_secs_f64() / theirs.as_secs_f64()
        )
    };
    println!(
        "{batch:>5}  {classes:>7}  {k:>2}  {:>10.1}  {}  {}  {}",
        micros(theirs),
        with_ratio(slices),
        with_ratio(tensors),
        with_ratio(ours)
    );
}

fn mean(loss_of: impl TensorLoss, scores: &Tensor, labels: &Tensor) -> Tensor {
    loss(&Criterion::new(loss_of), scores, labels).expect("the batch is good")
}

/// Forward and backward from a leaf of the graph.
fn tensor_step(scores: &Tensor, loss: impl Fn(&Tensor) -> Tensor) {
    let scores = scores.detach().set_requires_grad(true);
    loss(&scores).backward();
    assert!(scores.grad().defined());
}

/// Medians of the times, each measured in turn.
fn turns<const N: usize>(mut steps: [&mut dyn FnMut(); N]) -> [Duration; N] {
    let mut times = [const { Vec::new() }; N];
    for turn in 0..TURNS + TURNS / 10 {
        for (step, times) in steps.iter_mut().zip(&mut times) {
            let start = Instant::now();
            step();
            if turn >= TURNS / 10 {
                times.push(start.elapsed());
            }
        }
    }
    times.map(|mut times| {
        times.sort();
        times[TURNS / 2]
    })
}

fn micros(time: Duration) -> f64 {
    1e6 * time.as_secs_f64()
}
