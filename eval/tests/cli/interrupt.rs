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

use super::case::{CLASSES, Case, SLOW_IMAGES, slow_case};

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
    let total = format!("/{SLOW_IMAGES}");
    let bars = seen.match_indices(&total).map(|(at, _)| &seen[..at]);
    let images = bars.filter_map(|text| text.rsplit(' ').next()?.parse().ok());
    images.max().is_some_and(|images: usize| images > 0)
}

#[test]
fn an_interrupted_run_keeps_its_results_and_resumes() {
    interrupt_and_resume(&slow_case(), &[]);
}

#[test]
fn an_interrupted_run_keeps_its_logits() {
    let case = slow_case();
    let logits = case.path("logits.npz");
    let flags = ["--calibrate", "--logits", logits.to_str().unwrap()];
    interrupt_and_resume(&case, &flags);
    assert!(logits.exists());
    assert!(!case.path("logits.npz.part").exists());
}

#[test]
fn a_run_with_batches_in_flight_keeps_its_results_and_resumes() {
    interrupt_and_resume(&slow_case(), &["--in-flight", "2", "--sessions", "1"]);
}

fn interrupt_and_resume(case: &Case, flags: &[&str]) {
    let usual = ["--batch-size", "4", "--device", "cpu", "--topk", "2"];
    let flags = [&usual, flags].concat();
    let whole = case.results(&flags);
    let json = case.path("out.json");
    fs::remove_file(&json).unwrap();

    let to_json = [&flags[..], &["--json", json.to_str().unwrap()]].concat();
    let mut run = Run::start(case, &to_json);
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
    assert!(images > 0 && images < SLOW_IMAGES, "{images}");
    assert_eq!(images % 4, 0, "batches are whole");
    let missing = format!("PARTIAL: {} images not evaluated", SLOW_IMAGES - images);
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
    assert_eq!(model["calibration"], after["calibration"]);
}

#[test]
fn a_second_interrupt_quits_without_results() {
    let case = slow_case();
    let json = case.path("out.json");
    // Three batches in sequence; the model is slow on the first two.
    let batch = (SLOW_IMAGES / 2).to_string();
    let flags = [
        "--batch-size",
        &batch,
        "--device",
        "cpu",
        "--sessions",
        "1",
        // Partial results are not saved, however long it takes.
        "--save-interval",
        "1000000",
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
