//! Calibration against independent libraries, and files of logits against NumPy's and safetensors' formats.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use topk_calibration::{
    AveragePrecision, Calibration, CalibrationError, Estimate, Logits, LogitsDifference,
    LogitsWriter, PredictionSets, RankedBy, Reliability, SetMethod, Settings,
};

/// What `data/make_calibration.py` computed.
#[derive(Deserialize)]
struct Fixture {
    #[serde(flatten)]
    settings: Settings,
    labels: Vec<u32>,
    logits: Vec<Vec<f32>>,
    fitted_on: usize,
    temperature: [f64; 3],
    before: Expected,
    after: Expected,
    sets: Vec<ExpectedSets>,
}

#[derive(Deserialize)]
struct Expected {
    nll: [f64; 3],
    brier: [f64; 3],
    ece: f64,
    adaptive_ece: f64,
    classwise_ece: f64,
}

#[derive(Deserialize)]
struct ExpectedSets {
    method: SetMethod,
    target: f64,
    threshold: f64,
    coverage: [f64; 3],
    /// Number of sets of each size.
    sizes: Vec<usize>,
}

fn fixture() -> Fixture {
    serde_json::from_str(include_str!("data/calibration.json")).unwrap()
}

fn write(fixture: &Fixture, path: &Path) -> Logits {
    let mut writer = LogitsWriter::new(path, fixture.logits[0].len()).unwrap();
    for (at, (label, logits)) in fixture.labels.iter().zip(&fixture.logits).enumerate() {
        writer.push(at as u64, *label, logits).unwrap();
    }
    writer.finish().unwrap()
}

fn measure(fixture: &Fixture) -> Calibration {
    let folder = tempfile::tempdir().unwrap();
    let logits = write(fixture, &folder.path().join("logits.npz"));
    Calibration::measure(&logits, &fixture.settings).unwrap()
}

fn data(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data");
    folder.join(name)
}

#[track_caller]
fn assert_close(what: &str, found: f64, expected: f64, tolerance: f64) {
    let error = (found - expected).abs() / expected.abs().max(1e-3);
    assert!(
        error <= tolerance,
        "{what}: {found}, expected {expected}: error {error:.1e}"
    );
}

#[track_caller]
fn assert_estimate(what: &str, found: Estimate, [value, low, high]: [f64; 3], tolerance: f64) {
    assert_close(what, found.value, value, tolerance);
    assert_close(what, found.low, low, tolerance);
    assert_close(what, found.high, high, tolerance);
}

#[test]
fn temperature_is_scipys() {
    let fixture = fixture();
    let found = measure(&fixture);
    let [value, low, high] = fixture.temperature;
    assert_eq!(found.fitted_on, fixture.fitted_on);
    // SciPy's search ends where the cross-entropy no longer changes.
    assert_close("temperature", found.temperature.value, value, 1e-7);
    assert_close("low", found.temperature.low, low, 1e-7);
    assert_close("high", found.temperature.high, high, 1e-7);
    assert!(!found.temperature.at_limit);
}

#[test]
fn reliability_is_that_of_other_libraries() {
    let fixture = fixture();
    let found = measure(&fixture);
    let check = |when: &str, found: Reliability, expected: &Expected, tolerance: f64| {
        assert_estimate(&format!("NLL {when}"), found.nll, expected.nll, tolerance);
        assert_estimate(
            &format!("Brier {when}"),
            found.brier,
            expected.brier,
            tolerance,
        );
        assert_close(
            &format!("adaptive ECE {when}"),
            found.adaptive_ece,
            expected.adaptive_ece,
            tolerance,
        );
        // torchmetrics computes in single precision.
        assert_close(&format!("ECE {when}"), found.ece.value, expected.ece, 1e-6);
        assert_close(
            &format!("class-wise ECE {when}"),
            found.classwise_ece,
            expected.classwise_ece,
            1e-6,
        );
        assert!(found.ece.low <= found.ece.value && found.ece.value <= found.ece.high);
    };
    check("before", found.before, &fixture.before, 1e-12);
    check("after", found.after, &fixture.after, 1e-7);
}

#[test]
fn prediction_sets_are_those_of_torchcp() {
    let fixture = fixture();
    let found = measure(&fixture);
    assert_eq!(found.sets.len(), fixture.sets.len());
    for (found, expected) in found.sets.iter().zip(&fixture.sets) {
        let what = format!("{} at {}", expected.method.name(), expected.target);
        assert_eq!(
            (found.method, found.target),
            (expected.method, expected.target)
        );
        assert_close(&what, found.threshold.unwrap(), expected.threshold, 1e-7);
        assert_estimate(&what, found.coverage, expected.coverage, 1e-10);
        let images: usize = expected.sizes.iter().sum();
        let mut sizes = Vec::new();
        for (size, &count) in expected.sizes.iter().enumerate() {
            sizes.extend(vec![size; count]);
        }
        let mean = sizes.iter().sum::<usize>() as f64 / images as f64;
        assert_close(&what, found.size.value, mean, 1e-12);
        let quantiles = [
            sizes[(images - 1) / 2],
            sizes[(9 * images).div_ceil(10) - 1],
            sizes[images - 1],
        ];
        assert_eq!([found.median, found.p90, found.max], quantiles, "{what}");
        let parts =
            [expected.sizes[0], expected.sizes[1]].map(|count| count as f64 / images as f64);
        assert_eq!([found.empty, found.singleton], parts, "{what}");
    }
}

#[test]
fn files_of_all_formats_give_the_same_figures() {
    let fixture = fixture();
    let folder = tempfile::tempdir().unwrap();
    let measured = |path: &str| {
        let logits = write(&fixture, &folder.path().join(path));
        Calibration::measure(&logits, &fixture.settings).unwrap()
    };
    let expected = measured("logits.npz");
    assert_eq!(measured("logits.safetensors"), expected);
    assert_eq!(measured("logits.parquet"), expected);

    let mut writer = LogitsWriter::temporary(fixture.logits[0].len()).unwrap();
    for (at, (label, logits)) in fixture.labels.iter().zip(&fixture.logits).enumerate() {
        writer.push(at as u64, *label, logits).unwrap();
    }
    let logits = writer.finish().unwrap();
    assert_eq!(
        Calibration::measure(&logits, &fixture.settings).unwrap(),
        expected
    );
    let mut left: Vec<_> = folder
        .path()
        .read_dir()
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    left.sort();
    assert_eq!(left, ["logits.npz", "logits.parquet", "logits.safetensors"]);
}

#[test]
fn files_of_other_libraries_are_read() {
    let mut fixture = fixture();
    fixture.logits.truncate(40);
    fixture.labels.truncate(40);
    let expected = measure(&fixture);
    for name in [
        "numpy.npz",
        "safetensors.safetensors",
        "pyarrow.parquet",
        "polars.parquet",
    ] {
        let logits = Logits::open(&data(name)).unwrap();
        let found = Calibration::measure(&logits, &fixture.settings).unwrap();
        assert_eq!(found, expected, "{name}");
    }
    for logit in fixture.logits.iter_mut().flatten() {
        *logit = half::f16::from_f32(*logit).to_f32();
    }
    let logits = Logits::open(&data("half.parquet")).unwrap();
    let found = Calibration::measure(&logits, &fixture.settings).unwrap();
    assert_eq!(found, measure(&fixture));
}

/// `data/make_parquet.py` checks that other libraries read the file, which has these bytes.
#[test]
fn parquet_files_are_those_that_other_libraries_read() {
    let mut fixture = fixture();
    fixture.logits.truncate(40);
    fixture.labels.truncate(40);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("topk.parquet");
    write(&fixture, &path);
    let [found, expected] = [path, data("topk.parquet")].map(|path| std::fs::read(path).unwrap());
    assert!(
        found == expected,
        "run data/make_parquet.py on the new file"
    );
}

#[test]
fn damaged_parquet_files_are_errors() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("damaged.parquet");
    let whole = std::fs::read(data("topk.parquet")).unwrap();
    let mut refused = 0;
    for at in (0..whole.len()).step_by(11) {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x55;
        std::fs::write(&path, &bytes).unwrap();
        refused += usize::from(Logits::open(&path).is_err());
        std::fs::write(&path, &whole[..at]).unwrap();
        assert!(Logits::open(&path).is_err(), "{at} bytes");
    }
    // Most bytes are those of logits, which may be any.
    assert!(refused > 5, "{refused}");
}

#[test]
fn parquet_files_with_several_groups_keep_the_order_of_the_images() {
    // 2²⁴ logits are in a group, so that the second has one row.
    const CLASSES: usize = 1 << 20;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("logits.parquet");
    let mut writer = LogitsWriter::new(&path, CLASSES).unwrap();
    for index in (0..17).rev() {
        let mut logits = vec![0.0; CLASSES];
        logits[index as usize] = index as f32;
        writer.push(3 * index, index as u32, &logits).unwrap();
    }
    let written = writer.finish().unwrap();
    let expected: Vec<u64> = (0..17).map(|index| 3 * index).collect();
    assert_eq!(written.indices(), expected);
    let found = Logits::open(&path).unwrap();
    let difference = LogitsDifference::measure(&written, &found).unwrap();
    assert_eq!((difference.images, difference.max), (17, 0.0));
}

#[test]
fn logits_are_compared_image_by_image() {
    let logits = |rows: &[(u64, [f32; 3])]| {
        let mut writer = LogitsWriter::temporary(3).unwrap();
        for (index, row) in rows {
            writer.push(*index, 0, row).unwrap();
        }
        writer.finish().unwrap()
    };
    const MASKED: f32 = f32::NEG_INFINITY;
    let before = logits(&[(3, [1.0, 2.0, MASKED]), (8, [0.5, 0.0, MASKED])]);
    let after = logits(&[(3, [1.0, 2.25, MASKED]), (8, [0.0, 0.0, MASKED])]);
    let found = LogitsDifference::measure(&before, &after).unwrap();
    assert_eq!((found.images, found.index, found.class), (2, 8, 0));
    assert_eq!((found.max, found.mean), (0.5, 0.75 / 4.0));

    let error = |rows: &[(u64, [f32; 3])]| {
        LogitsDifference::measure(&before, &logits(rows))
            .unwrap_err()
            .to_string()
    };
    let found = error(&[(3, [1.0, 2.0, MASKED])]);
    assert!(
        found.contains("of 2 images and 3 classes in the first file, and of 1 and 3"),
        "{found}"
    );
    let found = error(&[(3, [1.0, 2.0, MASKED]), (9, [0.5, 0.0, MASKED])]);
    assert!(found.contains("row 1 is image 8 in the first"), "{found}");
    let found = error(&[(3, [1.0, 2.0, 0.0]), (8, [0.5, 0.0, MASKED])]);
    assert!(
        found.contains("class 2 for image 3 is -inf in only one"),
        "{found}"
    );
}

#[test]
fn an_interrupted_file_continues() {
    let fixture = fixture();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("logits.npz");
    let classes = fixture.logits[0].len();
    let images = || fixture.labels.iter().zip(&fixture.logits).enumerate();
    let mut writer = LogitsWriter::of_model(&path, classes, "abc").unwrap();
    for (at, (label, logits)) in images().take(150) {
        writer.push(at as u64, *label, logits).unwrap();
    }
    writer.save().unwrap();
    drop(writer);

    // The results that were saved have 100 images; the others are evaluated again.
    let saved: Vec<u64> = (0..100).collect();
    let refused = |identity: &str, indices: &[u64]| {
        LogitsWriter::resume(&path, classes, identity, indices)
            .unwrap_err()
            .to_string()
    };
    assert!(refused("other", &saved).contains("is of another model"));
    assert!(refused("abc", &[0, 400, 401]).contains("lacks 2 images"));
    let mut writer = LogitsWriter::resume(&path, classes, "abc", &saved).unwrap();
    for (at, (label, logits)) in images().skip(100) {
        writer.push(at as u64, *label, logits).unwrap();
    }
    let resumed = writer.finish().unwrap();
    let found = Calibration::measure(&resumed, &fixture.settings).unwrap();
    assert_eq!(found, measure(&fixture));
    assert!(!folder.path().join("logits.npz.part").exists());
}

#[test]
fn parts_of_several_processes_are_one() {
    let fixture = fixture();
    let folder = tempfile::tempdir().unwrap();
    let [path, part] = ["logits.npz", "part"].map(|name| folder.path().join(name));
    let classes = fixture.logits[0].len();
    let push = |writer: &mut LogitsWriter, images: std::ops::Range<usize>| {
        for at in images {
            writer
                .push(at as u64, fixture.labels[at], &fixture.logits[at])
                .unwrap();
        }
    };
    let images = fixture.labels.len();
    let indices: Vec<u64> = (200..images as u64).collect();
    let mut other = LogitsWriter::part(&part, classes, "abc").unwrap();
    push(&mut other, 200..250);
    other.save().unwrap();
    let some: Vec<u64> = [&indices[..10], &indices[30..40]].concat();
    for path in [Some(&path), None] {
        let mut writer = match path {
            Some(path) => LogitsWriter::of_model(path, classes, "abc").unwrap(),
            None => LogitsWriter::temporary(classes).unwrap(),
        };
        push(&mut writer, 0..100);
        writer.add_part(&part, "abc", &some).unwrap();
        writer.add_part(&part, "abc", &indices[..50]).unwrap();
        push(&mut writer, 100..200);
        if path.is_some() {
            let error = |writer: &mut LogitsWriter, identity: &str| {
                let error = writer.add_part(&part, identity, &indices).unwrap_err();
                error.to_string()
            };
            assert!(error(&mut writer, "other").contains("is of another model"));
            let lacks = format!("lacks {} images", images - 250);
            assert!(error(&mut writer, "abc").contains(&lacks));
            push(&mut other, 250..images);
            other.save().unwrap();
        }
        writer.add_part(&part, "abc", &indices).unwrap();
        let logits = writer.finish().unwrap();
        assert_eq!(logits.images(), images);
        let found = Calibration::measure(&logits, &fixture.settings).unwrap();
        assert_eq!(found, measure(&fixture));
    }
    drop(other);
    assert!(part.exists(), "whoever has added it removes it");
}

/// Against scikit-learn and torchmetrics (`data/make_average_precision.py`).
#[test]
fn average_precision_is_that_of_scikit_learn() {
    let expected: serde_json::Value =
        serde_json::from_str(include_str!("data/average_precision.json")).unwrap();
    let mut fixture = fixture();
    for at in (5..fixture.logits.len()).step_by(5) {
        fixture.logits[at] = fixture.logits[at - 1].clone();
    }
    let labels = fixture.labels.iter().enumerate().map(|(at, &label)| {
        let first = label % 11;
        match at % 3 {
            // Of repeated labels one counts.
            0 => vec![first, (label + at as u32) % 11, first],
            _ => vec![first],
        }
    });
    let labels: Vec<Vec<u32>> = labels.collect();
    let folder = tempfile::tempdir().unwrap();
    let logits = write(&fixture, &folder.path().join("logits.npz"));
    for (ranked_by, name) in [
        (RankedBy::Softmax, "softmax"),
        (RankedBy::Sigmoid, "sigmoid"),
    ] {
        let found = AveragePrecision::measure(&logits, &labels, ranked_by)
            .unwrap()
            .unwrap();
        assert_eq!((found.classes, found.images), (11, fixture.labels.len()));
        let expected = &expected[name];
        let close = |found: f64, field: &str| {
            assert_close(name, found, expected[field].as_f64().unwrap(), 1e-12);
        };
        close(found.mean, "mean");
        close(found.weighted, "weighted");
        assert_eq!(serde_json::to_value(found).unwrap()["ranked_by"], name);
    }
    let none = vec![Vec::new(); labels.len()];
    let found = AveragePrecision::measure(&logits, &none, RankedBy::Softmax).unwrap();
    assert_eq!(found, None);
}

/// With more logits than are in memory at once.
#[test]
fn average_precision_of_many_classes_is_measured_in_parts() {
    const CLASSES: u32 = 1 << 20;
    const IMAGES: u32 = 40;
    let mut writer = LogitsWriter::temporary(CLASSES as usize).unwrap();
    // Image i has the classes i and CLASSES − 1 − i. The first is best of all; two others are better for the second.
    let mut labels = Vec::new();
    for image in 0..IMAGES {
        let (first, second) = (image, CLASSES - 1 - image);
        let mut logits = vec![0.0; CLASSES as usize];
        for (class, logit) in [
            (first, 5.0),
            (second, 1.0),
            (CLASSES - 1 - (image + 1) % IMAGES, 2.0),
            (CLASSES - 1 - (image + 2) % IMAGES, 3.0),
        ] {
            logits[class as usize] = logit;
        }
        writer.push(image.into(), first, &logits).unwrap();
        labels.push(vec![first, second]);
    }
    let logits = writer.finish().unwrap();
    let found = AveragePrecision::measure(&logits, &labels, RankedBy::Sigmoid)
        .unwrap()
        .unwrap();
    assert_eq!(found.classes, 2 * IMAGES as usize);
    assert_close("mAP", found.mean, f64::midpoint(1.0, 1.0 / 3.0), 1e-12);
}

#[test]
fn predictions_are_compared_with_logits() {
    let fixture = fixture();
    let folder = tempfile::tempdir().unwrap();
    let logits = write(&fixture, &folder.path().join("logits.npz"));
    let highest = |logits: &Vec<f32>| {
        let classes = 0..logits.len();
        classes
            .max_by(|&a, &b| logits[a].total_cmp(&logits[b]))
            .unwrap() as u32
    };
    let mut predicted: Vec<u32> = fixture.logits.iter().map(highest).collect();
    assert_eq!(logits.contradiction(&predicted).unwrap(), None);
    predicted[17] = (predicted[17] + 1) % fixture.logits[0].len() as u32;
    assert_eq!(logits.contradiction(&predicted).unwrap(), Some(17));
}

#[test]
fn nothing_is_left_without_a_save() {
    let folder = tempfile::tempdir().unwrap();
    let mut writer = LogitsWriter::new(&folder.path().join("logits.npz"), 2).unwrap();
    writer.push(0, 1, &[0.0, 1.0]).unwrap();
    drop(writer);
    assert_eq!(folder.path().read_dir().unwrap().count(), 0);
}

#[test]
fn too_few_images_for_a_coverage_give_all_classes() {
    let fixture = fixture();
    let settings = Settings {
        coverage: vec![0.999],
        ..fixture.settings.clone()
    };
    let folder = tempfile::tempdir().unwrap();
    let logits = write(&fixture, &folder.path().join("logits.npz"));
    let sets: Vec<PredictionSets> = Calibration::measure(&logits, &settings).unwrap().sets;
    for sets in sets {
        assert_eq!(
            (sets.threshold, sets.median, sets.coverage.value),
            (None, 12, 1.0)
        );
    }
}

#[test]
fn models_that_are_always_right_or_wrong_are_at_the_limits() {
    let measure = |logit: f32| {
        let mut writer = LogitsWriter::temporary(2).unwrap();
        for image in 0..20 {
            let label = image % 2;
            let mut logits = [0.0, 0.0];
            logits[label as usize] = logit;
            writer.push(image, label as u32, &logits).unwrap();
        }
        Calibration::measure(&writer.finish().unwrap(), &Settings::default()).unwrap()
    };
    let right = measure(3.0);
    assert_eq!(
        (right.temperature.value, right.temperature.at_limit),
        (0.01, true)
    );
    assert!(right.after.nll.value < 1e-12);
    let wrong = measure(-3.0);
    assert_eq!(
        (wrong.temperature.value, wrong.temperature.at_limit),
        (100.0, true)
    );
}

#[test]
fn masked_classes_have_no_influence() {
    let fixture = fixture();
    let classes = fixture.logits[0].len();
    let mut writer = LogitsWriter::temporary(classes + 2).unwrap();
    for (at, (label, logits)) in fixture.labels.iter().zip(&fixture.logits).enumerate() {
        let mut masked = logits.clone();
        masked.extend([f32::NEG_INFINITY; 2]);
        writer.push(at as u64, *label, &masked).unwrap();
    }
    let found = Calibration::measure(&writer.finish().unwrap(), &fixture.settings).unwrap();
    let expected = measure(&fixture);
    assert_eq!(found.temperature, expected.temperature);
    assert_eq!(
        (found.after.nll, found.after.ece),
        (expected.after.nll, expected.after.ece)
    );
    for (found, expected) in found.sets.iter().zip(&expected.sets) {
        assert_eq!(
            (found.threshold, found.max),
            (expected.threshold, expected.max)
        );
    }
}

#[test]
fn bad_files_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let error = |name: &str| Logits::open(&path(name)).unwrap_err().to_string();
    assert!(
        error("a.csv")
            .ends_with("a.csv: expected a file name that ends in .npz, .safetensors or .parquet")
    );
    assert!(error("absent.npz").starts_with("cannot read"));
    std::fs::write(path("text.npz"), "not an archive").unwrap();
    assert!(
        error("text.npz").contains("is not a file of this format"),
        "{}",
        error("text.npz")
    );
    let tensors = |header: &str, data: usize| {
        let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
        bytes.extend(header.as_bytes());
        bytes.extend(vec![0; data]);
        std::fs::write(path("x.safetensors"), bytes).unwrap();
        error("x.safetensors")
    };
    let logits = r#""logits":{"dtype":"F32","shape":[2,3],"data_offsets":[0,24]}"#;
    let found = tensors(&format!("{{{logits}}}"), 24);
    assert!(
        found.contains("has no array `labels`, only `logits`"),
        "{found}"
    );
    let found = tensors(&format!("{{{logits}}}"), 23);
    assert!(found.contains("ends before the end of `logits`"), "{found}");
    let labels = |dtype: &str, shape: &str| {
        format!(
            r#"{{{logits},"labels":{{"dtype":"{dtype}","shape":{shape},"data_offsets":[24,40]}}}}"#
        )
    };
    let found = tensors(&labels("I64", "[1]"), 40);
    assert!(found.contains("expected 2 integers"), "{found}");
    let found = tensors(&labels("F64", "[2]"), 40);
    assert!(found.contains("expected 2 integers"), "{found}");
    let found = tensors(
        "{\"logits\":{\"dtype\":\"F32\",\"shape\":[4611686018427387904,3],\"data_offsets\":[0,1]}}",
        9,
    );
    assert!(found.contains("ends before the end"), "{found}");

    for (name, expected) in [
        (
            "lengths",
            "`logits` has null, or lists of other lengths than 2",
        ),
        (
            "null",
            "`logits` has null, or lists of other lengths than 2",
        ),
        (
            "no-list",
            "`logits` has lists of different lengths: 5 values in 3 rows",
        ),
        ("no-label", "the column `label` has null"),
        (
            "label",
            "the column `label` has 2 at 1, which is not in 0..2",
        ),
        ("text", "the column `label` is not of integers"),
        ("wide", "has no column `logits`, only `label`, `0`, `1`"),
        ("scalar", "the column `logits` is not a list of floats"),
        ("empty", "the column `logits` is empty"),
    ] {
        let path = data(&format!("bad/{name}.parquet"));
        let error = Logits::open(&path).unwrap_err().to_string();
        assert!(error.contains(expected), "{name}: {error}");
    }

    let mut writer = LogitsWriter::temporary(3).unwrap();
    writer.push(4, 0, &[1.0, f32::NAN, 0.0]).unwrap();
    writer.push(5, 0, &[1.0, 2.0, 0.0]).unwrap();
    let error = Calibration::measure(&writer.finish().unwrap(), &Settings::default()).unwrap_err();
    assert!(error.to_string().contains("image 4 have NaN"), "{error}");
    let mut writer = LogitsWriter::temporary(3).unwrap();
    writer.push(4, 0, &[1.0, 0.5, 0.0]).unwrap();
    let error = Calibration::measure(&writer.finish().unwrap(), &Settings::default()).unwrap_err();
    assert!(matches!(error, CalibrationError::Images(1)));
}
