//! Results on standard output, and progress without a terminal.

use serde_json::Value;

use super::case::{Case, slow_case};

#[test]
fn results_can_be_written_to_standard_output() {
    let case = Case::new();
    let output = case.run(&["--json", "-"]);
    assert!(output.status.success(), "{output:?}");
    let results: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(results["data"]["images"], 10);
    let printed = String::from_utf8(output.stderr).unwrap();
    assert!(printed.contains("top-1 %"), "{printed}");
    // Nothing is created in the working folder.
    for (flag, start) in [
        ("--csv", "model,sha256,"),
        ("--predictions", "model,index,"),
        ("--html", "<!"),
    ] {
        let output = case
            .command(&[flag, "-"])
            .current_dir(case.folder.path())
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        let printed = String::from_utf8(output.stdout).unwrap();
        assert!(
            printed.to_lowercase().starts_with(start),
            "{flag}: {}",
            &printed[..40]
        );
        assert!(!case.path("-").exists());
    }
}

#[test]
fn only_one_file_can_be_standard_output() {
    let case = Case::new();
    let error = |flags: &[&str]| {
        let output = case.run(flags);
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        String::from_utf8(output.stderr).unwrap()
    };
    let message = error(&["--json", "-", "--csv", "-"]);
    assert!(
        message.contains(
            "--json and --csv both write to standard output: write one of them to a file"
        ),
        "{message}"
    );
    let message = error(&["--json", "-", "--resume"]);
    assert!(
        message.contains(
            "--resume reads earlier results from the file of --json, but - is not a file"
        ),
        "{message}"
    );
    let message = error(&["--paper-table", "-"]);
    assert!(
        message.contains("--paper-table appends to a file"),
        "{message}"
    );
}

#[test]
fn progress_is_printed_in_lines_without_a_terminal() {
    let case = slow_case();
    let output = case.run(&["--progress-interval", "0.05", "--batch-size", "4"]);
    assert!(output.status.success(), "{output:?}");
    let printed = String::from_utf8(output.stderr).unwrap();
    let lines: Vec<&str> = printed
        .lines()
        .filter(|line| line.contains(" of 401 images ("))
        .collect();
    assert!(!lines.is_empty(), "{printed}");
    for line in lines {
        for part in [" %), ", " images/s, ", " left, top-1 ", " top-5 "] {
            assert!(line.contains(part), "{line}");
        }
    }
    let output = case.run(&["--progress-interval", "1000"]);
    let printed = String::from_utf8(output.stderr).unwrap();
    assert!(!printed.contains(" of 401 images ("), "{printed}");
}
