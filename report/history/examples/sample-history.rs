//! Writes all reports of synthetic runs, or of an existing sweep over noise and loss.
//!
//! ```sh
//! cargo run --package topk-history --example sample-history -- OUT [SWEEP]
//! ```

#[path = "../tests/synthetic/mod.rs"]
mod synthetic;

use std::error::Error;
use std::fs;
use std::path::PathBuf;

use synthetic::{Plan, save};
use topk_history::{Axes, EventWriter, Reference, Summary, Sweep, run_page};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args_os().skip(1).map(PathBuf::from);
    let out = arguments.next().ok_or("expected a folder to write to")?;
    fs::create_dir_all(&out)?;
    let sweep = arguments.next().unwrap_or_else(|| out.join("sweep"));
    if sweep == out.join("sweep") {
        for plan in Plan::sweep(300) {
            // One run is unfinished.
            let epochs = if plan.seed == 3 && plan.noise == 0.6 {
                71
            } else {
                300
            };
            save(&plan.run(epochs), &sweep.join(plan.name()));
        }
    }
    let axes = Axes {
        row: "noise".to_owned(),
        columns: vec!["loss".to_owned()],
        seed: "seed".to_owned(),
    };
    let sweep = Sweep::discover(&sweep, axes)?;
    let reference: Reference = serde_json::from_str(include_str!("../tests/data/reference.json"))?;
    let summary = Summary::new(&sweep, Some(&reference));
    println!("{}", summary.table(80));
    for (name, text) in [
        ("sweep.html", summary.to_html()),
        ("sweep.svg", summary.to_svg()),
        ("sweep.md", summary.to_markdown()),
        ("sweep.csv", summary.to_csv()),
        ("sweep.json", summary.to_json()),
    ] {
        fs::write(out.join(name), text)?;
    }
    for run in sweep.runs() {
        let Some(read) = run.state.run() else {
            continue;
        };
        fs::write(out.join(format!("{}.html", run.name)), run_page(read))?;
        let mut events = EventWriter::create(&out.join("events").join(&run.name), &read.start, 1)?;
        for (epoch, time) in read.epochs.iter().zip(&read.times) {
            events.epoch(epoch, time.as_ref())?;
        }
        if let Some(end) = &read.end {
            events.end(end)?;
        }
    }
    Ok(())
}
