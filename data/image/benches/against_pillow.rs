//! Decoding and preprocessing of photographs on one core, beside Pillow in turn:
//! `cargo bench --package topk-image --bench against_pillow -- --images DIR [--python PATH] [--json FILE]`, or
//! `cargo xtask bench images`, which also keeps the results. Prints images per second, medians of the turns; `--json`
//! writes the seconds of each turn.
//!
//! DIR has class folders with JPEG files, which are read into memory first. Without an interpreter that has Pillow, ours
//! is timed alone.

use std::env;
use std::error::Error;
use std::ffi::OsString;
use std::fs;
use std::hint::black_box;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Instant;

use serde_json::json;
use topk_image::{Limits, Preprocessor, decode};
use topk_preprocessing::Preprocessing;

/// Turns of each, after one to warm up.
const TURNS: usize = 7;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<OsString> = env::args_os().collect();
    // Cargo passes `--bench`; as a test, it is enough to have built it.
    if !arguments.iter().any(|argument| argument == "--bench") {
        return Ok(());
    }
    let option = |name: &str| {
        let at = arguments.iter().position(|argument| argument == name)?;
        arguments.get(at + 1).map(PathBuf::from)
    };
    // `cargo bench` without arguments runs all benchmarks of the package.
    let Some(folder) = option("--images") else {
        println!("skipped: pass `-- --images DIR`");
        return Ok(());
    };
    let files = photographs(&folder)?;
    let photographs: Vec<Vec<u8>> = files.iter().map(fs::read).collect::<Result<_, _>>()?;
    let python = option("--python");
    let mut pillow = python
        .map(|python| Pillow::start(&python, &files))
        .transpose()?;

    let limits = Limits::default();
    let mut preprocessor = Preprocessor::new(Preprocessing::torchvision(256, 224), limits)?;
    let mut decode_all = || -> Result<(), Box<dyn Error>> {
        for photograph in &photographs {
            black_box(decode(photograph, &limits)?);
        }
        Ok(())
    };
    let mut preprocess_all = || -> Result<(), Box<dyn Error>> {
        for photograph in &photographs {
            black_box(preprocessor.crops(photograph)?);
        }
        Ok(())
    };
    type Work<'a> = &'a mut dyn FnMut() -> Result<(), Box<dyn Error>>;
    let works: [(&str, Work<'_>); 2] = [
        ("decode", &mut decode_all),
        ("decode, resize, crop", &mut preprocess_all),
    ];

    println!(
        "{} photographs, one core, {TURNS} turns, images/s",
        files.len()
    );
    let mut results = Vec::new();
    for (name, work) in works {
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        for turn in 0..=TURNS {
            let start = Instant::now();
            work()?;
            let seconds = start.elapsed().as_secs_f64();
            let pillow = pillow
                .as_mut()
                .map(|pillow| pillow.time(name))
                .transpose()?;
            if turn > 0 {
                ours.push(seconds);
                theirs.extend(pillow);
            }
        }
        let speed = |seconds: &[f64]| files.len() as f64 / median(seconds);
        print!("{name:22} {:7.1}", speed(&ours));
        match theirs.is_empty() {
            true => println!(),
            false => println!(", Pillow {:7.1}", speed(&theirs)),
        }
        results.push(json!({ "name": name, "ours": ours, "pillow": theirs }));
    }
    if let Some(path) = option("--json") {
        let report = json!({ "images": files.len(), "works": results });
        fs::write(path, format!("{report:#}\n"))?;
    }
    Ok(())
}

/// JPEG files in class folders, sorted.
fn photographs(folder: &Path) -> Result<Vec<PathBuf>, Box<dyn Error>> {
    let mut files = Vec::new();
    for class in fs::read_dir(folder)? {
        let class = class?.path();
        if !class.is_dir() {
            continue;
        }
        for file in fs::read_dir(class)? {
            let file = file?.path();
            let extension = file.extension().unwrap_or_default().to_string_lossy();
            if ["jpeg", "jpg"].contains(&&*extension.to_lowercase()) {
                files.push(file);
            }
        }
    }
    if files.is_empty() {
        return Err(format!("{} has no JPEG files in class folders", folder.display()).into());
    }
    files.sort();
    Ok(files)
}

fn median(seconds: &[f64]) -> f64 {
    let mut seconds = seconds.to_vec();
    seconds.sort_by(f64::total_cmp);
    seconds[seconds.len() / 2]
}

/// A process that works with Pillow when it is told to.
struct Pillow {
    process: Child,
    orders: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Pillow {
    fn start(python: &Path, files: &[PathBuf]) -> Result<Self, Box<dyn Error>> {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/pillow_turns.py");
        let mut process = Command::new(python)
            .arg(script)
            .args(files)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| format!("cannot start {}: {error}", python.display()))?;
        let orders = process.stdin.take().ok_or("a pipe is missing")?;
        let answers = process.stdout.take().ok_or("a pipe is missing")?;
        Ok(Self {
            process,
            orders,
            answers: BufReader::new(answers),
        })
    }

    /// Seconds for all photographs.
    fn time(&mut self, work: &str) -> Result<f64, Box<dyn Error>> {
        writeln!(self.orders, "{work}")?;
        let mut answer = String::new();
        self.answers.read_line(&mut answer)?;
        let seconds = answer.trim().parse();
        seconds.map_err(|_| format!("Pillow's process answers {answer:?}").into())
    }
}

impl Drop for Pillow {
    fn drop(&mut self) {
        // It waits for the next order.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
