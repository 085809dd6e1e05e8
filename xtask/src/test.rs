//! `cargo xtask test`: runs every test of the workspace and sums up the results.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context, Result};
use topk_native::driver_version;
use topk_testing::{Cpp, Requirement, SKIP_LOG, Skip, chromium, shared_folder};

use crate::native::{self, Libraries};
use crate::{CUDA_MAJOR, cargo, testing};

/// Runs all tests. With `strict`, skipped tests whose requirements this machine meets are failures.
pub(crate) fn run(strict: bool) -> Result<ExitCode> {
    native::set_up(Libraries::CPU)?;
    testing::set_up()?;

    // Not in the target folder, which may be shared by clones that test at the same time.
    let log = tempfile::NamedTempFile::new().context("cannot create a temporary file")?;
    let mut tests = cargo::cargo()
        .args(["test", "--workspace", "--no-fail-fast"])
        .env(SKIP_LOG, log.path())
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot start cargo test")?;
    let mut summary = Summary::default();
    for line in BufReader::new(tests.stdout.take().expect("stdout is a pipe")).lines() {
        let line = line.context("cannot read the output of cargo test")?;
        println!("{line}");
        summary.add_line(&line);
    }
    let status = tests.wait().context("cannot wait for cargo test")?;
    let skips = fs::read_to_string(&log)
        .with_context(|| format!("cannot read {}", log.path().display()))?;
    let skips: Vec<Skip> = skips.lines().filter_map(Skip::parse).collect();
    summary.add_skips(&skips);

    let mut success = status.success();
    println!();
    for reason in reasons(&skips) {
        println!("skipped: {reason}");
    }
    if strict {
        for skip in skips.iter().filter(|skip| is_met(skip.requirement)) {
            success = false;
            println!(
                "error: {} was skipped ({}), but this machine has what it requires ({})",
                skip.test,
                skip.why,
                skip.requirement.name()
            );
        }
    }
    if !status.success() {
        println!("error: cargo test ended with {status}");
    }
    println!("{}", summary.line());
    Ok(if success {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Whether this machine meets a requirement, so that no test needs to be skipped for want of it.
fn is_met(requirement: Requirement) -> bool {
    match requirement {
        Requirement::Shared => shared_folder().is_dir(),
        Requirement::Gpu => driver_version().is_ok_and(|(major, _)| major >= CUDA_MAJOR),
        Requirement::Python => starts("python3"),
        Requirement::Cpp => Cpp::is_available(),
        Requirement::Browser => starts("npm") && chromium().is_some(),
        // The tests themselves try whether the system allows them.
        Requirement::UserNamespaces => false,
    }
}

fn starts(program: &str) -> bool {
    let mut command = Command::new(program);
    command
        .arg("--version")
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

/// The reasons for skips, each with the number of tests.
fn reasons(skips: &[Skip]) -> Vec<String> {
    let mut reasons: Vec<(&str, BTreeSet<TestId>)> = Vec::new();
    for skip in skips {
        let test = (skip.binary.clone(), skip.test.clone());
        match reasons.iter_mut().find(|(why, _)| *why == skip.why) {
            Some((_, tests)) => {
                tests.insert(test);
            }
            None => reasons.push((&skip.why, BTreeSet::from([test]))),
        }
    }
    let line = |(why, tests): &(&str, BTreeSet<TestId>)| match tests.len() {
        1 => format!("1 test: {why}"),
        n => format!("{n} tests: {why}"),
    };
    reasons.iter().map(line).collect()
}

/// The test binary and the name of a test.
type TestId = (PathBuf, String);

/// The number of tests with each result.
#[derive(Debug, Default, PartialEq)]
struct Summary {
    passed: usize,
    failed: usize,
    skipped: usize,
    /// The names of failed tests.
    failures: BTreeSet<String>,
}

impl Summary {
    /// Adds the result lines that the test harness prints: one per test, and one per test binary.
    fn add_line(&mut self, line: &str) {
        if let Some(test) = line.strip_prefix("test ")
            && let Some(name) = test.strip_suffix(" ... FAILED")
        {
            self.failures.insert(name.to_owned());
        }
        let Some(counts) = line.strip_prefix("test result: ") else {
            return;
        };
        for part in counts.split([';', '.']) {
            if let Some((number, what)) = part.trim().split_once(' ') {
                let number = number.parse().unwrap_or(0);
                match what {
                    "passed" => self.passed += number,
                    "failed" => self.failed += number,
                    "ignored" => self.skipped += number,
                    _ => {}
                }
            }
        }
    }

    /// Moves tests that skipped themselves, in whole or in part, from passed to skipped. A test that
    /// failed after it had skipped a part counts as failed.
    fn add_skips(&mut self, skips: &[Skip]) {
        let tests: BTreeSet<TestId> = skips
            .iter()
            .filter(|skip| !self.failures.contains(&skip.test))
            .map(|skip| (skip.binary.clone(), skip.test.clone()))
            .collect();
        self.passed = self.passed.saturating_sub(tests.len());
        self.skipped += tests.len();
    }

    fn line(&self) -> String {
        let Self {
            passed,
            failed,
            skipped,
            ..
        } = self;
        format!("{passed} passed, {failed} failed, {skipped} skipped")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn skip(binary: &str, test: &str, why: &str) -> Skip {
        Skip {
            binary: binary.into(),
            test: test.to_owned(),
            requirement: Requirement::Shared,
            why: why.to_owned(),
        }
    }

    #[test]
    fn counts_add_up_over_binaries() {
        let mut summary = Summary::default();
        for line in [
            "running 3 tests",
            "test a ... ok",
            "test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; finished in 0.05s",
            "test result: FAILED. 2 passed; 4 failed; 0 ignored; 0 measured",
        ] {
            summary.add_line(line);
        }
        assert_eq!(summary.line(), "5 passed, 4 failed, 1 skipped");
    }

    #[test]
    fn skipped_tests_do_not_count_as_passed() {
        let mut summary = Summary::default();
        summary.add_line("test module::a ... ok");
        summary.add_line("test b ... ok");
        summary.add_line("test c ... FAILED");
        summary.add_line("test result: FAILED. 2 passed; 1 failed; 0 ignored; 0 measured");
        // In another binary:
        summary.add_line("test b ... ok");
        summary.add_line("test result: ok. 1 passed; 0 failed; 0 ignored; 0 measured");
        let skips = [
            // Two parts of one test.
            skip("one", "module::a", "no GPU"),
            skip("one", "module::a", "../shared does not exist"),
            skip("one", "b", "../shared does not exist"),
            // A part was skipped, another failed.
            skip("one", "c", "../shared does not exist"),
            skip("two", "b", "../shared does not exist"),
        ];
        summary.add_skips(&skips);
        assert_eq!(summary.line(), "0 passed, 1 failed, 3 skipped");
        assert_eq!(
            reasons(&skips),
            ["1 test: no GPU", "4 tests: ../shared does not exist"]
        );
    }
}
