//! The comparison that `topk-perf` makes without a subcommand.

use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use topk_perf::{Algorithm, Report};
use topk_reference::Tolerance;

fn topk_perf(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_topk-perf"))
        .args(args)
        .output()
        .unwrap()
}

/// The error message of a command that must fail.
fn refusal(args: &[&str]) -> String {
    let output = topk_perf(args);
    assert!(!output.status.success(), "{args:?}");
    assert!(
        output.stdout.is_empty(),
        "{args:?}: measured before it failed"
    );
    String::from_utf8(output.stderr).unwrap()
}

fn path(folder: &Path, name: &str) -> String {
    folder.join(name).to_str().unwrap().to_owned()
}

#[test]
fn table_and_files_of_a_small_comparison() {
    let folder = tempfile::tempdir().unwrap();
    let (csv, json) = (path(folder.path(), "a.csv"), path(folder.path(), "a.json"));
    let mut args =
        "--num-classes 6,20 --batch-size 3 --topk 1,5 --tau 0.001,1 --repeats 1 --threads 2"
            .split(' ')
            .collect::<Vec<_>>();
    args.extend(["--csv", &csv, "--json", &json]);
    let output = topk_perf(&args);
    assert!(output.status.success(), "{output:?}");
    let table = String::from_utf8(output.stdout).unwrap();
    let rows = |name: &str| table.lines().filter(|line| line.starts_with(name)).count();
    for algorithm in Algorithm::ALL {
        assert_eq!(rows(algorithm.name()), 8, "{table}");
    }

    let report: Report = serde_json::from_str(&fs::read_to_string(json).unwrap()).unwrap();
    assert_eq!(report.machine.threads, 2);
    assert_eq!(report.measurements.len(), 32);
    for row in &report.measurements {
        let rejected = (row.algorithm, row.classes, row.k) == (Algorithm::DivideAndConquer, 6, 5);
        if rejected {
            assert_eq!(row.forward_ms, None);
            let note = row.note.as_deref().unwrap();
            assert_eq!(note, "rejected: this loss needs at least 7 classes, got 6");
            continue;
        }
        assert_eq!(row.note, None);
        assert_eq!(row.error_samples, 3);
        assert!(row.forward_ms.unwrap() > 0.0);
        assert!(row.forward_backward_ms.unwrap() > 0.0);
        // For k = 1 the fused algorithm needs no more than the gradient's own memory.
        let least = usize::from(row.algorithm != Algorithm::Fused);
        assert!(
            (least..1 << 20).contains(&row.peak_bytes.unwrap()),
            "{row:?}"
        );
        let (loss, grad) = (row.loss_error.unwrap(), row.grad_error.unwrap());
        match row.algorithm {
            Algorithm::Fused => {
                assert!(
                    loss <= Tolerance::F32.loss && grad <= Tolerance::F32.grad,
                    "{row:?}"
                );
            }
            Algorithm::Summation if row.tau < 0.01 => assert!(loss.is_nan() || loss > 1e10),
            _ if row.tau == 1.0 => assert!(loss < 1e-3 && grad < 1e-2, "{row:?}"),
            _ => {}
        }
    }

    let csv = fs::read_to_string(csv).unwrap();
    let mut lines = csv.lines();
    let columns = lines.next().unwrap().split(',').count();
    assert_eq!(lines.clone().count(), 32);
    // A note is quoted and holds the only other comma.
    let fields = |line: &str| line.split(',').count() - line.matches("classes, got").count();
    assert!(lines.all(|line| fields(line) == columns), "{csv}");
}

#[test]
fn plots_are_drawn_from_measurements_of_their_own() {
    let folder = tempfile::tempdir().unwrap();
    let plots = path(folder.path(), "new/plots");
    let json = path(folder.path(), "a.json");
    let output = topk_perf(&[
        "--algorithms",
        "fused",
        "--num-classes",
        "10",
        "--plots",
        &plots,
        "--json",
        &json,
    ]);
    assert!(output.status.success(), "{output:?}");
    for name in ["time-by-classes.svg", "time-by-k.svg", "errors-by-tau.svg"] {
        let svg = fs::read_to_string(Path::new(&plots).join(name)).unwrap();
        assert!(
            svg.starts_with("<svg ") && svg.ends_with("</svg>\n"),
            "{name}"
        );
    }
    let report: Report = serde_json::from_str(&fs::read_to_string(json).unwrap()).unwrap();
    assert_eq!(report.measurements.len(), 1 + 6 + 7 + 13);
    for row in &report.measurements[14..] {
        assert_eq!(row.error_samples, 64);
        assert!(row.loss_error.unwrap() <= Tolerance::F32.loss, "{row:?}");
        assert!(row.grad_error.unwrap() <= Tolerance::F32.grad, "{row:?}");
    }
}

#[test]
fn an_algorithm_over_the_time_limit_is_not_timed() {
    let output = topk_perf(&[
        "--batch-size",
        "2",
        "--num-classes",
        "50",
        "--limit",
        "1e-12",
    ]);
    assert!(output.status.success(), "{output:?}");
    let table = String::from_utf8(output.stdout).unwrap();
    for algorithm in Algorithm::ALL {
        let note = format!("  {algorithm}: not timed: a batch would take about ");
        assert!(table.contains(&note), "{table}");
    }
}

#[test]
fn time_is_measured_where_there_are_no_exact_values() {
    let output = topk_perf(&["--batch-size", "2", "--num-classes", "50", "--tau", "1e-20"]);
    assert!(output.status.success(), "{output:?}");
    let table = String::from_utf8(output.stdout).unwrap();
    let note = "  fused: errors not measured: scores that differ by ";
    assert!(table.contains(note), "{table}");
}

#[test]
fn a_closed_pipe_does_not_end_the_run() {
    let folder = tempfile::tempdir().unwrap();
    let csv = path(folder.path(), "a.csv");
    let mut command = Command::new(env!("CARGO_BIN_EXE_topk-perf"))
        .args(["--batch-size", "2", "--num-classes", "50", "--csv", &csv])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    drop(command.stdout.take());
    assert!(command.wait().unwrap().success());
    assert!(Path::new(&csv).exists());
}

#[test]
fn bad_arguments_are_named() {
    let cases: [(&[&str], &str); 9] = [
        (
            &["--num-classes", "1000,5"],
            "--topk 5 is too large for --num-classes 5: this loss needs at least 6 classes, got 5",
        ),
        (&["--topk", "0"], "k must be at least 1, got 0"),
        (
            &["--tau", "1,0"],
            "tau (temperature) must be a finite number above 0, got 0",
        ),
        (
            &["--alpha=-1"],
            "alpha (margin) must be a finite number of at least 0, got -1",
        ),
        (
            &["--batch-size", "0"],
            "invalid value '0' for '--batch-size <N>'",
        ),
        (&["--repeats", "0"], "invalid value '0' for '--repeats <R>'"),
        (
            &["--algorithms", "fast"],
            "'--algorithms <NAME>': expected summation, log-summation, divide-and-conquer or fused",
        ),
        (&["--dtype", "f16"], "'--dtype <TYPE>': expected f32 or f64"),
        (&["--scale", "NaN"], "--scale must be a finite number"),
    ];
    for (args, expected) in cases {
        let message = refusal(args);
        assert!(message.contains(expected), "{args:?}: {message}");
    }
}

#[test]
fn a_file_that_cannot_be_written_is_one_error_before_the_work() {
    let folder = tempfile::tempdir().unwrap();
    let missing = path(folder.path(), "none/a.csv");
    let here = path(folder.path(), "");
    for (flag, file) in [("--csv", &missing), ("--json", &missing), ("--csv", &here)] {
        let message = refusal(&[flag, file]);
        let expected = format!("error: cannot write {file}: ");
        assert!(message.starts_with(&expected), "{message}");
        assert_eq!(message.lines().count(), 1, "{message}");
    }
    let file = path(folder.path(), "file");
    fs::write(&file, "").unwrap();
    let message = refusal(&["--plots", &file]);
    assert!(
        message.starts_with("error: cannot create the folder "),
        "{message}"
    );
    // No partial file is left.
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
}
