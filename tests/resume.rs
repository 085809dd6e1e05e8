//! Runs that are killed, interrupted or run out of disk space, and resume.
//!
//! `TOPK_KILLS=100 cargo test --release --test resume killed -- --nocapture` kills runs 100 times instead of 15;
//! `TOPK_SEED` repeats the schedule of a seed that was printed.

#[path = "sample/interruption.rs"]
mod interruption;
#[path = "sample/results.rs"]
mod results;
mod sample;

use std::fmt::Debug;
use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::str::FromStr;
use std::thread::sleep;
use std::time::{Duration, Instant};

use interruption::interrupt;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use results::results;
use serde_json::Value;
use tempfile::TempDir;
use topk_models::Checkpoint;
use topk_testing::{Requirement, skip};
use topk_weights::{StateDict, Tensor};

/// Number of times that runs are killed, unless `TOPK_KILLS` is set.
const KILLS: usize = 15;

/// Settings with state of their own or random numbers.
const FLAGS: [&str; 18] = [
    "--model=basic-6",
    "--loss=balanced-noised-topk",
    "--epochs=3",
    "--batch-size=16",
    "--grad-accum-steps=2",
    "--model-ema-decay=0.9",
    "--mix=mixup:0.2,cutmix:1",
    "--augment=crop:4,flip,rand-augment:1:5",
    "--clip-grad=2",
    "--sched=cosine",
    "--warmup-epochs=1",
    "--alpha=0.5..1",
    "--noise=0.2",
    "--val-size=100",
    "--seed=3",
    "--device=cpu",
    "--workers=1",
    "--recovery-interval=1",
];

struct Case {
    folder: TempDir,
    /// In addition to [`FLAGS`].
    flags: Vec<String>,
}

impl Case {
    /// A folder with a part of the sample.
    fn new() -> Self {
        Self::with(&[])
    }

    fn with(flags: &[&str]) -> Self {
        let case = Self {
            folder: tempfile::tempdir().unwrap(),
            flags: flags.iter().map(ToString::to_string).collect(),
        };
        sample::write(case.folder.path(), 500, 100);
        case
    }

    /// Runs in which the gradients of some steps overflow, and which skip these.
    fn with_overflowing_steps() -> Self {
        let mut case = Self::with(&["--lr=0"]);
        case.finish("still");
        let checkpoint = Checkpoint::load(&case.path("still/bestk.safetensors")).unwrap();
        let mut weights = StateDict {
            tensors: checkpoint.weights().clone(),
            ..StateDict::default()
        };
        let scores = weights.tensors.get_mut("fc.weight").unwrap();
        let large: Vec<f32> = scores.to_f32().unwrap();
        // The square of the gradients' norm is now about the largest number of f32; --clip-grad keeps the steps small.
        let large: Vec<f32> = large.into_iter().map(|weight| weight * 1.85e19).collect();
        *scores = Tensor::from_f32(scores.shape(), &large).unwrap();
        let path = case.path("large.safetensors");
        weights.save(&path).unwrap();
        let checkpoint = format!("--checkpoint={}", path.display());
        // Which epochs are judged and kept has state too.
        let kept = [
            "--eval-metric=loss",
            "--val-raw",
            "--save-last",
            "--checkpoint-hist=2",
            "--log-interval=3",
        ];
        let kept = kept.map(str::to_owned);
        case.flags = [&kept[..], &["--on-nan=skip".to_owned(), checkpoint]].concat();
        case
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn command(&self, out: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_topk-train"));
        command.args(FLAGS).args(&self.flags);
        command.arg("--data").arg(self.folder.path());
        command.arg("--out").arg(self.path(out));
        command
    }

    fn start(&self, out: &str) -> Child {
        let mut command = self.command(out);
        command
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    }

    fn finish(&self, out: &str) {
        let output = self.command(out).output().unwrap();
        assert!(output.status.success(), "{output:?}");
    }

    /// The names of all files except TensorBoard's: each start of a run creates one.
    fn names(&self, out: &str) -> Vec<String> {
        let entries = fs::read_dir(self.path(out)).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<String> = names.filter(|name| !name.starts_with("events.")).collect();
        names.sort();
        names
    }
}

fn assert_same(case: &Case, expected: &str, found: &str) {
    let found_results = results(&case.path(found));
    for (name, bytes) in results(&case.path(expected)) {
        assert!(found_results[name] == bytes, "{name} differs");
    }
    assert_eq!(
        case.names(found),
        case.names(expected),
        "temporary files are left"
    );
}

/// Number of lines in a log.
fn lines(case: &Case, out: &str) -> usize {
    let log = fs::read_to_string(case.path(out).join("log.jsonl")).unwrap_or_default();
    log.lines().count()
}

/// The value of an environment variable, if it is set.
fn number<T: FromStr<Err: Debug>>(name: &str) -> Option<T> {
    let value = std::env::var(name).ok()?;
    Some(value.parse().expect(name))
}

/// Kills runs of a case at random moments, and compares each with an uninterrupted run once it is finished.
fn kill_and_resume(case: &Case, kills: usize, generator: &mut ChaCha8Rng) {
    let start = Instant::now();
    case.finish("whole");
    let time = start.elapsed();
    let (mut killed, mut midway, mut runs) = (0, 0, 0);
    while killed < kills {
        let out = format!("killed{runs}");
        let mut child = case.start(&out);
        sleep(time.mul_f64(generator.random_range(0.0..0.6)));
        if child.try_wait().unwrap().is_none() {
            child.kill().unwrap();
            killed += 1;
            let saved = case.path(&out).join("state.safetensors").exists();
            midway += usize::from(saved && lines(case, &out) < 5);
        }
        child.wait().unwrap();
        // All epochs, and the end.
        if lines(case, &out) == 5 {
            case.finish(&out);
            assert_same(case, "whole", &out);
            runs += 1;
        }
    }
    let out = format!("killed{runs}");
    case.finish(&out);
    assert_same(case, "whole", &out);
    println!(
        "{midway} of {killed} kills were midway through one of {} runs",
        runs + 1
    );
    assert!(
        midway > 0,
        "runs of {time:?} were killed {killed} times, never midway"
    );
}

#[test]
fn a_run_killed_at_any_moment_resumes_bit_for_bit() {
    let seed = number("TOPK_SEED").unwrap_or_else(rand::random);
    println!("TOPK_SEED={seed}");
    let mut generator = ChaCha8Rng::seed_from_u64(seed);
    let kills = number("TOPK_KILLS").unwrap_or(KILLS);
    let skipping = Case::with_overflowing_steps();
    kill_and_resume(&Case::new(), kills - kills / 2, &mut generator);
    kill_and_resume(&skipping, kills / 2, &mut generator);
    let log = fs::read_to_string(skipping.path("whole/log.jsonl")).unwrap();
    let epochs = log.lines().map(|line| serde_json::from_str(line).unwrap());
    let skipped: u64 = epochs
        .filter_map(|epoch: Value| epoch["skipped_steps"].as_u64())
        .sum();
    assert!(
        (1..3 * 13).contains(&skipped),
        "{skipped} of 39 steps were skipped"
    );
}

#[test]
fn an_interrupted_run_saves_its_state_and_resumes() {
    let other: &[&str] = &["--amp", "--channels-last", "--on-nan=skip"];
    let float16: &[&str] = &["--amp", "--amp-dtype=float16", "--deterministic"];
    let drawn: &[&str] = &[
        "--sampler=square-root",
        "--augment=crop:4,aa:rand-m9-mstd0.5-inc1,random-erasing:0.5:value=color:count=2",
    ];
    let repeated: &[&str] = &[
        "--aug-repeats=2.5",
        "--limit-batches=20",
        "--augment=resized-crop:32:interpolation=random,vflip,aa:augmix",
    ];
    for (signal, flags) in [
        (libc::SIGINT, &[][..]),
        (libc::SIGTERM, other),
        (libc::SIGINT, float16),
        (libc::SIGINT, drawn),
        (libc::SIGTERM, repeated),
    ] {
        let case = Case::with(flags);
        case.finish("whole");
        let out = "interrupted";
        let child = case.start(out);
        while !case.path(out).join("state.safetensors").exists() {
            sleep(Duration::from_millis(1));
        }
        interrupt(child, signal);
        assert!(lines(&case, out) < 5);
        case.finish(out);
        assert_same(&case, "whole", out);
    }
}

/// It crashed when libtorch's objects were destroyed while the training thread used them.
#[test]
fn a_second_interrupt_ends_the_run_at_once() {
    let case = Case::new();
    for attempt in 0..5 {
        let out = format!("twice-{attempt}");
        let child = case.start(&out);
        while !case.path(&out).join("state.safetensors").exists() {
            sleep(Duration::from_millis(1));
        }
        for _ in 0..2 {
            // SAFETY: it is a child of this process that has not been waited for.
            assert_eq!(unsafe { libc::kill(child.id() as i32, libc::SIGINT) }, 0);
            sleep(Duration::from_millis(2));
        }
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(130), "{output:?}");
    }
}

#[test]
fn a_full_disk_loses_nothing() {
    // In its own mount namespace, any user can mount a file system.
    let unshare = ["-rm", "sh", "-c"];
    let can = Command::new("unshare")
        .args(unshare)
        .arg("mount -t tmpfs tmpfs /mnt")
        .output();
    if !can.is_ok_and(|output| output.status.success()) {
        return skip(
            Requirement::UserNamespaces,
            "users cannot mount a tmpfs (with unshare -rm) on this system",
        );
    }
    let case = Case::new();
    case.finish("whole");
    // Too small for a new state beside the old one and the best weights.
    let state = case
        .path("whole/state.safetensors")
        .metadata()
        .unwrap()
        .len();
    let script = r#"
        disk=$1 after=$2; size=$3; shift 3
        mkdir "$disk" && mount -t tmpfs -o size="$size" tmpfs "$disk" || exit 99
        "$@"; code=$?
        ls -A "$disk" > "$after.names"
        mount -o remount,size=100m "$disk" && "$@" && cp -r "$disk" "$after" || exit 98
        exit $code"#;
    let program = case.command("full");
    let mut command = Command::new("unshare");
    command.args(unshare).arg(script).arg("sh");
    command
        .args([case.path("full"), case.path("after")])
        .arg((2 * state).to_string());
    command.arg(program.get_program()).args(program.get_args());
    let Output { status, stderr, .. } = command.output().unwrap();
    let printed = String::from_utf8(stderr).unwrap();
    assert_eq!(status.code(), Some(1), "{printed}");
    assert!(printed.contains("No space left on device"), "{printed}");
    let names = fs::read_to_string(case.path("after.names")).unwrap();
    assert!(names.contains("state.safetensors"), "{names}");
    assert!(!names.lines().any(|name| name.starts_with('.')), "{names}");
    assert_same(&case, "whole", "after");
}

#[test]
fn a_file_size_limit_loses_nothing() {
    let case = Case::new();
    case.finish("whole");
    let state = case
        .path("whole/state.safetensors")
        .metadata()
        .unwrap()
        .len();
    // A limit slightly below the size of the state.
    let blocks = state / 512 - 1;
    let program = case.command("full");
    let mut limited = Command::new("sh");
    limited.args(["-c", "trap '' XFSZ; ulimit -f \"$0\"; exec \"$@\""]);
    limited
        .arg(blocks.to_string())
        .arg(program.get_program())
        .args(program.get_args());
    let Output { status, stderr, .. } = limited.output().unwrap();
    let printed = String::from_utf8(stderr).unwrap();
    assert_eq!(status.code(), Some(1), "{printed}");
    assert!(
        printed.contains("state.safetensors: File too large"),
        "{printed}"
    );
    let names = case.names("full");
    let partial = |name: &String| name.starts_with('.') || name.starts_with("state");
    assert!(!names.iter().any(partial), "{names:?}");
    case.finish("full");
    assert_same(&case, "whole", "full");
}
