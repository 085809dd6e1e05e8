//! Writes every kind of output for synthetic results: 50,000 images, 1,000 classes and three models.
//!
//! ```sh
//! cargo run --release --package topk-results --example sample-report -- OUT [PICTURES]
//! ```
//!
//! `PICTURES` is a folder of small PNG or JPEG files to use as thumbnails.

#[path = "../tests/synthetic/mod.rs"]
mod synthetic;

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use synthetic::{SKILLS, Size, run};
use topk_results::Comparison;

type Outcome = Result<(), Box<dyn Error>>;

fn main() -> Outcome {
    let mut arguments = std::env::args_os().skip(1).map(PathBuf::from);
    let out = arguments.next().ok_or("expected a folder to write to")?;
    let mut pictures = match arguments.next() {
        Some(folder) => fs::read_dir(folder)?
            .map(|entry| Ok(entry?.path()))
            .collect::<std::io::Result<Vec<_>>>()?,
        None => Vec::new(),
    };
    pictures.sort();
    fs::create_dir_all(&out)?;
    let size = Size {
        images: 50_000,
        classes: 1_000,
    };
    let results = run(size, &SKILLS, None);
    let comparison = Comparison::new((&results, 0), (&results, 1))?;
    let thumbnail = |index: usize| {
        let picture = pictures.get(index % pictures.len().max(1))?;
        fs::read(picture).ok()
    };

    let timed = |name: &str, write: &dyn Fn(&Path) -> Outcome| {
        let path = out.join(name);
        let start = Instant::now();
        write(&path)?;
        let (seconds, bytes) = (start.elapsed().as_secs_f64(), fs::metadata(&path)?.len());
        eprintln!("{name:24} {bytes:>10} bytes {seconds:>7.3} s");
        Outcome::Ok(())
    };
    timed("results.json", &|path| Ok(results.save(path)?))?;
    timed("results.csv", &|path| {
        Ok(fs::write(path, results.to_csv())?)
    })?;
    timed("results.txt", &|path| Ok(results.append_paper_table(path)?))?;
    timed("predictions.csv", &|path| {
        Ok(results.save_predictions(path)?)
    })?;
    timed("predictions.parquet", &|path| {
        Ok(results.save_predictions(path)?)
    })?;
    timed("comparison.json", &|path| {
        Ok(fs::write(path, comparison.to_json())?)
    })?;
    timed("comparison.html", &|path| {
        Ok(fs::write(path, comparison.to_html())?)
    })?;
    timed("report.html", &|path| {
        let html = results.to_html(std::slice::from_ref(&comparison), thumbnail)?;
        Ok(fs::write(path, html)?)
    })?;
    let mut one = results.clone();
    one.models.truncate(1);
    timed("one-model.json", &|path| Ok(one.save(path)?))?;
    let start = Instant::now();
    topk_results::Results::read(&out.join("one-model.json"))?;
    eprintln!(
        "reading one-model.json {:.3} s",
        start.elapsed().as_secs_f64()
    );
    print!("{}\n{}", results.table(), comparison.table(12));
    Ok(())
}
