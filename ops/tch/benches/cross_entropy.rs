//! Forward and backward of the losses beside those of libtorch's cross-entropy, in one process and turn by turn:
//! `cargo bench --package topk-ops-tch`, or `cargo xtask bench`, which also keeps the results. Prints medians, in
//! microseconds, and their ratios; `-- --json FILE` writes them.
//!
//! `OMP_NUM_THREADS` sets the number of threads.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tch::{Device, Kind, Reduction, Tensor};
use topk_ops::{
    Criterion, CrossEntropy, LossError, MaxTopkSvm, Psi5, SmoothTopkSvm, TopkHingeAlpha,
    TopkHingeBeta, TruncatedTopkEntropy,
};
use topk_ops_tch::{TensorLoss, loss};

/// Turns of each, after a tenth of that to warm up.
const TURNS: usize = 300;

/// Samples, classes and k of the smooth top-k SVM.
const SHAPES: [(i64, i64, usize); 9] = [
    (256, 1000, 5),
    (256, 1000, 1),
    (256, 1000, 20),
    (256, 100, 5),
    (64, 21843, 5),
    (64, 21843, 20),
    (256, 2, 1),
    (1, 1000, 1),
    (1, 1000, 5),
];

/// The mean loss of scores and labels.
type MeanLoss = Box<dyn Fn(&Tensor, &Tensor) -> Tensor>;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().collect();
    // Cargo passes `--bench`; as a test, it is enough to have built it.
    if !arguments.iter().any(|argument| argument == "--bench") {
        return Ok(());
    }
    let json = arguments.iter().position(|argument| argument == "--json");
    let json: Option<PathBuf> = json.map(|at| arguments[at + 1].clone().into());

    let threads = tch::get_num_threads();
    println!("{threads} threads of libtorch, {TURNS} turns; forward and backward, f32, in us");
    println!(
        "                                            libtorch's   this loss      cross-entropy"
    );
    println!(
        "                                            cross-                      of topk-ops,"
    );
    println!(
        "loss                    batch  classes   k  entropy            ratio            ratio"
    );
    let mut cases = Vec::new();
    for (batch, classes, k) in SHAPES {
        let svm = mean_of(SmoothTopkSvm::new(k, 1.0, 1.0))?;
        cases.push(compare("smooth-topk-svm", (batch, classes, k), &svm));
    }
    for (name, loss) in [
        ("max-topk-svm", mean_of(MaxTopkSvm::new(5, 1.0))?),
        ("topk-hinge-alpha", mean_of(TopkHingeAlpha::new(5, 1.0))?),
        ("topk-hinge-beta", mean_of(TopkHingeBeta::new(5, 1.0))?),
        ("psi5", mean_of(Psi5::new(5, 1.0))?),
        (
            "truncated-topk-entropy",
            mean_of(TruncatedTopkEntropy::new(5))?,
        ),
    ] {
        cases.push(compare(name, (256, 1000, 5), &loss));
    }
    if let Some(path) = json {
        let report = json!({
            "threads": threads,
            "instructions": topk_ops::instructions(),
            "cases": cases,
        });
        std::fs::write(path, format!("{report:#}\n"))?;
    }
    Ok(())
}

fn mean_of(loss_of: Result<impl TensorLoss + 'static, LossError>) -> Result<MeanLoss, LossError> {
    let criterion = Criterion::new(loss_of?);
    Ok(Box::new(move |scores, labels| {
        loss(&criterion, scores, labels).expect("the batch is good")
    }))
}

fn compare(name: &str, (batch, classes, k): (i64, i64, usize), of_loss: &MeanLoss) -> Value {
    tch::manual_seed(0);
    let scores = Tensor::randn([batch, classes], (Kind::Float, Device::Cpu));
    let labels = Tensor::randint(classes, [batch], (Kind::Int64, Device::Cpu));
    let cross_entropy = mean_of(Ok(CrossEntropy)).expect("cross-entropy has no parameters");

    let [theirs, ours, cross_entropy] = turns([
        &mut || {
            step(&scores, |scores| {
                scores.cross_entropy_loss(&labels, None::<&Tensor>, Reduction::Mean, -100, 0.0)
            });
        },
        &mut || step(&scores, |scores| of_loss(scores, &labels)),
        &mut || step(&scores, |scores| cross_entropy(scores, &labels)),
    ]);
    println!(
        "{name:<22} {batch:>6}  {classes:>7}  {k:>2}  {:>10.1}  {:7.1} {:5.2}  {:9.1} {:5.2}",
        micros(theirs.median),
        micros(ours.median),
        ours.median.div_duration_f64(theirs.median),
        micros(cross_entropy.median),
        cross_entropy.median.div_duration_f64(theirs.median),
    );
    json!({
        "loss": name,
        "batch": batch,
        "classes": classes,
        "k": k,
        "libtorch_cross_entropy": theirs.json(),
        "this_loss": ours.json(),
        "cross_entropy": cross_entropy.json(),
    })
}

/// Forward and backward from a leaf of the graph.
fn step(scores: &Tensor, loss: impl Fn(&Tensor) -> Tensor) {
    let scores = scores.detach().set_requires_grad(true);
    loss(&scores).backward();
    assert!(scores.grad().defined());
}

/// Times of one of the entrants.
struct Times {
    median: Duration,
    /// The fastest tenth took no longer: the time without what else the machine does.
    fast: Duration,
}

impl Times {
    fn json(&self) -> Value {
        json!({ "median_us": micros(self.median), "fast_us": micros(self.fast) })
    }
}

/// Times of each, measured in turn.
fn turns<const N: usize>(mut steps: [&mut dyn FnMut(); N]) -> [Times; N] {
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
        Times {
            median: times[TURNS / 2],
            fast: times[TURNS / 10],
        }
    })
}

/// To a hundredth.
fn micros(time: Duration) -> f64 {
    (1e8 * time.as_secs_f64()).round() / 100.0
}
