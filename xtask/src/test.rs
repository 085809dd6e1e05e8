//! `cargo xtask test`: every test of the workspace, and their sum.

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use anyhow::{Context, Result, bail};

use crate::{cargo, native, testing};

pub(crate) fn run() -> Result<()> {
    native::set_up(false)?;
    testing::set_up()?;
    let shared = cargo::root().join("../shared");
    if !shared.is_dir() {
        println!(
            "{} is absent: tests on the data there are skipped",
            shared.display()
        );
    }

    let mut tests = cargo::cargo()
        .args(["test", "--workspace", "--no-fail-fast"])
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot start cargo test")?;
    let mut total = Counts::default();
    for line in BufReader::new(tests.stdout.take().expect("stdout is a pipe")).lines() {
        let line = line.context("cannot read the output of cargo test")?;
        println!("{line}");
        total.add(&line);
    }
    let status = tests.wait().context("cannot wait for cargo test")?;
    let Counts {
        passed,
        failed,
        ignored,
    } = total;
    println!("\n{passed} passed, {failed} failed, {ignored} skipped");
    if !status.success() {
        bail!("cargo test ended with {status}");
    }
    Ok(())
}

#[derive(Debug, Default, PartialEq)]
struct Counts {
    passed: usize,
    failed: usize,
    ignored: usize,
}

impl Counts {
    /// Adds what one test binary reports in its last line; other lines count nothing.
    fn add(&mut self, line: &str) {
        let Some(counts) = line.strip_prefix("test result: ") else {
            return;
        };
        for part in counts.split([';', '.']) {
            if let Some((number, what)) = part.trim().split_once(' ') {
                let number = number.parse().unwrap_or(0);
                match what {
                    "passed" => self.passed += number,
                    "failed" => self.failed += number,
                    "ignored" => self.ignored += number,
                    _ => {}
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_add_up_over_binaries() {
        let mut counts = Counts::default();
        counts.add("running 3 tests");
        counts.add("test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; finished in 0.05s");
        counts.add("test result: FAILED. 2 passed; 4 failed; 0 ignored; 0 measured");
        assert_eq!(
            counts,
            Counts {
                passed: 5,
                failed: 4,
                ignored: 1
            }
        );
    }
}
