//! The losses beside libtorch's cross-entropy: `docs/benchmarks/loss.json`, and the table that is made from it.

use std::fmt::Write;
use std::fs;
use std::path::PathBuf;
use std::time::SystemTime;

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use topk_testing::root;

use crate::cargo::{cargo, run as run_command};

/// How many times slower than in the file a loss may be.
const TOLERANCE: f64 = 1.5;

/// The lines of `docs/benchmarks.md` around the table.
const MARKS: [&str; 2] = ["<!-- cargo xtask bench -->\n", "<!-- end -->\n"];

/// What the benchmark writes.
#[derive(Deserialize, Serialize)]
struct Measured {
    threads: usize,
    instructions: String,
    cases: Vec<Case>,
}

/// One loss, number of samples, number of classes, and k.
#[derive(Deserialize, PartialEq, Serialize)]
struct Case {
    loss: String,
    batch: usize,
    classes: usize,
    k: usize,
    libtorch_cross_entropy: Times,
    this_loss: Times,
    /// That of `topk-ops`.
    cross_entropy: Times,
}

/// Microseconds of forward and backward.
#[derive(Deserialize, PartialEq, Serialize)]
struct Times {
    median_us: f64,
    /// That of the fastest tenth.
    fast_us: f64,
}

/// The content of the file.
#[derive(Deserialize, Serialize)]
struct Report {
    /// UTC, as `2026-01-31`.
    date: String,
    processor: String,
    #[serde(flatten)]
    measured: Measured,
}

/// Measures, and writes the results or compares them with the file.
pub(crate) fn run(check: bool) -> Result<()> {
    let folder = tempfile::tempdir().context("cannot create a temporary folder")?;
    let json = folder.path().join("loss.json");
    let arguments = [
        "bench",
        "--package",
        "topk-ops-tch",
        "--bench",
        "cross_entropy",
        "--",
    ];
    run_command(cargo().args(arguments).arg("--json").arg(&json))?;
    let json = fs::read_to_string(json).context("the benchmark wrote no results")?;
    let measured: Measured = serde_json::from_str(&json).context("cannot parse the results")?;

    if check {
        let slower = slower(&read()?.measured, &measured);
        if !slower.is_empty() {
            bail!("slower than in {FILE}:\n{}", slower.join("\n"));
        }
        println!("No loss is more than {TOLERANCE} times as slow as in {FILE}.");
        return Ok(());
    }
    let now = humantime::format_rfc3339_seconds(SystemTime::now()).to_string();
    let report = Report {
        date: now[..10].to_owned(),
        processor: topk_native::processor(),
        measured,
    };
    let mut text = serde_json::to_string_pretty(&report)?;
    text.push('\n');
    let page = fs::read_to_string(page_path()).context("cannot read docs/benchmarks.md")?;
    let page = with_table(&page, &report).context(
        "docs/benchmarks.md lacks the lines `<!-- cargo xtask bench -->` and `<!-- end -->`, between which the table goes",
    )?;
    fs::write(file_path(), text).with_context(|| format!("cannot write {FILE}"))?;
    fs::write(page_path(), page).context("cannot write docs/benchmarks.md")?;
    println!("Wrote {FILE} and the table in docs/benchmarks.md.");
    Ok(())
}

const FILE: &str = "docs/benchmarks/loss.json";

fn file_path() -> PathBuf {
    root().join(FILE)
}

fn page_path() -> PathBuf {
    root().join("docs/benchmarks.md")
}

fn read() -> Result<Report> {
    let text = fs::read_to_string(file_path()).with_context(|| format!("cannot read {FILE}"))?;
    serde_json::from_str(&text).with_context(|| format!("cannot parse {FILE}"))
}

/// A line for each case whose time over libtorch's is larger than the tolerance times that in `before`.
fn slower(before: &Measured, now: &Measured) -> Vec<String> {
    let mut lines = Vec::new();
    for case in &now.cases {
        let same = |other: &&Case| {
            (&other.loss, other.batch, other.classes, other.k)
                == (&case.loss, case.batch, case.classes, case.k)
        };
        let Some(old) = before.cases.iter().find(same) else {
            continue;
        };
        let ratio = |case: &Case| case.this_loss.fast_us / case.libtorch_cross_entropy.fast_us;
        let (old, new) = (ratio(old), ratio(case));
        if new > TOLERANCE * old {
            lines.push(format!(
                "{}, {} x {}, k = {}: {new:.2} times the time of libtorch's cross-entropy, was {old:.2}",
                case.loss, case.batch, case.classes, case.k
            ));
        }
    }
    lines
}

/// The page with the table of this report.
fn with_table(page: &str, report: &Report) -> Option<String> {
    let (before, rest) = page.split_once(MARKS[0])?;
    let (_, after) = rest.split_once(MARKS[1])?;
    Some([before, MARKS[0], &table(report), MARKS[1], after].concat())
}

fn table(report: &Report) -> String {
    let Measured {
        threads,
        instructions,
        cases,
    } = &report.measured;
    let mut table = format!(
        "{threads} threads, {} with {instructions}, {}:\n\n\
         | loss | batch | classes | k | libtorch's cross-entropy | this loss | ratio | cross-entropy of this crate, ratio |\n\
         | --- | --- | --- | --- | --- | --- | --- | --- |\n",
        report.processor, report.date
    );
    for case in cases {
        let theirs = case.libtorch_cross_entropy.fast_us;
        let ours = case.this_loss.fast_us;
        writeln!(
            table,
            "| `{}` | {} | {} | {} | {theirs:.0} µs | {ours:.0} µs | {:.2} | {:.2} |",
            case.loss,
            case.batch,
            case.classes,
            case.k,
            ours / theirs,
            case.cross_entropy.fast_us / theirs
        )
        .expect("strings can be written to");
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measured(fast_us: f64) -> Measured {
        let times = |fast_us| Times {
            median_us: 2.0 * fast_us,
            fast_us,
        };
        Measured {
            threads: 2,
            instructions: "AVX2".to_owned(),
            cases: vec![Case {
                loss: "psi5".to_owned(),
                batch: 256,
                classes: 1000,
                k: 5,
                libtorch_cross_entropy: times(10.0),
                this_loss: times(fast_us),
                cross_entropy: times(4.0),
            }],
        }
    }

    #[test]
    fn a_loss_that_became_slower_is_named() {
        assert!(slower(&measured(5.0), &measured(7.4)).is_empty());
        let expected =
            "psi5, 256 x 1000, k = 5: 0.76 times the time of libtorch's cross-entropy, was 0.50";
        assert_eq!(slower(&measured(5.0), &measured(7.6)), [expected]);
    }

    #[test]
    fn the_page_has_the_table_of_the_file() {
        let page = fs::read_to_string(page_path()).unwrap();
        let report = read().unwrap();
        assert_eq!(with_table(&page, &report).unwrap(), page);
    }

    #[test]
    fn the_table_has_a_row_per_case() {
        let report = Report {
            date: "2026-01-31".to_owned(),
            processor: "a processor".to_owned(),
            measured: measured(5.0),
        };
        let table = table(&report);
        let row = "| `psi5` | 256 | 1000 | 5 | 10 µs | 5 µs | 0.50 | 0.40 |\n";
        assert!(table.ends_with(row), "{table}");
        assert!(table.starts_with("2 threads, a processor with AVX2, 2026-01-31:\n"));
    }
}
