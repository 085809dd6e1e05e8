//! `topk-eval bench` and `topk-eval devices`.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;
use topk_testing::{Requirement, WEBGPU_PLUGIN, skip};

use crate::case::{CLASSES, Case, card, linear};

/// Few runs, so that tests are fast.
const SHORT: [&str; 4] = ["--runs", "3", "--warmup", "1"];

/// A command without the model and the data that those of [`Case`] have.
fn run(command: &str, flags: &[&str]) -> Output {
    let mut process = Command::new(env!("CARGO_BIN_EXE_topk-eval"));
    process
        .env_clear()
        .current_dir("/")
        .arg(command)
        .args(flags);
    process.output().unwrap()
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// The measurements of the model of a case.
fn measured(case: &Case, flags: &[&str]) -> (Value, String) {
    let (model, json) = (case.path("model.onnx"), case.path("bench.json"));
    let common = ["--model", text(&model), "--json", text(&json)];
    let output = run("bench", &[&common, &SHORT[..], flags].concat());
    assert!(output.status.success(), "{output:?}");
    let bench = serde_json::from_slice(&fs::read(json).unwrap()).unwrap();
    (bench, String::from_utf8(output.stdout).unwrap())
}

fn error(case: &Case, flags: &[&str]) -> String {
    let model = case.path("model.onnx");
    let common = ["--model", text(&model)];
    let output = run("bench", &[&common, &SHORT[..], flags].concat());
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(output.stdout.is_empty(), "{output:?}");
    String::from_utf8(output.stderr).unwrap()
}

#[test]
fn speed_is_measured_for_each_number_of_threads_and_batch_size() {
    let case = Case::new();
    let (html, csv) = (case.path("b.html"), case.path("b.csv"));
    let flags = [
        "--provider",
        "cpu",
        "--threads",
        "1,2",
        "--batch-sizes",
        "4,1",
    ];
    let files = ["--html", text(&html), "--csv", text(&csv), "--profile"];
    let (bench, table) = measured(&case, &[&flags[..], &files].concat());
    assert_eq!(
        (&bench["format"], &bench["kind"]),
        (&1.into(), &"bench".into())
    );
    assert_eq!(bench["settings"]["runs"], 3);
    assert_eq!(bench["images"], Value::Null);
    let model = &bench["models"][0];
    let measurements = model["measurements"].as_array().unwrap();
    assert_eq!(measurements.len(), 2);
    for (measurement, threads) in measurements.iter().zip([1, 2]) {
        assert_eq!(measurement["threads"], threads);
        assert_eq!(measurement["provider"], "cpu");
        assert_eq!(measurement["nodes"]["CPUExecutionProvider"], 2);
        let sizes = measurement["throughput"].as_array().unwrap();
        let sizes: Vec<&Value> = sizes.iter().map(|runs| &runs["batch_size"]).collect();
        assert_eq!(sizes, [1, 4]);
        let latency = &measurement["latency"];
        assert_eq!(
            (&latency["batch_size"], &latency["runs"]),
            (&1.into(), &3.into())
        );
        let time = |name: &str| latency["latency"][name].as_f64().unwrap();
        assert!(0.0 < time("min") && time("min") <= time("p50") && time("p99") <= time("max"));
        assert!(measurement["session_seconds"].as_f64().unwrap() > 0.0);
        assert!(measurement["first_run_seconds"].as_f64().unwrap() > 0.0);
        #[cfg(target_os = "linux")]
        assert!(measurement["memory"]["resident_bytes"].is_u64());
        let profile = &measurement["profile"];
        let operators = profile["operators"].as_array().unwrap();
        let shares = operators.iter().map(|of| of["share"].as_f64().unwrap());
        assert!((shares.sum::<f64>() - 1.0).abs() < 1e-9);
        assert_eq!(operators.len(), 2);
    }
    assert!(table.contains("the images are noise"), "{table}");
    let rows = fs::read_to_string(csv).unwrap();
    assert_eq!(rows.lines().count(), 1 + 2 * 2);
    assert!(
        fs::read_to_string(html)
            .unwrap()
            .contains("<svg id=\"throughput\"")
    );
}

#[test]
fn accuracy_is_that_of_the_same_model_file() {
    let case = Case::new();
    case.results(&["--device", "cpu"]);
    let results = case.path("results.json");
    fs::rename(case.path("out.json"), &results).unwrap();
    let data = case.folder.path().to_owned();
    let flags = ["--data", text(&data), "--images", "3", "--batch-sizes", "2"];
    let (bench, _) = measured(
        &case,
        &[&flags[..], &["--results", text(&results)]].concat(),
    );
    assert_eq!(bench["images"]["count"], 3);
    let model = &bench["models"][0];
    assert_eq!(model["accuracy"]["top1"], 0.3);
    assert_eq!(model["accuracy"]["images"], 10);
    assert_eq!(model["preparation"]["images"], 3);
    assert!(model["preparation"]["resize_seconds"].as_f64().unwrap() > 0.0);
    // Another file has another SHA-256.
    let bias = (0..CLASSES).map(|class| class as f32).collect();
    case.write_model(&linear(32, bias), Some(&card()));
    let error = error(&case, &["--results", text(&results)]);
    assert!(error.contains("it has none of the models"), "{error}");
}

#[test]
fn what_cannot_be_measured_is_an_error() {
    let case = Case::new();
    let data = case.folder.path().to_owned();
    for (flags, expected) in [
        (
            &["--provider", "cpu", "--channels-last"][..],
            "--channels-last has no effect with --provider cpu",
        ),
        (
            &["--provider", "nothing"],
            "cannot use provider nothing:0: ONNX Runtime",
        ),
        (
            &["--provider", "cpu", "--provider-library", "/missing.so"],
            "--provider-library has no effect with --provider cpu",
        ),
        (
            &["--provider", "mine", "--provider-library", "/missing.so"],
            "--provider-library /missing.so: cannot read /missing.so",
        ),
        (
            &["--data", text(&data), "--crops", "five", "--resize", "40"],
            "--crops: a batch of the measurement has one crop per image",
        ),
        (&["--fast"], "--fast has no effect on images of noise"),
        (
            &["--data", text(&data), "--fast"],
            "--fast decodes and resizes in one step",
        ),
    ] {
        let found = error(&case, flags);
        assert!(found.contains(expected), "{flags:?}: {found}");
    }
}

#[test]
fn devices_are_listed_with_reasons() {
    let folder = tempfile::tempdir().unwrap();
    let json = folder.path().join("devices.json");
    let output = run("devices", &["--json", text(&json)]);
    assert!(output.status.success(), "{output:?}");
    let table = String::from_utf8(output.stdout).unwrap();
    assert!(table.starts_with("ONNX Runtime "), "{table}");
    let list: Value = serde_json::from_slice(&fs::read(json).unwrap()).unwrap();
    assert_eq!(list["format"], 1);
    let providers = list["providers"].as_array().unwrap();
    assert_eq!(providers[0]["devices"][0]["provider"], "cpu");
    for provider in providers {
        let reason = &provider["reason"];
        assert!(
            provider["available"] == true || reason.is_string(),
            "{provider}"
        );
    }
    let output = run("devices", &["--provider-library", "/missing.so"]);
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(error.contains("--provider-library /missing.so"), "{error}");
}

/// On a machine with a device for it, the plugin runs a model; elsewhere it says why not.
#[test]
fn a_plugin_is_listed_and_selected_by_name() {
    let installed = WEBGPU_PLUGIN.are_installed();
    let Some(folder) = WEBGPU_PLUGIN.folder().filter(|_| installed) else {
        let why = "the package onnxruntime-ep-webgpu is not installed: run `cargo xtask test`";
        skip(Requirement::Python, why);
        return;
    };
    let library = folder.join("onnxruntime_ep_webgpu/libonnxruntime_providers_webgpu.so");
    let case = Case::new();
    let json = case.path("devices.json");
    let output = run(
        "devices",
        &["--provider-library", text(&library), "--json", text(&json)],
    );
    assert!(output.status.success(), "{output:?}");
    let list: Value = serde_json::from_slice(&fs::read(&json).unwrap()).unwrap();
    let mut providers = list["providers"].as_array().unwrap().iter();
    let webgpu = providers.find(|of| of["name"] == "webgpu").unwrap();
    assert_eq!(webgpu["plugin"], true);
    assert_eq!(webgpu["version"], "0.4.0");
    assert_eq!(webgpu["execution_provider"], "WebGpuExecutionProvider");
    let flags = ["--provider-library", text(&library), "--provider", "WebGPU"];
    if webgpu["available"] == true {
        let (bench, _) = measured(&case, &flags);
        let measurement = &bench["models"][0]["measurements"][0];
        assert_eq!(measurement["provider"], "webgpu:0");
        assert_eq!(measurement["plugin"]["version"], "0.4.0");
        return;
    }
    for device in webgpu["devices"].as_array().unwrap() {
        assert_eq!(device["virtual"], true, "{device}");
    }
    let error = error(&case, &flags);
    assert!(
        error.contains("cannot use provider webgpu:0: its library, "),
        "{error}"
    );
    assert!(
        error.contains("offers no device on this machine"),
        "{error}"
    );
}
