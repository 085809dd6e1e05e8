//! The smooth top-k SVM with its gradient in ONNX Runtime, as the native operator and as the portable
//! function, beside the same called from Rust: in one process turn by turn, and each alone. Prints
//! medians, in microseconds, and their ratios to Rust's; `-- --json FILE` writes them.
//!
//! ONNX Runtime's threads wait for work spinning. They would take time from rayon's when they have their turns
//! beside each other, so those sessions stop that at the end of each run.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use ort::environment::Environment;
use ort::session::{IoBinding, Session};
use ort::value::Tensor;
use prost::Message;
use serde_json::{Value, json};
use topk_ops::{Criterion, Reduction, SmoothTopkSvm};
use topk_ops_onnx::{Form, OnnxLoss};
use topk_reference::random_batch;

/// Turns of each, after a tenth of that to warm up.
const TURNS: usize = 500;

/// Threads of rayon, and of each session.
const THREADS: usize = 2;

const SAMPLES: usize = 256;

const CLASSES: usize = 1000;

fn main() {
    // Cargo passes `--bench`; as a test, it is enough to have built it.
    let arguments: Vec<String> = std::env::args().collect();
    if !arguments.iter().any(|argument| argument == "--bench") {
        return;
    }
    let json = arguments.iter().position(|argument| argument == "--json");
    let json: Option<PathBuf> = json.map(|at| arguments[at + 1].clone().into());

    rayon::ThreadPoolBuilder::new()
        .num_threads(THREADS)
        .build_global()
        .expect("the pool is made once");
    println!(
        "loss and gradient of {SAMPLES} x {CLASSES} f32 on {THREADS} threads, {TURNS} turns, in us"
    );
    let environment = environment().expect("ONNX Runtime is there");
    println!("   k  contender                 turn by turn            alone");
    let cases: Vec<Value> = [1, 5, 20]
        .into_iter()
        .map(|k| compare(&environment, k))
        .collect();
    if let Some(path) = json {
        let report =
            json!({ "threads": THREADS, "samples": SAMPLES, "classes": CLASSES, "cases": cases });
        std::fs::write(path, format!("{report:#}\n")).expect("the file can be written");
    }
}

fn environment() -> ort::Result<Environment> {
    let path = topk_native::onnxruntime::locate().map_err(ort::Error::wrap)?;
    let builder = ort::init_from(path).map_err(ort::Error::wrap)?;
    builder.with_telemetry(false).build()
}

/// Prints the times of all, and returns them.
fn compare(environment: &Environment, k: usize) -> Value {
    let all: Vec<_> = (0..NAMES.len())
        .map(|i| contender(environment, k, i, false))
        .collect();
    let in_turn = medians(all);
    // Each with its own session, which ends with it.
    let alone: Vec<Duration> = (0..NAMES.len())
        .flat_map(|i| medians(vec![contender(environment, k, i, true)]))
        .collect();
    for (i, name) in NAMES.iter().enumerate() {
        let with_ratio = |times: &[Duration]| {
            let ratio = times[i].as_secs_f64() / times[0].as_secs_f64();
            format!("{:7.1} {ratio:5.2}", 1e6 * times[i].as_secs_f64())
        };
        println!(
            "{k:>4}  {name:<22} {}   {}",
            with_ratio(&in_turn),
            with_ratio(&alone)
        );
    }
    let both = |i: usize| json!({ "in_turn_us": micros(in_turn[i]), "alone_us": micros(alone[i]) });
    json!({
        "k": k,
        "criterion": both(0),
        "operator_new_outputs": both(1),
        "operator_own_outputs": both(2),
        "portable_function": both(3),
    })
}

/// What is timed.
const NAMES: [&str; 4] = [
    "Criterion",
    "operator, new outputs",
    "operator, own outputs",
    "portable function",
];

/// The computation of the contender with this index. ONNX Runtime's threads wait `spinning`, as by default, or stop that at
/// the end of a run.
fn contender(
    environment: &Environment,
    k: usize,
    index: usize,
    spinning: bool,
) -> Box<dyn FnMut()> {
    let (scores, labels) = random_batch::<f32>(0, SAMPLES, CLASSES, 1.0);
    if index == 0 {
        let svm = SmoothTopkSvm::new(k, 1.0, 1.0).expect("the parameters are good");
        let criterion = Criterion::new(svm);
        let (mut mean, mut grad) = ([0.0], vec![0.0; scores.len()]);
        return Box::new(move || {
            criterion
                .forward_backward(&scores, &labels, &mut mean, &mut grad)
                .expect("the batch is good");
        });
    }
    let scores = Tensor::from_array(([SAMPLES, CLASSES], scores)).expect("a tensor");
    let labels = Tensor::from_array(([SAMPLES], labels)).expect("a tensor");
    let (is_native, has_own_outputs) = [(true, false), (true, true), (false, false)][index - 1];
    let mut session = session(environment, k, is_native, spinning);
    if has_own_outputs {
        let mut binding = session.create_binding().expect("a binding");
        bind(&mut binding, &scores, &labels);
        Box::new(move || {
            session.run_binding(&binding).expect("the batch is good");
        })
    } else {
        Box::new(move || {
            let inputs = ort::inputs!["scores" => &scores, "labels" => &labels];
            session.run(inputs).expect("the batch is good");
        })
    }
}

/// To a hundredth.
fn micros(time: Duration) -> f64 {
    (1e8 * time.as_secs_f64()).round() / 100.0
}

/// A session of the loss alone; with the native operators if they are `registered`.
fn session(environment: &Environment, k: usize, registered: bool, spinning: bool) -> Session {
    let loss = OnnxLoss {
        loss: SmoothTopkSvm::new(k, 1.0, 1.0)
            .expect("k is positive")
            .into(),
        reduction: Reduction::Mean,
        ignore_index: None,
    };
    let model = loss.model(Form::Function, topk_onnx::OPSET, CLASSES, false, false);
    let model = model.expect("the parameters are good").encode_to_vec();
    let open = || -> ort::Result<Session> {
        let mut builder = Session::builder(environment)?;
        if registered {
            builder = topk_ops_ort::register(builder)?;
        }
        builder
            .with_intra_threads(THREADS)?
            .with_config_entry(
                "session.force_spinning_stop",
                if spinning { "0" } else { "1" },
            )?
            .commit_from_memory(&model)
    };
    open().expect("ONNX Runtime takes the model")
}

/// Binds the inputs, and memory for the outputs.
fn bind(binding: &mut IoBinding, scores: &Tensor<f32>, labels: &Tensor<i64>) {
    let mut bind = || -> ort::Result<()> {
        binding.bind_input("scores", scores)?;
        binding.bind_input("labels", labels)?;
        let loss = Tensor::<f32>::new(&Default::default(), [1usize])?;
        binding.bind_output("loss", loss)?;
        let grad = Tensor::<f32>::new(&Default::default(), [SAMPLES, CLASSES])?;
        binding.bind_output("grad", grad)?;
        let prob = Tensor::<f32>::new(&Default::default(), [SAMPLES])?;
        binding.bind_output("prob", prob)
    };
    bind().expect("ONNX Runtime takes the tensors");
}

/// Medians of the times, each measured in turn.
fn medians(mut contenders: Vec<Box<dyn FnMut()>>) -> Vec<Duration> {
    let mut times = vec![Vec::new(); contenders.len()];
    for turn in 0..TURNS + TURNS / 10 {
        for (step, times) in contenders.iter_mut().zip(&mut times) {
            let start = Instant::now();
            step();
            if turn >= TURNS / 10 {
                times.push(start.elapsed());
            }
        }
    }
    let median = |mut times: Vec<Duration>| {
        times.sort();
        times[TURNS / 2]
    };
    times.into_iter().map(median).collect()
}
