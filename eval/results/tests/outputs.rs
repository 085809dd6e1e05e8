//! Tables and files for other programs.

mod synthetic;

use std::fs::{self, File};

use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::Field;
use synthetic::{SKILLS, Size, run};
use topk_results::{Comparison, Prediction, Results};

fn results() -> Results {
    let size = Size {
        images: 60,
        classes: 12,
    };
    run(size, &SKILLS, None)
}

#[test]
fn the_table_has_at_most_80_columns() {
    let mut results = results();
    results.models[0].model.path = format!("/runs/{}/best.onnx", "long-name-".repeat(20));
    results.models[1].metrics.ties = 4;
    for topk in [vec![1], vec![1, 5], vec![1, 2, 3, 4, 5, 6, 7, 8, 9, 10]] {
        results.settings.topk = topk;
        let table = results.clone().recompute().unwrap().table();
        let widest = table.lines().map(|line| line.chars().count()).max();
        assert!(widest <= Some(80), "{table}");
    }
    let table = results.recompute().unwrap().table();
    for k in 1..=10 {
        assert!(table.contains(&format!("top-{k} %")), "{table}");
    }
}

#[test]
fn warnings_about_models_are_below_the_table_and_in_the_report() {
    let mut results = results();
    results.warnings = vec!["`data.path` differs".to_owned()];
    results.models[1].model.notes = vec![
        "it takes 4 images at a time".to_owned(),
        "warning: it was exported in training mode".to_owned(),
    ];
    let html = results.to_html(&[], |_| None).unwrap();
    for text in [results.table(), html] {
        assert!(
            text.contains("resnet18-svm/bestk: it was exported in training mode"),
            "{text}"
        );
        assert!(text.contains("`data.path` differs"), "{text}");
        assert!(!text.contains("bestk: it takes 4 images"), "{text}");
    }
}

#[test]
fn the_table_has_the_numbers() {
    let results = results();
    let table = results.table();
    let metrics = &results.models[2].metrics;
    let top1 = &metrics.topk[0];
    let half = 100.0 * (top1.high - top1.low) / 2.0;
    let expected = format!("{:.2} ±{half:.2}", 100.0 * top1.accuracy.unwrap());
    let line = table
        .lines()
        .find(|line| line.starts_with("squeezenet1_1 "))
        .unwrap();
    assert!(line.contains(&expected), "{table}");
    assert!(
        table.contains(&format!("{:.4}", metrics.cross_entropy.unwrap())),
        "{table}"
    );
    assert!(table.contains("resnet18-ce/bestk ") && table.contains("resnet18-svm/bestk "));
    assert!(
        table.contains("1 image could not be evaluated (counted as wrong)"),
        "{table}"
    );
}

#[test]
fn two_runs_of_the_same_file_have_different_names() {
    let mut results = results();
    results.models[1].model = results.models[0].model.clone();
    results.models[1].model.provider = "cpu".to_owned();
    let table = results.table();
    assert!(
        table.contains("\nbestk (1, cuda) ") && table.contains("\nbestk (2, cpu) "),
        "{table}"
    );
}

#[test]
fn a_partial_run_is_marked() {
    let mut results = results();
    results.data.path = "/a/long/way/to/the/images".repeat(4);
    results.images.pop();
    for model in &mut results.models {
        model.outcomes.pop();
    }
    let table = results.recompute().unwrap().table();
    assert!(table.contains("PARTIAL: 1 image not evaluated"), "{table}");
    assert!(
        table.lines().all(|line| line.chars().count() <= 80),
        "{table}"
    );
}

#[test]
fn the_comparison_has_at_most_80_columns() {
    let mut results = results();
    for name in &mut results.class_names {
        *name = format!("{name} 犬").repeat(5);
    }
    let comparison = Comparison::new((&results, 0), (&results, 1)).unwrap();
    let table = comparison.table(1000);
    for line in table.lines() {
        assert!(unicode_width::UnicodeWidthStr::width(line) <= 80, "{line}");
    }
    let paired = &comparison.topk[0];
    assert!(
        table.contains(&format!("{:+.2} (", 100.0 * paired.difference)),
        "{table}"
    );
}

#[test]
fn csv_has_one_row_per_model() {
    let mut results = results();
    results.models[0].model.preprocessing = "resize, \"crop\"\nand more".to_owned();
    let csv = results.to_csv();
    let mut reader = csv::Reader::from_reader(csv.as_bytes());
    let header = reader.headers().unwrap().clone();
    let rows: Vec<_> = reader.records().map(Result::unwrap).collect();
    assert_eq!(rows.len(), 3);
    for (row, model) in rows.iter().zip(&results.models) {
        let field = |name: &str| &row[header.iter().position(|field| field == name).unwrap()];
        assert_eq!(field("model"), model.model.path);
        assert_eq!(field("preprocessing"), model.model.preprocessing);
        let number = |name: &str| field(name).parse::<f64>().unwrap();
        assert_eq!(
            Some(number("top5")),
            model.metrics.topk(5).unwrap().accuracy
        );
        assert_eq!(number("top1_low"), model.metrics.topk(1).unwrap().low);
        assert_eq!(Some(number("cross_entropy")), model.metrics.cross_entropy);
        assert_eq!(field("loss_tau"), "0.1");
        assert_eq!(field("threads"), "16");
    }
}

/// As `'{0:60} {1:12} {2:12}\n'.format(…)` of Python writes it.
#[test]
fn the_text_file_has_the_format_of_the_papers_code() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("imagenet_results.txt");
    let mut results = results();
    results.models.truncate(1);
    results.models[0].model.path = "xp/best".to_owned();
    results.append_paper_table(&path).unwrap();
    results.append_paper_table(&path).unwrap();
    let text = fs::read_to_string(&path).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 3);
    let name = "Experiment name";
    assert_eq!(
        lines[0],
        format!("{name}{} Accuracy@1   Accuracy@k  ", " ".repeat(45))
    );
    let [top1, top5] = [0, 1].map(|at| results.models[0].metrics.topk[at].accuracy.unwrap());
    assert_eq!(
        lines[1],
        format!("xp/best{} {top1:>12?} {top5:>12?}", " ".repeat(53))
    );
    assert_eq!(lines[1], lines[2]);
}

/// Results with every optional part of predictions.
fn with_best() -> Results {
    let mut results = results();
    results.models.truncate(2);
    results.images[2].labels.clear();
    results.images[3].labels.push(1);
    for model in &mut results.models {
        model.outcomes[2] = None;
        for outcome in model.outcomes.iter_mut().flatten() {
            let first = Prediction {
                class: outcome.predicted,
                probability: outcome.confidence,
            };
            let second = Prediction {
                class: 7,
                probability: 0.1,
            };
            outcome.best = vec![first, second];
        }
    }
    results.recompute().unwrap()
}

#[test]
fn predictions_as_csv() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("p.csv");
    let results = with_best();
    results.save_predictions(&path).unwrap();
    let mut reader = csv::Reader::from_path(&path).unwrap();
    let header = reader.headers().unwrap().clone();
    let rows: Vec<_> = reader.records().map(Result::unwrap).collect();
    assert_eq!(rows.len(), 120);
    let field = |row: usize, name: &str| {
        rows[row][header.iter().position(|field| field == name).unwrap()].to_owned()
    };
    let outcome = results.models[1].outcomes[5].as_ref().unwrap();
    assert_eq!(field(65, "model"), results.models[1].model.path);
    assert_eq!(field(65, "name"), "ILSVRC2012_val_00000006.JPEG");
    assert_eq!(field(65, "rank"), outcome.rank.to_string());
    assert_eq!(
        field(65, "predicted_name"),
        results.class_names[outcome.predicted as usize]
    );
    assert_eq!(field(65, "confidence"), outcome.confidence.to_string());
    assert_eq!(
        field(65, "cross_entropy"),
        outcome.cross_entropy.to_string()
    );
    assert_eq!(
        (field(65, "class2"), field(65, "probability2")),
        ("7".to_owned(), "0.1".to_owned())
    );
    let statuses = [2, 11, 12].map(|row| field(row, "status"));
    assert_eq!(statuses, ["excluded", "failed", "judged"]);
    assert_eq!(
        (field(2, "label"), field(11, "rank")),
        (String::new(), String::new())
    );
    assert!(field(3, "labels").ends_with(" 1"));
}

#[test]
fn predictions_in_parquet_match_those_in_csv() {
    let folder = tempfile::tempdir().unwrap();
    let [csv, parquet] = ["p.csv", "p.PARQUET"].map(|name| folder.path().join(name));
    let results = with_best();
    results.save_predictions(&csv).unwrap();
    results.save_predictions(&parquet).unwrap();
    let reader = SerializedFileReader::new(File::open(&parquet).unwrap()).unwrap();
    assert_eq!(reader.num_row_groups(), 2);
    let mut csv = csv::Reader::from_path(&csv).unwrap();
    let header = csv.headers().unwrap().clone();
    let mut rows = 0;
    for (row, record) in reader.get_row_iter(None).unwrap().zip(csv.records()) {
        let (row, record) = (row.unwrap(), record.unwrap());
        for (at, (name, field)) in row.get_column_iter().enumerate() {
            assert_eq!(*name, header[at]);
            let text = match field {
                Field::Null => String::new(),
                Field::Bool(value) => value.to_string(),
                Field::Long(value) => value.to_string(),
                Field::Double(value) => value.to_string(),
                Field::Str(value) => value.clone(),
                other => panic!("{other}"),
            };
            assert_eq!(text, record[at], "{name}");
        }
        rows += 1;
    }
    assert_eq!(rows, 120);
}

#[test]
fn other_extensions_are_rejected() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("p.xlsx");
    let message = results().save_predictions(&path).unwrap_err().to_string();
    assert!(message.ends_with("expected a file name that ends in .csv or .parquet"));
    assert!(!path.exists());
}
