//! Random subsets of the data.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output};

use serde_json::Value;

use super::case::{CLASSES, Case};

/// 60 images, 10 of each class, in mixed order.
fn case() -> Case {
    let case = Case::new();
    let labels: Vec<u8> = (0..60).map(|index| (index * 7 % CLASSES) as u8).collect();
    case.write_records(&labels);
    case
}

fn indices(results: &Value) -> Vec<u64> {
    let indices = results["images"]["indices"].as_array().unwrap();
    indices
        .iter()
        .map(|index| index.as_u64().unwrap())
        .collect()
}

fn topk_eval(command: &str, files: &[PathBuf], flags: &[&str]) -> Output {
    let mut topk_eval = Command::new(env!("CARGO_BIN_EXE_topk-eval"));
    topk_eval.arg(command).args(files).args(flags);
    topk_eval.output().unwrap()
}

#[test]
fn a_subset_is_stratified_reproducible_and_marked() {
    let case = case();
    let flags = ["--limit", "12", "--seed", "5", "--batch-size", "5"];
    let results = case.results(&flags);
    let drawn = indices(&results);
    assert_eq!(drawn.len(), 12);
    let mut labels: Vec<u64> = drawn
        .iter()
        .map(|index| index * 7 % CLASSES as u64)
        .collect();
    labels.sort_unstable();
    assert_eq!(labels, [0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5]);
    assert_eq!(results["subset"]["images"], 12);
    assert_eq!(results["subset"]["seed"], 5);
    assert_eq!(results["subset"]["indices"], serde_json::json!(drawn));
    assert_eq!(results["data"]["images"], 60);
    assert_eq!(results["complete"], true);

    // Whatever the values of k, the threads and the batch size are.
    let other = [
        "--limit",
        "12",
        "--seed",
        "5",
        "--topk",
        "2,3",
        "--workers",
        "1",
    ];
    assert_eq!(indices(&case.results(&other)), drawn);
    assert_ne!(indices(&case.results(&["--limit", "12"])), drawn);

    let [csv, html] = ["out.csv", "out.html"].map(|name| case.path(name));
    let files = [
        "--csv",
        csv.to_str().unwrap(),
        "--html",
        html.to_str().unwrap(),
    ];
    let output = case.run(&[&flags[..], &files].concat());
    let mark = "SUBSET: 12 of 60 images, drawn at random from each class (--limit 12 --seed 5)";
    let printed = String::from_utf8(output.stdout).unwrap();
    assert!(
        printed.contains(mark) && printed.contains("12 of the 60 images of /"),
        "{printed}"
    );
    let printed = String::from_utf8(output.stderr).unwrap();
    assert!(
        printed.contains("12 of 60 images, drawn at random from each class"),
        "{printed}"
    );
    let html = fs::read_to_string(html).unwrap();
    assert!(html.contains(mark) && html.contains("on a random subset: 12 of 60 images"));
    let csv = fs::read_to_string(csv).unwrap();
    // Fields before have commas.
    let column = |name: &str| {
        let mut lines = csv.lines();
        let at = lines
            .next()
            .unwrap()
            .rsplit(',')
            .position(|title| title == name);
        lines
            .next()
            .unwrap()
            .rsplit(',')
            .nth(at.unwrap())
            .unwrap()
            .to_owned()
    };
    assert_eq!(
        [column("subset_images"), column("subset_seed")],
        ["12", "5"]
    );
}

#[test]
fn all_images_are_no_subset() {
    let case = case();
    let results = case.results(&["--limit", "60"]);
    assert_eq!(results["subset"], Value::Null);
    assert_eq!(indices(&results).len(), 60);
    let line = "--limit 60: the data has no more than 60 images, all of which are evaluated";
    let decisions = results["data"]["decisions"].as_array().unwrap();
    assert!(decisions.contains(&line.into()), "{decisions:?}");
}

#[test]
fn subsets_are_sharded_merged_and_resumed() {
    let case = case();
    let limit = ["--limit", "21", "--seed", "1", "--device", "cpu"];
    let whole = case.results(&limit);
    let mut parts = Vec::new();
    for shard in ["1/2", "2/2"] {
        let results = case.results(&[&limit[..], &["--shard", shard]].concat());
        assert_eq!(results["complete"], true);
        assert_eq!(results["subset"], whole["subset"]);
        let part = case.path(&format!("{}.json", shard.replace('/', "-")));
        fs::write(&part, serde_json::to_vec(&results).unwrap()).unwrap();
        parts.push(part);
    }
    let merged = case.path("merged.json");
    let json = ["--json", merged.to_str().unwrap()];
    let output = topk_eval("merge", &parts, &json);
    assert!(output.status.success(), "{output:?}");
    let read = || -> Value { serde_json::from_slice(&fs::read(&merged).unwrap()).unwrap() };
    for member in ["subset", "images", "complete"] {
        assert_eq!(read()[member], whole[member], "{member}");
    }
    assert_eq!(
        read()["models"][0]["metrics"],
        whole["models"][0]["metrics"]
    );

    // A part is resumed to the subset, not to all images.
    let output = topk_eval(
        "merge",
        &parts[..1],
        &[&json[..], &["--allow-missing"]].concat(),
    );
    assert!(output.status.success(), "{output:?}");
    let mut part = read();
    part["shard"] = Value::Null;
    part["complete"] = false.into();
    fs::write(case.path("out.json"), part.to_string()).unwrap();
    let resumed = case.results(&[&limit[..], &["--resume"]].concat());
    assert_eq!(resumed["images"], whole["images"]);
    assert_eq!(
        resumed["models"][0]["metrics"],
        whole["models"][0]["metrics"]
    );

    for flags in [
        &["--limit", "21", "--seed", "2"][..],
        &["--limit", "20", "--seed", "1"],
        &[],
    ] {
        let json = case.path("out.json");
        let output = case.run(&[flags, &["--resume", "--json", json.to_str().unwrap()]].concat());
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(
            error.contains("cannot resume ") && error.contains("`subset"),
            "{error}"
        );
    }
}

#[test]
fn only_the_same_subset_is_compared() {
    let case = case();
    let file = |name: &str, flags: &[&str]| {
        let results = case.results(flags);
        let path = case.path(name);
        fs::write(&path, results.to_string()).unwrap();
        path
    };
    let first = file("first.json", &["--limit", "12"]);
    let second = file("second.json", &["--limit", "12", "--seed", "1"]);
    let all = file("all.json", &[]);
    let output = topk_eval("compare", &[first.clone(), second.clone()], &[]);
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(
        error.contains(
            "the random subset is --limit 12 --seed 0 in the first and --limit 12 --seed 1 in the second"
        ),
        "{error}"
    );
    let output = topk_eval("merge", &[first.clone(), second], &[]);
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(error.contains("`subset.seed` is 1, expected 0"), "{error}");
    // Paired on the images of the subset.
    let output = topk_eval("compare", &[first, all], &[]);
    let printed = String::from_utf8(output.stdout).unwrap();
    assert!(
        printed.contains("12 images evaluated by both\nSUBSET: 12 of 60 images")
            && printed.contains("left out: 0 only in the first, 48 only in the second"),
        "{printed}"
    );
}

#[test]
fn the_table_of_the_paper_cannot_mark_a_subset() {
    let case = case();
    let table = case.path("table.txt");
    let flags = ["--limit", "12", "--paper-table", table.to_str().unwrap()];
    assert_eq!(
        case.error(&flags),
        "--paper-table cannot mark accuracies of a subset: omit it, or --limit"
    );
    let output = case.run(&["--seed", "1"]);
    assert_eq!(output.status.code(), Some(1));
}
