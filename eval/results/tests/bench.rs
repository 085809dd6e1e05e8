//! Measurements of speed: statistics compared with NumPy's, and their table, CSV and page.

use std::collections::BTreeMap;

use serde::Deserialize;
use topk_results::bench::{
    BENCH_FORMAT, Bench, BenchAccuracy, BenchImages, BenchModel, BenchSettings, LatencyStatistics,
    Measurement, MemoryGrowth, NodeTime, OperatorTime, Preparation, Profile, TimedRuns,
};
use topk_results::{Environment, PluginInfo, Results};
use unicode_width::UnicodeWidthStr;

/// Times of runs, and NumPy's statistics.
#[derive(Deserialize)]
struct Case {
    seconds: Vec<f64>,
    #[serde(flatten)]
    expected: LatencyStatistics,
}

#[test]
fn statistics_are_those_of_numpy() {
    let cases: Vec<Case> = serde_json::from_str(include_str!("data/latencies.json")).unwrap();
    assert_eq!(cases.len(), 12);
    for Case { seconds, expected } in cases {
        let found = LatencyStatistics::new(&seconds);
        let runs = seconds.len();
        // Percentiles to the last bit; sums are in another order.
        let exact = |of: &LatencyStatistics| [of.min, of.p50, of.p90, of.p99, of.max];
        assert_eq!(exact(&found), exact(&expected), "{runs} runs");
        let close = |a: f64, b: f64| (a - b).abs() <= 1e-15 + 1e-12 * b.abs();
        assert!(close(found.mean, expected.mean), "{runs} runs");
        assert!(close(found.std, expected.std), "{runs} runs");
    }
}

fn runs(batch_size: usize, seconds: f64) -> TimedRuns {
    let times: Vec<f64> = (0..200)
        .map(|at| seconds * (1.0 + f64::from(at) / 1000.0))
        .collect();
    TimedRuns::new(batch_size, &times)
}

fn measurement(threads: usize, seconds: f64) -> Measurement {
    let latency = runs(1, seconds);
    Measurement {
        provider: "cpu".to_owned(),
        device: "cpu".to_owned(),
        plugin: None,
        provider_options: BTreeMap::new(),
        nodes: BTreeMap::from([("CPUExecutionProvider".to_owned(), 49)]),
        threads,
        session_seconds: 0.25,
        first_run_seconds: 0.5,
        latency,
        throughput: vec![latency, runs(8, 5.0 * seconds), runs(32, 24.0 * seconds)],
        memory: MemoryGrowth {
            resident_bytes: Some(300 << 20),
            gpu_bytes: None,
        },
        profile: None,
    }
}

fn profile() -> Profile {
    Profile {
        batch_size: 1,
        runs: 20,
        run_seconds: 0.01,
        node_seconds: 0.008,
        operators: vec![OperatorTime {
            operator: "Conv".to_owned(),
            provider: "CPUExecutionProvider".to_owned(),
            nodes: 20,
            seconds: 0.006,
            share: 0.75,
        }],
        nodes: vec![NodeTime {
            name: "/layer1/conv1/Conv <first>".to_owned(),
            operator: "Conv".to_owned(),
            provider: "CPUExecutionProvider".to_owned(),
            seconds: 0.002,
            share: 0.25,
        }],
    }
}

fn bench() -> Bench {
    let model = |path: &str, number: usize, seconds: f64| BenchModel {
        path: path.to_owned(),
        sha256: format!("{number:064x}"),
        bytes: 5_000_000,
        precision: "float32".to_owned(),
        input: "float32".to_owned(),
        input_size: [224, 224],
        notes: Vec::new(),
        accuracy: None,
        preparation: None,
        measurements: vec![measurement(1, 2.0 * seconds), measurement(2, seconds)],
    };
    let mut first = model("models/squeezenet1_1.onnx", 1, 0.004);
    first.accuracy = Some(BenchAccuracy {
        file: "squeezenet.json".to_owned(),
        data: "imagenet/val".to_owned(),
        data_sha256: "d".repeat(64),
        images: 50_000,
        top1: 0.5819,
        low: 0.5776,
        high: 0.5862,
        topk: Some((5, 0.8062)),
    });
    first.preparation = Some(Preparation {
        images: 64,
        read_seconds: 0.0001,
        decode_seconds: 0.004,
        resize_seconds: 0.001,
        normalize_seconds: 0.0005,
    });
    first.measurements[1].profile = Some(profile());
    first.measurements[1].plugin = Some(PluginInfo::default());
    let second = model(
        "models/a_model_with_a_long_name_that_does_not_fit.onnx",
        2,
        0.03,
    );
    Bench {
        format: BENCH_FORMAT,
        kind: "bench".to_owned(),
        topk_eval: "0.1.0".to_owned(),
        started: "2026-11-29T12:00:00Z".to_owned(),
        environment: Environment {
            onnxruntime: "1.31.1".to_owned(),
            cpu: "Imaginary CPU".to_owned(),
            cores: 8,
            os: "linux x86_64".to_owned(),
            gpu: None,
            no_gpu: None,
        },
        settings: BenchSettings {
            warmup: 10,
            runs: Some(200),
            duration_seconds: None,
            spinning: false,
            percentiles: "linear".to_owned(),
        },
        images: Some(BenchImages {
            path: "imagenet/val".to_owned(),
            format: "imagenet".to_owned(),
            count: 64,
        }),
        notes: vec!["threads sleep while they wait for work".to_owned()],
        models: vec![first, second],
    }
}

#[test]
fn the_best_batch_size_has_the_highest_throughput() {
    let measurement = measurement(1, 0.01);
    assert_eq!(measurement.best().batch_size, 8);
    assert_eq!(measurement.first_result_seconds(), 0.75);
    let alone = Measurement {
        throughput: Vec::new(),
        ..measurement
    };
    assert_eq!(alone.best().batch_size, 1);
}

#[test]
fn the_table_fits_a_terminal() {
    let table = bench().table();
    for line in table.lines() {
        assert!(line.width() <= 80, "{line}");
    }
    for text in [
        "Latency of a run with 1 image\n",
        "squeezenet1_1",
        "58.19",
        "images/s by batch size",
        "Profile of squeezenet1_1, cpu, 2 threads: batch 1, 20 runs, 10.00 ms per run",
        "threads sleep",
    ] {
        assert!(table.contains(text), "{text} is not in\n{table}");
    }
}

#[test]
fn the_csv_has_a_row_per_batch_size() {
    let csv = bench().to_csv();
    let rows: Vec<Vec<&str>> = csv.lines().map(|line| line.split(',').collect()).collect();
    // Two models, two numbers of threads, three batch sizes.
    assert_eq!(rows.len(), 1 + 2 * 2 * 3);
    assert!(rows.iter().all(|row| row.len() == rows[0].len()));
    let field = |row: usize, name: &str| {
        let at = rows[0].iter().position(|title| *title == name).unwrap();
        rows[row][at]
    };
    assert_eq!((field(2, "threads"), field(2, "batch_size")), ("1", "8"));
    assert_eq!((field(1, "top1"), field(7, "top1")), ("0.5819", ""));
    assert_eq!(field(1, "resident_bytes"), (300 << 20).to_string());
}

#[test]
fn the_file_is_read_back_and_is_not_an_evaluation() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("bench.json");
    let bench = bench();
    bench.save(&path).unwrap();
    let text = std::fs::read_to_string(&path).unwrap();
    assert_eq!(serde_json::from_str::<Bench>(&text).unwrap(), bench);
    let error = Results::read(&path).unwrap_err().to_string();
    assert!(error.contains("is not a topk-eval result file"), "{error}");
}

#[test]
fn the_page_has_the_plots_and_escapes_names() {
    let html = bench().to_html();
    for text in [
        "<svg id=\"accuracy\"",
        "<svg id=\"latency\"",
        "<svg id=\"throughput\"",
        "Operators of squeezenet1_1, cpu, 2 threads",
        "Time per image",
    ] {
        assert!(html.contains(text), "{text}");
    }
    assert!(html.contains("&lt;first&gt;") && !html.contains("<first>"));
    let mut plain = bench();
    plain.models[0].accuracy = None;
    plain.models[0].preparation = None;
    let html = plain.to_html();
    assert!(!html.contains("<svg id=\"accuracy\"") && !html.contains("Time per image"));
}
