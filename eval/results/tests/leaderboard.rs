//! Many results side by side.

mod synthetic;

use serde_json::Value;
use synthetic::{SKILLS, Size, run, run_indices};
use topk_results::{
    Comparison, GateError, Leaderboard, LeaderboardEntry, QuantizationInfo, Results, Subset,
};
use topk_testing::{Site, browse_alone};

const EVIL: &str = "<script>alert('\"&')</script>";

const SIZE: Size = Size {
    images: 200,
    classes: 8,
};

/// Values from statsmodels and scikit-learn (`data/make_leaderboard.py`).
fn fixture() -> Value {
    serde_json::from_str(include_str!("data/leaderboard.json")).unwrap()
}

fn numbers(value: &Value) -> Vec<f64> {
    serde_json::from_value(value.clone()).unwrap()
}

/// Results of one model whose predictions are correct as in the fixture.
fn with_correct(number: usize, correct: &[f64]) -> Results {
    let mut results = run(SIZE, &SKILLS[..1], None);
    let model = &mut results.models[0];
    model.model.path = format!("runs/{number}/model.onnx");
    model.model.sha256 = format!("{number:064x}");
    for (outcome, &correct) in model.outcomes.iter_mut().zip(correct) {
        if let Some(outcome) = outcome {
            outcome.rank = if correct == 1.0 { 0 } else { 3 };
        }
    }
    results.recompute().unwrap()
}

fn five() -> Vec<Results> {
    let fixture = fixture();
    let rows = fixture["correct"].as_array().unwrap().iter().enumerate();
    rows.map(|(number, row)| with_correct(number, &numbers(row)))
        .collect()
}

fn leaderboard(results: &[Results]) -> Leaderboard {
    let entries = results.iter().enumerate();
    let entries =
        entries.flat_map(|(at, one)| LeaderboardEntry::of(&format!("out/{at}.json"), one));
    Leaderboard::new(entries.collect(), Vec::new())
}

#[test]
fn p_values_match_statsmodels() {
    let leaderboard = leaderboard(&five());
    let [group] = &leaderboard.groups[..] else {
        panic!("{} lists", leaderboard.groups.len());
    };
    let number = |at: usize| -> usize {
        let path = &group.entries[at].model.path;
        path.split('/').nth(1).unwrap().parse().unwrap()
    };
    let fixture = fixture();
    let expected = fixture["tests"].as_array().unwrap();
    assert_eq!(group.tests.len(), expected.len());
    for test in &group.tests {
        let mut pair = test.models.map(number);
        pair.sort_unstable();
        let of_pair = |row: &&Value| (0..2).all(|at| row[at] == pair[at]);
        let row = expected.iter().find(of_pair).unwrap();
        for (found, expected) in [(test.p_value, &row[2]), (test.adjusted, &row[3])] {
            let expected = expected.as_f64().unwrap();
            assert!(
                (found - expected).abs() <= 1e-10 * expected,
                "{found}, expected {expected}"
            );
        }
    }
    let marked: Vec<bool> = (0..5).map(|at| group.is_like_best(at)).collect();
    assert!(!marked[0] && marked[1] && !marked[4], "{marked:?}");
}

#[test]
fn differences_match_scikit_learn() {
    let fixture = fixture();
    let mut both = [0, 3].map(|number| five().swap_remove(number));
    for (results, predictions) in both
        .iter_mut()
        .zip(fixture["predictions"].as_array().unwrap())
    {
        let predictions = numbers(predictions);
        let outcomes = results.models[0].outcomes.iter_mut().zip(predictions);
        for (outcome, predicted) in outcomes {
            if let Some(outcome) = outcome {
                outcome.predicted = predicted as u32;
                outcome.best.clear();
            }
        }
    }
    let [before, after] = both.map(|results| results.recompute().unwrap());
    let comparison = Comparison::new((&before, 0), (&after, 0)).unwrap();
    let close = |found: f64, expected: f64| assert!((found - expected).abs() < 1e-12);
    close(
        comparison.agreement().unwrap(),
        fixture["agreement"].as_f64().unwrap(),
    );
    let [recall_before, recall_after] = [0, 1].map(|at| numbers(&fixture["recall"][at]));
    for class in &comparison.classes {
        let at = class.class as usize;
        let part = |correct: usize| correct as f64 / class.images as f64;
        close(part(class.before), recall_before[at]);
        close(part(class.after), recall_after[at]);
    }
    let changed = (0..8).filter(|&class| recall_before[class] != recall_after[class]);
    assert_eq!(comparison.classes.len(), changed.count());
    let differences = comparison.classes.iter().map(|class| class.difference());
    assert!(differences.collect::<Vec<_>>().is_sorted());
    let (lost, gained) = comparison.class_losses_and_gains();
    assert!(lost[0].difference() < 0.0);
    assert!(gained.iter().all(|class| class.after > class.before));
    let table = comparison.table(0);
    assert!(table.contains("classes lost"), "{table}");
    assert!(
        table.lines().all(|line| line.chars().count() <= 80),
        "{table}"
    );
}

#[test]
fn drops_are_compared_with_the_limit() {
    let mut before = run(SIZE, &SKILLS[..1], None);
    for outcome in before.models[0].outcomes.iter_mut().flatten() {
        outcome.rank = 0;
    }
    let mut after = before.clone();
    // 3 of 200 images: 1.5 points; one of them is not among the best five.
    for (at, rank) in [(0, 6), (1, 2), (2, 4)] {
        after.models[0].outcomes[at].as_mut().unwrap().rank = rank;
    }
    let [before, after] = [before, after].map(|results| results.recompute().unwrap());
    let mut comparison = Comparison::new((&before, 0), (&after, 0)).unwrap();
    for (allowed, passed) in [(1.49, false), (1.5, true), (2.0, true), (0.0, false)] {
        let gate = comparison.check_drop(1, allowed).unwrap();
        assert_eq!((gate.passed, gate.drop), (passed, 1.5), "{allowed}");
    }
    let gate = comparison.check_largest_k(0.5).unwrap();
    assert_eq!((gate.k, gate.passed), (5, true));
    let failed = "FAILED: top-1 accuracy drops by 1.50 points (99.50 % to 98.00 %), more than the";
    assert!(
        comparison.table(0).contains(failed),
        "{}",
        comparison.table(0)
    );
    assert!(
        comparison
            .to_html()
            .contains("Failed: top-1 accuracy drops by 1.50 points")
    );
    let json: Value = serde_json::from_str(&comparison.to_json()).unwrap();
    assert_eq!(json["gates"][0]["passed"], false);
    assert_eq!(json["gates"][4]["k"], 5);
    // A gain is not a drop.
    let mut comparison = Comparison::new((&after, 0), (&before, 0)).unwrap();
    assert!(comparison.check_drop(1, 0.0).unwrap().passed);

    let part = run_indices(SIZE, &SKILLS[..1], None, &(0..50).collect::<Vec<_>>());
    let mut comparison = Comparison::new((&before, 0), (&part, 0)).unwrap();
    assert_eq!(comparison.check_drop(1, 1.0), Err(GateError::Images(150)));
    let mut only_top1 = before.clone();
    only_top1.settings.topk = vec![1];
    let only_top1 = only_top1.recompute().unwrap();
    let mut comparison = Comparison::new((&only_top1, 0), (&before, 0)).unwrap();
    assert_eq!(comparison.check_largest_k(1.0), Err(GateError::NoTopk));
}

#[test]
fn other_images_are_in_other_lists() {
    let whole = run(SIZE, &SKILLS, None);
    let part = run_indices(SIZE, &SKILLS[..1], None, &(0..150).collect::<Vec<_>>());
    type Change = fn(&mut Results);
    let changes: [Change; 4] = [
        |results| results.settings.valid_classes = Some((0..8).collect()),
        |results| results.data.sha256 = "0".to_owned(),
        |results| results.images[3].labels = vec![7],
        |results| results.settings.failures = topk_results::FailurePolicy::Skip,
    ];
    let mut all = vec![whole.clone(), part];
    for change in changes {
        let mut other = run(SIZE, &SKILLS[..1], None);
        change(&mut other);
        all.push(other.recompute().unwrap());
    }
    // Another path and other names of classes do not matter.
    let mut same = run(SIZE, &SKILLS[2..], None);
    same.data.path = "/elsewhere/val".to_owned();
    same.class_names[0] = "another".to_owned();
    all.push(same.recompute().unwrap());
    let board = leaderboard(&all);
    let sizes: Vec<usize> = board
        .groups
        .iter()
        .map(|group| group.entries.len())
        .collect();
    assert_eq!(
        sizes.iter().filter(|&&size| size == 1).count(),
        5,
        "{sizes:?}"
    );
    assert_eq!(sizes.iter().max(), Some(&4), "{sizes:?}");
    assert_eq!(
        board
            .groups
            .iter()
            .filter(|group| group.is_partial())
            .count(),
        1
    );
    for text in [board.table(), board.to_html(), board.to_markdown()] {
        assert!(text.contains("PARTIAL: 150 images of 200"), "{text}");
    }
    let mut drawn = run_indices(SIZE, &SKILLS[..1], None, &[3, 9]);
    drawn.subset = Some(Subset {
        images: 2,
        seed: 7,
        indices: vec![3, 9],
    });
    drawn.complete = true;
    let board_of_subset = leaderboard(&[drawn.recompute().unwrap()]);
    assert!(board_of_subset.groups[0].is_partial());
    assert_eq!(board_of_subset.to_model_index(None), None);
    let table = board_of_subset.table();
    assert!(table.contains("SUBSET: 2 of 200 images"), "{table}");
    // The same model in two files is told apart by the file.
    let names: Vec<&str> = board
        .groups
        .iter()
        .flat_map(|group| &group.names)
        .map(String::as_str)
        .collect();
    assert!(names.contains(&"squeezenet1_1 (out/6)"), "{names:?}");
    assert!(names.contains(&"squeezenet1_1 (out/0, 3)"), "{names:?}");
    assert!(!board.to_model_index(None).unwrap().contains("images: 150"));
}

#[test]
fn numbers_are_those_of_the_results() {
    let results = run(SIZE, &SKILLS, None);
    let board = leaderboard(std::slice::from_ref(&results));
    let csv = board.to_csv();
    let mut rows = csv.lines();
    let header: Vec<&str> = rows.next().unwrap().split(',').collect();
    let column = |name: &str| header.iter().position(|title| *title == name).unwrap();
    let rows: Vec<Vec<&str>> = rows.map(|row| row.split(',').collect()).collect();
    for model in &results.models {
        let row = rows
            .iter()
            .find(|row| row[column("path")] == model.model.path)
            .unwrap();
        let accuracy = &model.metrics.topk[1];
        for (name, value) in [
            ("top5", accuracy.accuracy.unwrap()),
            ("top5_low", accuracy.low),
            ("top5_high", accuracy.high),
            ("cross_entropy", model.metrics.cross_entropy.unwrap()),
        ] {
            assert_eq!(row[column(name)].parse(), Ok(value), "{name}");
        }
        assert_eq!(row[column("top5_correct")], accuracy.correct.to_string());
        let top1 = 100.0 * model.metrics.topk[0].accuracy.unwrap();
        for text in [board.table(), board.to_markdown(), board.to_html()] {
            assert!(text.contains(&format!("{top1:.2}")), "{text}");
        }
    }
    assert_eq!(rows[0][column("p_value_holm")], "");
    let table = board.table();
    assert!(
        table.lines().all(|line| line.chars().count() <= 80),
        "{table}"
    );
}

#[test]
fn number_formats_are_short() {
    let mut results = run(SIZE, &SKILLS[..2], None);
    let model = &mut results.models[1].model;
    model.precision = "int8 98.7 %, float32 1.3 %".to_owned();
    assert_eq!(model.number_format(), "int8");
    model.bytes = Some(11_900_000);
    model.quantization = Some(QuantizationInfo {
        format: "QDQ".to_owned(),
        nodes: 21,
        quantized: 20,
        weights: vec!["int8".to_owned()],
        activations: vec!["uint8".to_owned()],
    });
    let table = results.table();
    assert!(
        table.contains("quantised, int8 QDQ (20 of 21 nodes)"),
        "{table}"
    );
    let comparison = Comparison::new((&results, 0), (&results, 1)).unwrap();
    let changed = "float32 → int8 QDQ (20 of 21 nodes), 46.8 to 11.9 MB";
    for text in [comparison.table(0), comparison.to_html()] {
        assert!(text.contains(changed), "{text}");
    }
    assert!(
        leaderboard(&[results])
            .to_html()
            .contains("int8 QDQ (20 of 21 nodes)")
    );
}

/// The file was read by `huggingface_hub` (`data/check_model_index.py`).
#[test]
fn the_model_index_is_the_one_that_was_checked() {
    let mut results = run(SIZE, &SKILLS[1..], None);
    results.data.path = "data/\"my photos\": all".to_owned();
    let board = leaderboard(&[results]);
    let index = board.to_model_index(None).unwrap();
    let expected = include_str!("data/model_index.yaml");
    assert!(index == expected, "data/model_index.yaml differs:\n{index}");
    let named = board.to_model_index(Some("imagenet-1k")).unwrap();
    assert_eq!(named, index.replace("\"imagefolder\"", "\"imagenet-1k\""));
}

/// Results on a test set.
fn on(preset: &str, skills: std::ops::Range<usize>) -> Results {
    let mut results = run(SIZE, &SKILLS[skills], None);
    results.data.preset = Some(preset.to_owned());
    results.data.sha256 = format!("{preset:0<64}");
    results.data.path = format!("/data/{preset}");
    results.recompute().unwrap()
}

#[test]
fn test_sets_are_columns_of_one_table() {
    let mut all = vec![
        on("imagenet-a", 0..2),
        on("imagenet", 0..3),
        on("imagenet-v2", 0..1),
    ];
    let mut real = on("imagenet", 0..1);
    real.data.real_labels = Some("real.json".to_owned());
    real.data.sha256 = "r".repeat(64);
    // Older results of the same model, and a set without a name.
    let mut older = on("imagenet-a", 0..1);
    older.started = "2020-01-01T00:00:00Z".to_owned();
    older.models[0]
        .outcomes
        .iter_mut()
        .flatten()
        .for_each(|outcome| outcome.rank = 7);
    let mut unnamed = run(SIZE, &SKILLS[..1], None);
    unnamed.data.sha256 = "0".repeat(64);
    let part = run_indices(SIZE, &SKILLS[..1], None, &[0, 1, 2]);
    let mut part = part;
    part.data.preset = Some("imagenet-r".to_owned());
    let others = [real, older, unnamed, part].map(|results| results.recompute().unwrap());
    all.extend(others);

    let board = leaderboard(&all);
    let shifts = board.shifts().unwrap();
    let names: Vec<&str> = shifts.sets.iter().map(|set| &*set.name).collect();
    assert_eq!(
        names,
        ["imagenet", "imagenet-real", "imagenet-v2", "imagenet-a"]
    );
    assert_eq!(shifts.models.len(), 3);
    let first = &all[1].models;
    for model in &shifts.models {
        let results = first
            .iter()
            .find(|of| of.model.sha256 == model.sha256)
            .unwrap();
        for accuracy in &results.metrics.topk {
            let found = model.accuracy(0, accuracy.k).unwrap();
            assert_eq!(Some(found.accuracy), accuracy.accuracy);
            assert_eq!((found.low, found.high), (accuracy.low, accuracy.high));
        }
    }
    let top1 = |at: usize| shifts.models[at].accuracy(0, 1).unwrap().accuracy;
    assert!(top1(0) >= top1(1) && top1(1) >= top1(2));
    let of = |at: usize| {
        let sha256 = &first[at].model.sha256;
        shifts
            .models
            .iter()
            .find(|model| model.sha256 == *sha256)
            .unwrap()
    };
    // Of the two results on ImageNet-A, the newer.
    let newer = all[0].models[0].metrics.topk[0].accuracy;
    assert_eq!(of(0).accuracy(3, 1).map(|found| found.accuracy), newer);
    assert_eq!((of(1).accuracy(1, 1), of(2).accuracy(2, 1)), (None, None));
    assert!(of(0).accuracy(2, 5).is_some() && of(0).corruptions.is_none());
    assert_eq!(shifts.notes.len(), 2, "{:?}", shifts.notes);
    let table = board.table();
    assert!(
        table.starts_with("Test sets, top-1 accuracy in %"),
        "{table}"
    );
    assert!(
        table.lines().all(|line| line.chars().count() <= 80),
        "{table}"
    );
    let json: Value = serde_json::from_str(&shifts.to_json()).unwrap();
    assert_eq!(json["sets"][3]["name"], "imagenet-a");
    // One set, even with several lists, needs no table.
    assert_eq!(leaderboard(&all[..1]).shifts(), None);
    assert!(!leaderboard(&all[..1]).table().contains("Test sets"));
}

#[test]
fn corruptions_are_summed_up() {
    const NAMES: [&str; 15] = [
        "gaussian_noise",
        "shot_noise",
        "impulse_noise",
        "defocus_blur",
        "glass_blur",
        "motion_blur",
        "zoom_blur",
        "snow",
        "frost",
        "fog",
        "brightness",
        "contrast",
        "elastic_transform",
        "pixelate",
        "jpeg_compression",
    ];
    let sets = NAMES
        .iter()
        .flat_map(|name| (1..=5).map(move |severity| (name, severity)));
    let mut all: Vec<Results> = sets
        .map(|(name, severity)| on(&format!("imagenet-c/{name}/{severity}"), 0..1))
        .collect();
    all.push(on("imagenet", 0..1));
    let error = 1.0 - all[0].models[0].metrics.topk[0].accuracy.unwrap();
    let board = leaderboard(&all);
    let shifts = board.shifts().unwrap();
    let errors = shifts.models[0].corruptions.as_ref().unwrap();
    assert!((errors.mean_error.unwrap() - error).abs() < 1e-12);
    // The mean of 1 / e over AlexNet's errors.
    assert!((errors.mce.unwrap() - error * 1.293_451).abs() < 1e-5 * error);
    // As bad as without corruptions.
    assert_eq!(errors.relative_mce, Some(0.0));
    let table = board.table();
    assert!(
        table.contains("relative mCE %") && !table.contains("/data/imagenet-c"),
        "{table}"
    );
    let page = board.to_html();
    assert!(page.contains("jpeg compression") && !page.contains("/data/imagenet-c"));
    assert!(board.to_markdown().contains("| mCE % |"));
    // Each of the 76 lists is in the CSV file.
    assert_eq!(board.to_csv().lines().count(), 77);

    all.remove(3);
    let board = leaderboard(&all);
    let errors = board.shifts().unwrap().models[0]
        .corruptions
        .clone()
        .unwrap();
    assert_eq!(errors.mce, None);
    assert!(
        board.table().contains("still needs: 1"),
        "{}",
        board.table()
    );
}

/// Files of older versions lack the fields.
#[test]
fn older_files_are_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("old.json");
    let results = run(SIZE, &SKILLS[..1], None);
    let mut json: Value = serde_json::from_str(&results.to_json()).unwrap();
    let model = json["models"][0]["model"].as_object_mut().unwrap();
    assert!(model.remove("bytes").is_some() && model.remove("quantization").is_none());
    std::fs::write(&path, json.to_string()).unwrap();
    let read = Results::read(&path).unwrap();
    assert_eq!(read.models[0].model.bytes, None);
    let table = leaderboard(&[read]).table();
    assert!(table.contains('–'), "{table}");
}

#[test]
fn markup_in_names_is_escaped() {
    let mut results = run(SIZE, &SKILLS, None);
    results.data.path = EVIL.to_owned();
    results.models[0].model.path = format!("{EVIL}.onnx");
    results.models[1].model.device = EVIL.to_owned();
    results.warnings = vec![EVIL.to_owned()];
    let entries = LeaderboardEntry::of("a.json", &results);
    let board = Leaderboard::new(entries, vec![EVIL.to_owned()]);
    assert!(!board.to_html().contains(EVIL));
    assert!(!board.to_markdown().contains("<script"));
}

/// A page that shows the leaderboard in a frame and sorts its first table.
const VISIT: &str = r#"<!doctype html>
<script type="module">
const frame = document.createElement("iframe");
frame.style.width = "420px";
frame.src = "/leaderboard.html";
frame.onload = () => {
  const page = frame.contentDocument;
  const table = page.querySelector("table.leaderboard");
  const header = table.tHead.rows[0];
  const at = (title) => [...header.cells].findIndex((cell) => cell.textContent === title);
  const column = (title) => [...table.tBodies[0].rows].map((row) => row.cells[at(title)].dataset.value);
  const press = (title) => header.cells[at(title)].firstChild.click();
  const first = header.cells[at("top-1 %")].getAttribute("aria-sort");
  const sorts = ["top-1 %", "top-1 %", "cross-entropy", "MB"].map((title) => {
    press(title);
    return column(title).map(Number);
  });
  const overflow = page.documentElement.scrollWidth - page.documentElement.clientWidth;
  fetch("/result", { method: "POST", body: JSON.stringify({ first, sorts, overflow }) });
};
document.documentElement.append(frame);
</script>"#;

#[test]
fn columns_are_sorted_in_a_browser() {
    let mut results = five();
    results[2].models[0].model.bytes = None;
    let site = Site::new()
        .file("/index.html", VISIT)
        .file("/leaderboard.html", leaderboard(&results).to_html());
    let Some(found) = browse_alone(site, "/index.html") else {
        return;
    };
    let found: Value = serde_json::from_str(&found).unwrap();
    assert_eq!(
        (&found["first"], &found["overflow"]),
        (&"descending".into(), &0.into())
    );
    let sorted = |at: usize| numbers(&found["sorts"][at]);
    let mut top1 = sorted(0);
    assert!(top1.len() == 5 && top1.is_sorted(), "{top1:?}");
    top1.reverse();
    assert_eq!(sorted(1), top1);
    assert!(sorted(2).is_sorted());
    // JSON has no infinity: the missing size comes first, as null.
    assert_eq!(found["sorts"][3][0], Value::Null);
}
