//! Ctrl-C in a terminal.

use std::fs::{self, File, OpenOptions};
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::process::{Child, ExitStatus, Stdio};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use serde_json::Value;
use topk_onnx::proto::{DataType, GraphProto};
use topk_onnx::{Dim, GraphBuilder, attribute};

use super::{CLASSES, Case, RECORD, card};

const IMAGES: usize = 401;

/// Number of features of a layer.
const WIDTH: usize = 1024;

/// Number of layers, which share their weights.
const DEPTH: usize = 100;

/// Deterministic noise from −1 to 1.
fn noise(count: usize, seed: u32) -> Vec<f32> {
    let mut state = seed;
    let values = (0..count).map(|_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 23) as f32 - 1.0
    });
    values.collect()
}

/// A slow network with a different prediction for each image.
fn slow() -> GraphProto {
    let mut graph = GraphBuilder::new("slow");
    let side = Dim::Fixed(32);
    let batch = Dim::Dynamic("batch");
    let input = [batch, Dim::Fixed(3), side, side];
    graph.input("input", DataType::Float, &input, "");
    let mut weights = |name: &str, [outputs, inputs]: [usize; 2]| {
        // This scale keeps the variance of activations constant.
        let scale = 1.7 / (inputs as f32).sqrt();
        let values = noise(outputs * inputs, inputs as u32);
        let values: Vec<f32> = values.iter().map(|value| scale * value).collect();
        graph.initializer(name, &[outputs, inputs], &values);
    };
    weights("first", [WIDTH, 3 * 32 * 32]);
    weights("weight", [WIDTH, WIDTH]);
    weights("last", [CLASSES, WIDTH]);
    graph.node("Flatten", "flat", &["input"], [attribute::int("axis", 1)]);
    let mut layer = |from: &str, weights: &str, to: &str| {
        graph.node("Gemm", to, &[from, weights], [attribute::int("transB", 1)]);
    };
    layer("flat", "first", "sum 0");
    for i in 0..DEPTH {
        layer(&format!("sum {i}"), "weight", &format!("sum {}", i + 1));
    }
    layer(&format!("sum {DEPTH}"), "last", "logits");
    let output = [batch, Dim::Fixed(CLASSES)];
    graph.output("logits", DataType::Float, &output, "");
    graph.finish()
}

fn slow_case() -> Case {
    let case = Case::new();
    let pixels = noise(IMAGES * (RECORD - 2), 1);
    let mut records = Vec::new();
    for (i, pixels) in pixels.chunks(RECORD - 2).enumerate() {
        records.extend([0, (i % CLASSES) as u8]);
        records.extend(pixels.iter().map(|pixel| (127.0 * pixel + 128.0) as u8));
    }
    fs::write(case.path("test.bin"), records).unwrap();
    case.write_model(&slow, Some(&card()));
    case
}

/// A run whose standard error is a terminal.
struct Run {
    child: Child,
    terminal: File,
    /// Its output so far.
    seen: String,
}

impl Run {
    fn start(case: &Case, flags: &[&str]) -> Self {
        let terminal = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&terminal).unwrap();
        unlockpt(&terminal).unwrap();
        let name = ptsname(&terminal, Vec::new()).unwrap();
        let noctty = OpenptFlags::NOCTTY.bits() as i32;
        let stderr = OpenOptions::new()
            .write(true)
            .custom_flags(noctty)
            .open(name.to_str().unwrap())
            .unwrap();
        let child = case
            .command(flags)
            .env("TERM", "xterm")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(stderr)
            .spawn()
            .unwrap();
        Self {
            child,
            terminal: terminal.into(),
            seen: String::new(),
        }
    }

    /// Reads more output; false at the end.
    fn read(&mut self) -> bool {
        let mut part = [0; 4096];
        // Reading from a terminal without writers is an error.
        let count = self.terminal.read(&mut part).unwrap_or(0);
        self.seen += &String::from_utf8_lossy(&part[..count]);
        count > 0
    }

    fn wait_for(&mut self, what: impl Fn(&str) -> bool) {
        while !what(&self.seen) {
            assert!(self.read(), "{}", self.seen);
        }
    }

    /// Waits until the model is working on the next batch.
    fn wait_for_work(&self) {
        /// CPU time in units of 10 ms.
        const TICKS: u64 = 5;
        let path = format!("/proc/{}/stat", self.child.id());
        let ticks = || -> u64 {
            let stat = fs::read_to_string(&path).unwrap();
            let fields = stat.rsplit(')').next().unwrap().split(' ');
            assert_ne!(
                fields.clone().nth(1),
                Some("Z"),
                "it has ended: {}",
                self.seen
            );
            let times = fields.skip(12).take(2);
            times.map(|ticks| ticks.parse::<u64>().unwrap()).sum()
        };
        let before = ticks();
        while ticks() < before + TICKS {
            thread::sleep(Duration::from_millis(1));
        }
    }

    fn interrupt(&self) {
        let process = Pid::from_child(&self.child);
        kill_process(process, Signal::INT).unwrap();
    }

    /// The exit status, standard output, and terminal output.
    fn end(mut self) -> (ExitStatus, String, String) {
        while self.read() {}
        let mut printed = String::new();
        let stdout = self.child.stdout.as_mut().unwrap();
        stdout.read_to_string(&mut printed).unwrap();
        (self.child.wait().unwrap(), printed, self.seen)
    }
}

/// Whether the progress bar is beyond the first image.
fn has_begun(seen: &str) -> bool {
    let total = format!("/{IMAGES}");
    let bars = seen.match_indices(&total).map(|(at, _)| &seen[..at]);
    let images = bars.filter_map(|text| text.rsplit(' ').next()?.parse().ok());
    images.max().is_some_and(|images: usize| images > 0)
}

#[test]
fn an_interrupted_run_keeps_its_results_and_resumes() {
    let case = slow_case();
    let flags = ["--batch-size", "4", "--device", "cpu", "--topk", "2"];
    let whole = case.results(&flags);
    let json = case.path("out.json");
    fs::remove_file(&json).unwrap();

    let to_json = [&flags[..], &["--json", json.to_str().unwrap()]].concat();
    let mut run = Run::start(&case, &to_json);
    run.wait_for(has_begun);
    run.interrupt();
    let (status, printed, seen) = run.end();
    assert_eq!(status.code(), Some(130), "{seen}");
    assert!(seen.contains("stopping after this batch"), "{seen}");
    assert!(
        seen.contains("run the same command with --resume to continue"),
        "{seen}"
    );

    let read = || -> Value { serde_json::from_slice(&fs::read(&json).unwrap()).unwrap() };
    let partial = read();
    let images = partial["images"]["names"].as_array().unwrap().len();
    assert!(images > 0 && images < IMAGES, "{images}");
    assert_eq!(images % 4, 0, "batches are whole");
    let missing = format!("PARTIAL: {} images not evaluated", IMAGES - images);
    assert!(printed.contains(&missing), "{printed}");
    assert_eq!(partial["complete"], false);
    let [before, after] = [&partial, &whole].map(|results| &results["models"][0]);
    assert_eq!(before["metrics"]["images"], images);
    let ranks = before["outcomes"]["rank"].as_array().unwrap();
    let all = after["outcomes"]["rank"].as_array().unwrap();
    assert_eq!(ranks[..], all[..images]);
    let correct = |k| ranks.iter().filter(|rank| rank.as_u64() < Some(k)).count();
    let [top1, top2] = [0, 1].map(|i| &before["metrics"]["topk"][i]["correct"]);
    assert_eq!([top1, top2], [correct(1), correct(2)]);
    // Equal results would otherwise prove little.
    assert!((1..CLASSES as u64).all(|rank| all.contains(&rank.into())));

    let output = case.run(&[&to_json[..], &["--resume"]].concat());
    assert!(output.status.success(), "{output:?}");
    let resumed = read();
    assert_eq!(resumed["complete"], true);
    assert_eq!(resumed["images"], whole["images"]);
    let model = &resumed["models"][0];
    assert_eq!(model["outcomes"], after["outcomes"]);
    assert_eq!(model["metrics"], after["metrics"]);
}

#[test]
fn a_second_interrupt_quits_without_results() {
    let case = slow_case();
    let json = case.path("out.json");
    // Three batches in sequence; the model is slow on the first two.
    let batch = (IMAGES / 2).to_string();
    let flags = [
        "--batch-size",
        &batch,
        "--device",
        "cpu",
        "--sessions",
        "1",
        "--json",
    ];
    let mut run = Run::start(&case, &[&flags[..], &[json.to_str().unwrap()]].concat());
    run.wait_for(has_begun);
    run.wait_for_work();
    run.interrupt();
    run.wait_for(|seen| seen.contains("press Ctrl-C again to quit now"));
    run.interrupt();
    let (status, printed, seen) = run.end();
    assert_eq!(status.code(), Some(130), "{seen}");
    assert_eq!(printed, "");
    assert!(!seen.contains("interrupted;"), "{seen}");
    assert!(!json.exists());
}
