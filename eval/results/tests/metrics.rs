//! Metrics against those of scikit-learn, SciPy and statsmodels (`data/make_metrics.py`).

mod synthetic;

use serde_json::Value;
use synthetic::{SKILLS, Size, run};
use topk_results::{CropAveraging, FailurePolicy, Image, Results, Scorer};

/// The images of the fixture, with outcomes.
fn fixture() -> (Value, Results) {
    let fixture: Value = serde_json::from_str(include_str!("data/metrics.json")).unwrap();
    let scores: Vec<Vec<f32>> = serde_json::from_value(fixture["scores"].clone()).unwrap();
    let labels: Vec<u32> = serde_json::from_value(fixture["labels"].clone()).unwrap();
    let classes = scores[0].len();
    let scorer = Scorer::new(classes).unwrap();
    let size = Size {
        images: labels.len(),
        classes,
    };
    let mut results = run(size, &SKILLS[..1], None);
    results.settings.topk = vec![1, 2, 5];
    results.settings.loss = None;
    results.failures.clear();
    for (at, (image, &label)) in results.images.iter_mut().zip(&labels).enumerate() {
        image.labels = vec![label];
        let outcome = scorer.score(&image.name, &scores[at], CropAveraging::None, &image.labels);
        results.models[0].outcomes[at] = outcome.unwrap();
    }
    (fixture, results.recompute().unwrap())
}

fn assert_close(found: Option<f64>, expected: &Value, tolerance: f64) {
    let (found, expected) = (found.unwrap(), expected.as_f64().unwrap());
    let error = (found - expected).abs();
    assert!(
        error <= tolerance * expected,
        "{found}, expected {expected}"
    );
}

#[test]
fn metrics_match_scikit_learn() {
    let (expected, results) = fixture();
    let metrics = &results.models[0].metrics;
    assert_eq!(
        (metrics.images, metrics.evaluated, metrics.ties),
        (300, 300, 0)
    );
    for (k, row) in expected["topk"].as_object().unwrap() {
        let found = metrics.topk(k.parse().unwrap()).unwrap();
        assert_eq!(found.correct as u64, row[0]);
        assert_close(Some(found.low), &row[1], 1e-12);
        assert_close(Some(found.high), &row[2], 1e-12);
    }
    let mean_class_accuracy = metrics.topk(1).unwrap().mean_class_accuracy;
    assert_close(mean_class_accuracy, &expected["mean_class_accuracy"], 1e-12);
    assert_close(metrics.cross_entropy, &expected["cross_entropy"], 1e-12);
    // Confidences differ in the last digit of f32 where the softmax is rounded differently.
    assert_close(
        metrics.calibration_error,
        &expected["calibration_error"],
        1e-7,
    );
    for (bin, row) in metrics
        .calibration
        .iter()
        .zip(expected["calibration"].as_array().unwrap())
    {
        assert_eq!(
            [bin.images as u64, bin.correct as u64],
            [0, 1].map(|i| row[i].as_u64().unwrap())
        );
    }
}

#[test]
fn confusions_match_scikit_learn() {
    let (expected, results) = fixture();
    let matrix: Vec<Vec<usize>> = serde_json::from_value(expected["confusion"].clone()).unwrap();
    let confusions = results.confusions(0);
    let wrong: usize = confusions.iter().map(|confusion| confusion.images).sum();
    assert_eq!(wrong, 300 - results.models[0].metrics.topk[0].correct);
    for confusion in &confusions {
        let [label, predicted] = [confusion.class, confusion.predicted].map(|class| class as usize);
        assert_eq!(confusion.images, matrix[label][predicted]);
    }
    assert!(confusions.is_sorted_by_key(|confusion| std::cmp::Reverse(confusion.images)));
    for row in results.class_rows(0) {
        let class = row.class as usize;
        assert_eq!(row.images, matrix[class].iter().sum::<usize>());
        assert_eq!(row.top1_correct, matrix[class][class]);
        let (predicted, images) = row.confused_with.unwrap();
        let others = (0..8).filter(|&other| other != class);
        assert_eq!(Some(images), others.map(|other| matrix[class][other]).max());
        assert_eq!(images, matrix[class][predicted as usize]);
    }
}

#[test]
fn unreadable_images_count_as_wrong_or_are_left_out() {
    let size = Size {
        images: 40,
        classes: 10,
    };
    let wrong = run(size, &SKILLS[..1], None);
    let metrics = &wrong.models[0].metrics;
    assert_eq!(
        (metrics.images, metrics.evaluated, metrics.failed),
        (40, 39, 1)
    );
    let mut skip = wrong.clone();
    skip.settings.failures = FailurePolicy::Skip;
    let skip = skip.recompute().unwrap();
    let skipped = &skip.models[0].metrics;
    assert_eq!(
        (skipped.images, skipped.evaluated, skipped.failed),
        (39, 39, 1)
    );
    assert_eq!(skipped.topk[0].correct, metrics.topk[0].correct);
    assert_eq!(skipped.cross_entropy, metrics.cross_entropy);
}

#[test]
fn images_without_a_valid_label_do_not_count() {
    let size = Size {
        images: 40,
        classes: 10,
    };
    let mut results = run(size, &SKILLS[..1], None);
    for at in [3, 30] {
        results.images[at].labels.clear();
        results.models[0].outcomes[at] = None;
    }
    // It is unreadable as well, but counted once.
    results.images[11].labels.clear();
    let results = results.recompute().unwrap();
    let metrics = &results.models[0].metrics;
    assert_eq!(
        (metrics.images, metrics.excluded, metrics.failed),
        (37, 3, 0)
    );
}

#[test]
fn no_images_have_no_accuracy() {
    let size = Size {
        images: 40,
        classes: 10,
    };
    let mut results = run(size, &SKILLS[..1], None);
    results.images.clear();
    results.failures.clear();
    results.models[0].outcomes.clear();
    let results = results.recompute().unwrap();
    let metrics = &results.models[0].metrics;
    assert_eq!(
        (metrics.topk[0].accuracy, metrics.cross_entropy),
        (None, None)
    );
    assert_eq!((metrics.topk[0].low, metrics.topk[0].high), (0.0, 1.0));
    assert!(!results.complete);
}

/// The order of the images changes metrics only by rounding.
#[test]
fn metrics_of_permuted_images_are_equal() {
    let size = Size {
        images: 500,
        classes: 10,
    };
    let results = run(size, &SKILLS[..1], None);
    let mut reversed = results.clone();
    reversed.failures.reverse();
    for failure in &mut reversed.failures {
        failure.index = 499 - failure.index;
    }
    let indices: Vec<usize> = results.images.iter().map(|image| image.index).collect();
    reversed.images.reverse();
    reversed.models[0].outcomes.reverse();
    for (image, index) in reversed.images.iter_mut().zip(indices) {
        *image = Image {
            index,
            ..image.clone()
        };
    }
    let reversed = reversed.recompute().unwrap();
    let [a, b] = [&results, &reversed].map(|results| &results.models[0].metrics);
    assert_eq!((&a.topk, a.ties), (&b.topk, b.ties));
    let close = |a: Option<f64>, b: Option<f64>| (a.unwrap() - b.unwrap()).abs() < 1e-12;
    assert!(close(a.cross_entropy, b.cross_entropy));
    assert!(close(a.calibration_error, b.calibration_error));
    assert_eq!(results.confusions(0), reversed.confusions(0));
}
