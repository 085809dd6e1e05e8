//! The smooth top-k SVM with its gradient as an operator in ONNX Runtime beside the same called from
//! Rust: in one process turn by turn, and each alone. Prints medians, in microseconds, and their ratios.
//!
//! ONNX Runtime's threads wait for work spinning, and take time from rayon's when they have their turns
//! beside each other, so the sessions stop that at the end of each run.

use std::time::{Duration, Instant};

use ort::environment::Environment;
use ort::session::{IoBinding, Session};
use ort::value::Tensor;
use prost::Message;
use topk_onnx::proto::{
    DimensionProto, DimensionValue, GraphProto, NodeProto, OperatorSetIdProto, TensorShapeProto,
    TensorTypeProto, TypeProto, ValueInfoProto,
};
use topk_onnx::{DOMAIN, DOMAIN_VERSION, LossOperator, attribute, model};
use topk_ops::{Criterion, SmoothTopkSvm};
use topk_perf::random_batch;

/// Turns of each, after a tenth of that to warm up.
const TURNS: usize = 500;

/// Threads of rayon, and of each session.
const THREADS: usize = 2;

const SAMPLES: usize = 256;

const CLASSES: usize = 1000;

fn main() {
    // Cargo passes `--bench`; as a test, it is enough to have built it.
    if !std::env::args().any(|arg| arg == "--bench") {
        return;
    }
    rayon::ThreadPoolBuilder::new()
        .num_threads(THREADS)
        .build_global()
        .expect("the pool is made once");
    println!(
        "loss and gradient of {SAMPLES} x {CLASSES} f32 on {THREADS} threads, {TURNS} turns, in us"
    );
    let environment = environment().expect("ONNX Runtime is there");
    println!("   k  contender                 turn by turn            alone");
    for k in [1, 5, 20] {
        compare(&environment, k);
    }
}

/// What is timed: its name, and one computation.
type Contender<'a> = (&'static str, &'a mut dyn FnMut());

fn environment() -> ort::Result<Environment> {
    let path = topk_native::onnxruntime::locate().map_err(ort::Error::wrap)?;
    let builder = ort::init_from(path).map_err(ort::Error::wrap)?;
    builder.with_telemetry(false).build()
}

fn compare(environment: &Environment, k: usize) {
    let (scores, labels) = random_batch::<f32>(0, SAMPLES, CLASSES, 1.0);

    let svm = SmoothTopkSvm::new(k, 1.0, 1.0).expect("the parameters are good");
    let criterion = Criterion::new(svm);
    let (mut mean, mut grad) = ([0.0], vec![0.0; scores.len()]);

    let shape = [SAMPLES, CLASSES];
    let score_tensor = Tensor::from_array((shape, scores.clone())).expect("a tensor");
    let label_tensor = Tensor::from_array(([SAMPLES], labels.clone())).expect("a tensor");
    let mut plain = session(environment, k);
    let mut bound = session(environment, k);
    let mut binding = bound.create_binding().expect("a binding");
    bind(&mut binding, &score_tensor, &label_tensor);

    let mut contenders: [Contender<'_>; 3] = [
        ("Criterion", &mut || {
            criterion
                .forward_backward(&scores, &labels, &mut mean, &mut grad)
                .expect("the batch is good");
        }),
        ("operator, new outputs", &mut || {
            plain
                .run(ort::inputs![&score_tensor, &label_tensor])
                .expect("the batch is good");
        }),
        ("operator, own outputs", &mut || {
            bound.run_binding(&binding).expect("the batch is good");
        }),
    ];
    let in_turn = medians(&mut contenders);
    let alone: Vec<Duration> = contenders
        .iter_mut()
        .flat_map(|contender| medians(std::slice::from_mut(contender)))
        .collect();
    for (i, (name, _)) in contenders.iter().enumerate() {
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
}

/// A session with the operator alone.
fn session(environment: &Environment, k: usize) -> Session {
    let value = |name: &str, elem_type, dims: &[usize]| ValueInfoProto {
        name: name.to_owned(),
        r#type: Some(TypeProto {
            tensor_type: Some(TensorTypeProto {
                elem_type,
                shape: Some(TensorShapeProto {
                    dim: dims
                        .iter()
                        .map(|&dim| DimensionProto {
                            value: Some(DimensionValue::DimValue(dim as i64)),
                        })
                        .collect(),
                }),
            }),
        }),
        doc_string: String::new(),
    };
    let (float, int64) = (1, 7);
    let graph = GraphProto {
        name: "loss".to_owned(),
        input: vec![
            value("scores", float, &[SAMPLES, CLASSES]),
            value("labels", int64, &[SAMPLES]),
        ],
        output: vec![
            value("loss", float, &[1]),
            value("grad", float, &[SAMPLES, CLASSES]),
        ],
        node: vec![NodeProto {
            input: vec!["scores".to_owned(), "labels".to_owned()],
            output: vec!["loss".to_owned(), "grad".to_owned()],
            name: "loss".to_owned(),
            op_type: LossOperator::SmoothTopkSvm.name().to_owned(),
            attribute: vec![attribute::int("k", k as i64)],
            domain: DOMAIN.to_owned(),
        }],
        ..Default::default()
    };
    let mut model = model(graph, "", []);
    model.opset_import.push(OperatorSetIdProto {
        domain: DOMAIN.to_owned(),
        version: DOMAIN_VERSION,
    });
    let open = || -> ort::Result<Session> {
        topk_ops_ort::register(Session::builder(environment)?)?
            .with_intra_threads(THREADS)?
            .with_config_entry("session.force_spinning_stop", "1")?
            .commit_from_memory(&model.encode_to_vec())
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
        binding.bind_output("grad", grad)
    };
    bind().expect("ONNX Runtime takes the tensors");
}

/// Medians of the times, each measured in turn.
fn medians(contenders: &mut [Contender<'_>]) -> Vec<Duration> {
    let mut times = vec![Vec::new(); contenders.len()];
    for turn in 0..TURNS + TURNS / 10 {
        for ((_, step), times) in contenders.iter_mut().zip(&mut times) {
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
