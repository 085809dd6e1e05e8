//! Metrics against those of scikit-learn, torch-uncertainty and netcal (`data/make_further_metrics.py`), and the
//! tables per class.

mod synthetic;

use std::collections::BTreeMap;

use serde_json::Value;
use synthetic::{SKILLS, Size, run};
use topk_calibration::{LogitsWriter, RankedBy};
use topk_labels::imagenet::synsets;
use topk_labels::wordnet::lca_height;
use topk_results::{CropAveraging, FailurePolicy, Metrics, OutputKind, Results, Scorer, Severity};

fn fixture(name: &str) -> Value {
    let fixture = include_str!("data/further_metrics.json");
    let mut fixture: Value = serde_json::from_str(fixture).unwrap();
    fixture[name].take()
}

/// The results of the scores in `metrics.json` for the first images whose label is below `classes`.
fn results(images: usize, classes: u32) -> Results {
    let source: Value = serde_json::from_str(include_str!("data/metrics.json")).unwrap();
    let scores: Vec<Vec<f32>> = serde_json::from_value(source["scores"].clone()).unwrap();
    let labels: Vec<u32> = serde_json::from_value(source["labels"].clone()).unwrap();
    let chosen = labels.iter().zip(&scores).take(images);
    let chosen: Vec<_> = chosen.filter(|(label, _)| **label < classes).collect();
    let size = Size {
        images: chosen.len(),
        classes: 8,
    };
    let scorer = Scorer::new(8).unwrap();
    let mut results = run(size, &SKILLS[..1], None);
    results.settings.loss = None;
    results.failures.clear();
    for (at, (&label, scores)) in chosen.into_iter().enumerate() {
        let image = &mut results.images[at];
        image.labels = vec![label];
        let outcome = scorer.score(&image.name, scores, CropAveraging::None, &[label]);
        results.models[0].outcomes[at] = outcome.unwrap();
    }
    results.recompute().unwrap()
}

/// The fixture has single precision where torch computed it.
#[track_caller]
fn assert_close(found: Option<f64>, expected: &Value, tolerance: f64) {
    let (found, expected) = (found.unwrap(), expected.as_f64().unwrap());
    let error = (found - expected).abs();
    assert!(error <= tolerance, "{found}, expected {expected}");
}

#[test]
fn metrics_match_other_libraries() {
    for (name, images, classes) in [
        ("300", 300, 8),
        ("293", 293, 8),
        ("without_class_7", 300, 7),
    ] {
        let expected = fixture(name);
        let results = results(images, classes);
        let metrics = &results.models[0].metrics;
        assert_close(metrics.brier_score, &expected["brier_score"], 2e-7);
        let adaptive = &expected["adaptive_calibration_error"];
        assert_close(metrics.adaptive_calibration_error, adaptive, 2e-7);
        assert_close(metrics.aurc, &expected["aurc"], 1e-12);
        for (coverage, risk) in metrics
            .coverage
            .iter()
            .zip(expected["risk_at_coverage"].as_array().unwrap())
        {
            assert_close(
                coverage.accuracy.map(|accuracy| 1.0 - accuracy),
                risk,
                1e-12,
            );
        }
        let curve = expected["risk_coverage"].as_array().unwrap();
        assert_eq!(metrics.risk_coverage.len(), 100);
        for (&found, expected) in metrics.risk_coverage.iter().zip(curve) {
            assert_close(Some(found), expected, 1e-12);
        }
        for (average, name) in [
            (&metrics.macro_avg, "macro"),
            (&metrics.weighted_avg, "weighted"),
        ] {
            let average = average.as_ref().unwrap();
            for (found, expected) in [average.precision, average.recall, average.f1]
                .into_iter()
                .zip(expected[name].as_array().unwrap())
            {
                assert_close(Some(found), expected, 1e-12);
            }
        }
        for row in results.class_rows(0) {
            let expected = &expected["classes"][row.class as usize];
            assert_close(row.precision(), &expected[0], 1e-12);
            assert_close(row.recall(), &expected[1], 1e-12);
            assert_close(row.f1(), &expected[2], 1e-12);
            assert_eq!(row.images as u64, expected[3]);
        }
    }
}

#[test]
fn failed_images_that_count_as_wrong_are_the_least_confident() {
    let size = Size {
        images: 300,
        classes: 10,
    };
    let wrong = run(size, &SKILLS[..1], None);
    let mut skipped = wrong.clone();
    skipped.settings.failures = FailurePolicy::Skip;
    let skipped = skipped.recompute().unwrap();
    let [wrong, skipped] = [wrong, skipped].map(|results| results.models[0].metrics.clone());
    assert_eq!(wrong.failed, 2);
    for metrics in [&wrong, &skipped] {
        assert_eq!(metrics.coverage[0].accuracy, metrics.topk[0].accuracy);
        assert_eq!(metrics.coverage[0].images, metrics.images);
        let recall = metrics.weighted_avg.as_ref().unwrap().recall;
        assert!((recall - metrics.topk[0].accuracy.unwrap()).abs() < 1e-12);
    }
    assert_eq!(wrong.coverage[0].confidence, None);
    assert!(skipped.coverage[0].confidence.is_some());
    assert!(wrong.aurc > skipped.aurc);
    assert_eq!(
        wrong.adaptive_calibration_error,
        skipped.adaptive_calibration_error
    );
    assert_eq!(wrong.severity, skipped.severity);
}

#[test]
fn of_several_true_classes_the_first_has_the_image() {
    let mut results = results(300, 8);
    let predicted = results.models[0].outcomes[0].as_ref().unwrap().predicted;
    let other = (predicted + 1) % 8;
    results.images[0].labels = vec![other, predicted];
    results.models[0].outcomes[0].as_mut().unwrap().rank = 0;
    let results = results.recompute().unwrap();
    let csv = results.to_confusion_csv();
    let lines: Vec<&str> = csv.lines().collect();
    let start = format!("{},{other},", results.models[0].model.path);
    let correct = lines
        .iter()
        .filter(|line| line.starts_with(&start) && line.contains(",true,"));
    assert_eq!(correct.count(), 2, "{csv}");
    let rows = results.class_rows(0);
    let right: usize = rows.iter().map(|row| row.predicted_correct).sum();
    assert_eq!(
        right,
        rows.iter().map(|row| row.top1_correct).sum::<usize>()
    );
    assert_eq!(right, results.models[0].metrics.topk[0].correct);
}

/// Against scikit-learn (`data/make_multilabel.py`).
#[test]
fn several_true_classes_are_ranked_as_by_scikit_learn() {
    let expected: Value = serde_json::from_str(include_str!("data/multilabel.json")).unwrap();
    let source: Value = serde_json::from_str(include_str!("data/metrics.json")).unwrap();
    let scores: Vec<Vec<f32>> = serde_json::from_value(source["scores"].clone()).unwrap();
    let mut results = results(300, 8);
    results.settings.topk = vec![1, 2, 5];
    let scorer = Scorer::new(8).unwrap();
    for (at, image) in results.images.iter_mut().enumerate() {
        let label = image.labels[0];
        if at % 3 == 0 {
            image.labels.push((label + 1 + at as u32) % 8);
        }
        if at % 4 == 0 {
            image.labels.push((label + 3) % 8);
        }
        let labels = &image.labels;
        let outcome = scorer.score(&image.name, &scores[at], CropAveraging::None, labels);
        results.models[0].outcomes[at] = outcome.unwrap();
    }
    let results = results.recompute().unwrap();
    // They are in the file, too.
    let file = tempfile::NamedTempFile::new().unwrap();
    results.save(file.path()).unwrap();
    let read = Results::read(file.path()).unwrap();
    assert_eq!(read, results);
    let found = read.models[0].metrics.multilabel.as_ref().unwrap();
    assert_eq!(expected["several"], found.several);
    for (name, value) in [
        ("mean_labels", found.mean_labels),
        ("ranking_average_precision", found.ranking_average_precision),
        ("coverage_error", found.coverage_error),
        ("ranking_loss", found.ranking_loss),
        ("r_precision", found.r_precision),
    ] {
        assert_close(Some(value), &expected[name], 1e-12);
    }
    for recall in &found.recall {
        assert_close(
            Some(recall.recall),
            &expected["recall"][recall.k.to_string()],
            1e-12,
        );
    }
    let table = results.metrics_table();
    assert!(table.contains("all true classes"), "{table}");
    assert!(
        table.lines().all(|line| line.chars().count() <= 80),
        "{table}"
    );
    // The mean average precision follows from the logits.
    let mut measured = results.clone();
    let mut writer = LogitsWriter::temporary(8).unwrap();
    for (image, scores) in measured.images.iter().zip(&scores) {
        writer
            .push(image.index as u64, image.labels[0], scores)
            .unwrap();
    }
    let logits = writer.finish().unwrap();
    measured.measure_average_precision(0, &logits).unwrap();
    let softmax = measured.models[0].average_precision.unwrap();
    assert_eq!(
        (softmax.classes, softmax.images, softmax.ranked_by),
        (8, results.images.len(), RankedBy::Softmax)
    );
    assert!(measured.metrics_table().contains("mAP %"));
    let page = measured.to_html(&[], |_| None).unwrap();
    assert!(page.contains("mean average precision (mAP)"));
    let row = &rows(&measured.to_csv())[0];
    assert_eq!(row["mean_average_precision"], softmax.mean.to_string());
    measured.save(file.path()).unwrap();
    assert_eq!(Results::read(file.path()).unwrap(), measured);
    measured.models[0].model.output_kind = OutputKind::Sigmoid;
    measured.measure_average_precision(0, &logits).unwrap();
    let sigmoid = measured.models[0].average_precision.unwrap();
    assert_eq!(sigmoid.ranked_by, RankedBy::Sigmoid);
    assert_ne!(sigmoid.mean, softmax.mean);
    // Older files do not have the ranks of the other classes.
    let mut older = results;
    for outcome in older.models[0].outcomes.iter_mut().flatten() {
        outcome.label_ranks.clear();
    }
    assert_eq!(
        older.recompute().unwrap().models[0].metrics.multilabel,
        None
    );
}

/// Against the code of ImageNet-X (`data/make_groups.py`).
#[test]
fn groups_have_the_accuracies_of_imagenet_x() {
    let expected: Value = serde_json::from_str(include_str!("data/groups.json")).unwrap();
    let mut results = results(300, 8);
    results.data.groups = Some("factors.jsonl".to_owned());
    results.data.group_names = serde_json::from_value(expected["factors"].clone()).unwrap();
    let factors = results.data.group_names.len();
    for (at, image) in results.images.iter_mut().enumerate() {
        // Every tenth image is not in the file.
        let groups = (0..factors as u32).filter(|&factor| (5 * at + 3 * factor as usize) % 11 < 3);
        image.groups = (at % 10 > 0).then(|| groups.collect());
    }
    let results = results.recompute().unwrap();
    let groups = &results.models[0].metrics.groups;
    assert_eq!(groups.len(), 16);
    for (at, group) in groups.iter().enumerate() {
        assert_eq!(expected["images"][at], group.images);
        assert_close(group.accuracy, &expected["accuracies"][at], 1e-12);
        assert_close(group.error_ratio, &expected["error_ratios"][at], 1e-12);
    }
    let file = tempfile::NamedTempFile::new().unwrap();
    results.save(file.path()).unwrap();
    assert_eq!(Results::read(file.path()).unwrap(), results);
}

#[test]
fn groups_are_in_all_outputs() {
    let mut results = results(300, 8);
    results.data.group_names = ["dark", "none", "<b>large"].map(str::to_owned).to_vec();
    for (at, image) in results.images.iter_mut().enumerate() {
        image.groups = Some(if at % 3 == 0 { vec![0, 2] } else { vec![] });
    }
    let results = results.recompute().unwrap();
    let groups = &results.models[0].metrics.groups;
    assert_eq!(
        (groups[1].images, groups[1].accuracy, groups[1].error_ratio),
        (0, None, None)
    );
    let table = results.table();
    assert!(table.contains("top-1 % (error ratio)"), "{table}");
    let page = results.to_html(&[], |_| None).unwrap();
    assert!(page.contains("Groups of images") && !page.contains("<b>large"));
    let row = &rows(&results.to_csv())[0];
    assert_eq!(
        row["group_dark_top1"],
        groups[0].accuracy.unwrap().to_string()
    );
    assert_eq!(row["group_none_error_ratio"], "");
    // Parts of one run have the same groups.
    let mut other = results.clone();
    other.data.group_names[0] = "bright".to_owned();
    assert!(results.check_same_run(&other).is_err());
    other = results;
    other.images[1].groups = Some(vec![3]);
    assert!(other.recompute().is_err());
}

/// The rows of a CSV file by the names of the columns.
fn rows(csv: &str) -> Vec<BTreeMap<String, String>> {
    let mut reader = csv::Reader::from_reader(csv.as_bytes());
    reader.deserialize().map(Result::unwrap).collect()
}

#[test]
fn class_tables_have_all_valid_classes_of_all_models() {
    let size = Size {
        images: 240,
        classes: 12,
    };
    let mut results = run(size, &SKILLS[..2], None);
    for image in &mut results.images {
        image.labels[0] = image.labels[0] / 2 * 2;
    }
    let results = results.recompute().unwrap();
    let csv = rows(&results.to_class_csv());
    assert_eq!(csv.len(), 24);
    for (model, rows) in csv.chunks(12).enumerate() {
        let expected = results.class_rows(model);
        for (class, row) in rows.iter().enumerate() {
            assert_eq!(row["model"], results.models[model].model.path);
            assert_eq!(row["class"], class.to_string());
            assert_eq!(row["wnid"], synsets()[class].wnid);
            assert_eq!(row["name"], results.class_names[class]);
            let found = expected.iter().find(|row| row.class as usize == class);
            let Some(found) = found else {
                assert_eq!(
                    (
                        &*row["images"],
                        &*row["top1"],
                        &*row["top5"],
                        &*row["recall"]
                    ),
                    ("0", "", "", "")
                );
                continue;
            };
            assert_eq!(row["images"], found.images.to_string());
            assert_eq!(row["top1"], found.top1().to_string());
            assert_eq!(row["top5"], found.topk().to_string());
            assert_eq!(row["recall"], row["top1"]);
            let precision = found
                .precision()
                .map_or(String::new(), |precision| precision.to_string());
            assert_eq!(row["precision"], precision);
            assert_eq!(row["f1"], found.f1().unwrap().to_string());
            let (confused, images) = found.confused_with.unwrap();
            assert_eq!(row["confused_with"], confused.to_string());
            assert_eq!(
                row["confused_with_name"],
                results.class_names[confused as usize]
            );
            assert_eq!(row["confused_images"], images.to_string());
        }
    }
}

#[test]
fn confusion_tables_have_each_prediction_once() {
    let size = Size {
        images: 300,
        classes: 12,
    };
    let mut results = run(size, &SKILLS[..2], None);
    results.wnids = None;
    let csv = rows(&results.to_confusion_csv());
    for (model, entry) in results.models.iter().enumerate() {
        let path = &entry.model.path;
        let rows = || csv.iter().filter(|row| row["model"] == *path);
        let images = |row: &BTreeMap<String, String>| row["images"].parse::<usize>().unwrap();
        assert_eq!(rows().map(images).sum::<usize>(), entry.metrics.evaluated);
        let correct = rows().filter(|row| row["correct"] == "true");
        assert_eq!(
            correct.map(images).sum::<usize>(),
            entry.metrics.topk[0].correct
        );
        for confusion in results.confusions(model) {
            let row = rows().find(|row| {
                row["class"] == confusion.class.to_string()
                    && row["predicted"] == confusion.predicted.to_string()
            });
            let row = row.unwrap();
            assert_eq!(images(row), confusion.images);
            assert_eq!((&*row["correct"], &*row["wnid"]), ("false", ""));
            assert_eq!(
                row["predicted_name"],
                results.class_names[confusion.predicted as usize]
            );
        }
    }
}

#[test]
fn severity_is_the_mean_height_of_common_ancestors() {
    let size = Size {
        images: 400,
        classes: 1000,
    };
    let mut results = run(size, &SKILLS[..1], None);
    results.settings.topk = vec![1, 2];
    results.images[0].labels.push(999);
    for (image, outcome) in results.images.iter().zip(&mut results.models[0].outcomes) {
        let Some(outcome) = outcome else { continue };
        let other = (outcome.predicted + 7) % 1000;
        outcome.best = [outcome.predicted, other]
            .map(|class| topk_results::Prediction {
                class,
                probability: 0.5,
            })
            .to_vec();
        outcome.rank = u32::from(!image.labels.contains(&outcome.predicted));
    }
    let results = results.recompute().unwrap();
    let Severity {
        mistakes,
        mistake_severity,
        hierarchical_distance,
    } = results.models[0].metrics.severity.clone().unwrap();
    let heights: Vec<[u32; 2]> = (results.images.iter().zip(&results.models[0].outcomes))
        .filter_map(|(image, outcome)| Some((image, outcome.as_ref()?)))
        .map(|(image, outcome)| {
            [0, 1].map(|at| {
                let heights = image
                    .labels
                    .iter()
                    .map(|&label| lca_height(label, outcome.best[at].class));
                heights.min().unwrap()
            })
        })
        .collect();
    let wrong: Vec<u32> = heights
        .iter()
        .map(|pair| pair[0])
        .filter(|&height| height > 0)
        .collect();
    let mean = |sum: u32, count: usize| Some(f64::from(sum) / count as f64);
    assert_eq!(mistakes, wrong.len());
    assert_eq!(mistake_severity, mean(wrong.iter().sum(), wrong.len()));
    assert_eq!(
        hierarchical_distance[0].distance,
        mean(wrong.iter().sum(), heights.len())
    );
    let both = heights.iter().flatten().sum();
    assert_eq!(
        hierarchical_distance[1].distance,
        mean(both, 2 * heights.len())
    );
    assert_eq!(hierarchical_distance[1].k, 2);
}

#[test]
fn other_classes_have_no_severity() {
    let severity = |wnids: Option<Vec<String>>| {
        let mut results = results(300, 8);
        results.wnids = wnids;
        results.recompute().unwrap().models[0]
            .metrics
            .severity
            .clone()
    };
    assert_eq!(severity(None), None);
    let mut wnids: Vec<String> = synsets()[..8]
        .iter()
        .map(|synset| synset.wnid.to_owned())
        .collect();
    // Without the best classes, the distance at k = 5 is unknown.
    let distances = severity(Some(wnids.clone())).unwrap().hierarchical_distance;
    assert_eq!(
        distances
            .iter()
            .map(|distance| distance.k)
            .collect::<Vec<_>>(),
        [1]
    );
    wnids[3] = "n00000001".to_owned();
    assert_eq!(severity(Some(wnids)), None);
}

/// Files that were written before there were Brier scores and further metrics.
#[test]
fn older_files_lack_the_brier_score_only() {
    let results = results(300, 8);
    let mut older: Value = serde_json::from_str(&results.to_json()).unwrap();
    let model = &mut older["models"][0];
    model["outcomes"].as_object_mut().unwrap().remove("brier");
    let metrics = model["metrics"].as_object_mut().unwrap();
    for added in [
        "brier_score",
        "adaptive_calibration_error",
        "aurc",
        "risk_coverage",
        "coverage",
        "macro_avg",
        "weighted_avg",
        "severity",
    ] {
        metrics.remove(added).unwrap();
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("older.json");
    std::fs::write(&path, older.to_string()).unwrap();
    let read = Results::read(&path).unwrap();
    let expected = Metrics {
        brier_score: None,
        ..results.models[0].metrics.clone()
    };
    assert_eq!(read.models[0].metrics, expected);
    assert!(read.to_csv().lines().count() == 2);
    assert!(read.metrics_table().contains("an older version"));
    assert!(!results.metrics_table().contains("an older version"));
    // Resuming such a run leaves the Brier score out.
    let mut mixed = read;
    mixed.models[0].outcomes[7].clone_from(&results.models[0].outcomes[7]);
    let mixed = mixed.recompute().unwrap();
    assert_eq!(mixed.models[0].metrics, expected);
    mixed.save(&path).unwrap();
    assert_eq!(Results::read(&path).unwrap(), mixed);
}

#[test]
fn metrics_tables_have_at_most_80_columns() {
    let size = Size {
        images: 100,
        classes: 12,
    };
    let mut results = run(size, &SKILLS, None);
    results.models[0].model.path = format!("/runs/{}/best.onnx", "long-name-".repeat(20));
    results.settings.topk = (1..=12).collect();
    let results = results.recompute().unwrap();
    let table = results.metrics_table();
    let widest = table.lines().map(|line| line.chars().count()).max();
    assert!(widest <= Some(80), "{table}");
    let metrics = &results.models[2].metrics;
    for number in [
        format!("{:.4}", metrics.brier_score.unwrap()),
        format!("{:.4}", metrics.aurc.unwrap()),
        format!("{:.2}", 100.0 * metrics.macro_avg.as_ref().unwrap().f1),
        format!("{:.2}", 100.0 * metrics.coverage[3].accuracy.unwrap()),
        format!(
            "{:.2}",
            metrics.severity.as_ref().unwrap().mistake_severity.unwrap()
        ),
    ] {
        assert!(table.contains(&number), "{number} is not in\n{table}");
    }
}
