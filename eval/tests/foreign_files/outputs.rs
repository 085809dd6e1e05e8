//! Output files: links, devices, pipes, and what cannot be written.

use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::{FileTypeExt, PermissionsExt, symlink};
use std::path::PathBuf;
use std::process::Stdio;

use serde_json::Value;

use crate::case::Case;
use crate::{subcommand, text};

/// The flags that write files, with an extension that each accepts.
const OUTPUTS: [(&str, &str); 8] = [
    ("--json", "json"),
    ("--html", "html"),
    ("--csv", "csv"),
    ("--class-csv", "csv"),
    ("--confusion-csv", "csv"),
    ("--predictions", "csv"),
    ("--predictions", "parquet"),
    ("--paper-table", "txt"),
];

#[test]
fn a_link_is_followed_and_its_target_keeps_its_mode() {
    let case = Case::new();
    for (flag, extension) in OUTPUTS {
        let target = case.path(&format!("kept.{extension}"));
        let link = case.path(&format!("link.{extension}"));
        let missing = case.path(&format!("missing.{extension}"));
        fs::write(&target, "").unwrap();
        fs::set_permissions(&target, fs::Permissions::from_mode(0o640)).unwrap();
        symlink(&target, &link).unwrap();
        symlink("later", &missing).unwrap();
        for link in [&link, &missing] {
            let output = case.run(&[flag, text(link)]);
            assert!(output.status.success(), "{output:?}");
            assert!(link.is_symlink(), "{flag}");
        }
        let mode = fs::metadata(&target).unwrap().permissions().mode();
        assert_eq!(mode & 0o7777, 0o640, "{flag}");
        let later = case.path("later");
        for written in [&target, &later] {
            assert!(fs::metadata(written).unwrap().len() > 0, "{flag}");
        }
        for used in [target, link, missing, later] {
            fs::remove_file(used).unwrap();
        }
    }
}

/// A link to a device: a program that replaced its output would replace the link, and not a device of the machine
/// that runs the test as root.
fn link_to(case: &Case, device: &str, name: &str) -> PathBuf {
    let link = case.path(name);
    symlink(device, &link).unwrap();
    link
}

#[test]
fn devices_are_written_in_place() {
    let case = Case::new();
    for (at, (flag, extension)) in OUTPUTS.into_iter().enumerate() {
        let null = link_to(&case, "/dev/null", &format!("null-{at}.{extension}"));
        let output = case.run(&[flag, text(&null)]);
        assert!(output.status.success(), "{output:?}");
        assert!(null.is_symlink(), "{flag}");
    }
    case.results(&[]);
    let results = case.path("out.json");
    let results = text(&results);
    let [json, html] = ["json", "html"].map(|name| link_to(&case, "/dev/null", name));
    for arguments in [
        vec!["merge", results, "--json", text(&json)],
        vec![
            "compare",
            results,
            results,
            "--json",
            text(&json),
            "--html",
            text(&html),
        ],
    ] {
        let output = subcommand(&arguments).output().unwrap();
        assert!(output.status.success(), "{output:?}");
    }
    assert!(json.is_symlink() && html.is_symlink());
    let null = fs::metadata("/dev/null").unwrap();
    assert!(null.file_type().is_char_device());
}

/// Standard output may be a pipe or a redirected file; the table then goes to standard error.
#[test]
fn standard_output_takes_a_file_alone() {
    let case = Case::new();
    let stdout = link_to(&case, "/dev/stdout", "stdout.json");
    let output = case.run(&["--json", text(&stdout)]);
    assert!(output.status.success(), "{output:?}");
    let piped: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(piped["data"]["images"], 10);
    let printed = String::from_utf8(output.stderr).unwrap();
    assert!(printed.contains("top-1"), "{printed}");

    let path = case.path("redirected.json");
    let status = case
        .command(&["--json", text(&stdout)])
        .stdout(File::create(&path).unwrap())
        .status();
    assert!(status.unwrap().success());
    let redirected: Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
    assert_eq!(
        redirected["models"][0]["outcomes"],
        piped["models"][0]["outcomes"]
    );
}

#[test]
fn a_closed_pipe_ends_quietly_with_all_files_written() {
    let case = Case::new();
    let json = case.path("out.json");
    let mut child = case
        .command(&["--json", text(&json)])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let mut printed = String::new();
    let mut stderr = child.stderr.take().unwrap();
    stderr.read_to_string(&mut printed).unwrap();
    assert!(child.wait().unwrap().success(), "{printed}");
    assert!(!printed.contains("error"), "{printed}");
    assert!(json.exists());
    let mut compare = subcommand(&["compare", text(&json), text(&json)]);
    let mut child = compare.stdout(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    assert!(child.wait().unwrap().success());
}

#[test]
fn what_cannot_be_written_is_an_error_before_the_run() {
    let case = Case::new();
    let missing = case.path("missing/file");
    for (flag, _) in OUTPUTS {
        for (path, reason) in [(text(&missing), "No such file"), ("/", "it is a folder")] {
            let output = case.run(&[flag, path]);
            assert_eq!(output.status.code(), Some(1), "{flag}");
            assert!(output.stdout.is_empty(), "{flag}");
            let printed = String::from_utf8(output.stderr).unwrap();
            let expected = format!("error: cannot write {path}: {reason}");
            assert!(printed.starts_with(&expected), "{printed}");
        }
    }
    let (csv, same) = (case.path("out.csv"), case.path("./out.csv"));
    let error = case.error(&["--csv", text(&csv), "--predictions", text(&same)]);
    assert!(
        error.contains("--csv and --predictions are the same file"),
        "{error}"
    );
}

/// `/dev/full` accepts no bytes: whatever else was requested is written, and the table printed.
#[test]
#[cfg(target_os = "linux")]
fn an_output_that_fails_late_loses_nothing_else() {
    let case = Case::new();
    let csv = case.path("out.csv");
    let full = link_to(&case, "/dev/full", "full.json");
    let output = case.run(&["--json", text(&full), "--csv", text(&csv)]);
    assert_eq!(output.status.code(), Some(1));
    let table = String::from_utf8(output.stdout).unwrap();
    assert!(table.contains("top-1"), "{table}");
    let printed = String::from_utf8(output.stderr).unwrap();
    let words: Vec<&str> = printed.split_whitespace().collect();
    assert!(
        words.join(" ").contains("full.json: No space left"),
        "{printed}"
    );
    assert!(csv.exists());
}
