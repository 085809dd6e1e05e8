//! Reading, summarising and writing sweeps.

mod synthetic;

use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use synthetic::{Plan, opened_and_closed, save};
use tempfile::TempDir;
use topk_history::{
    Axes, AxisValue, LOG, Reference, ReferenceError, Run, RunState, Summary, Sweep, SweepError,
};

const EPOCHS: usize = 12;

fn axes() -> Axes {
    Axes {
        row: "noise".to_owned(),
        columns: vec!["loss".to_owned()],
        seed: "seed".to_owned(),
    }
}

/// The folder of a finished sweep.
fn folder() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for plan in Plan::sweep(EPOCHS) {
        save(&plan.run(EPOCHS), &folder.path().join(plan.name()));
    }
    folder
}

fn discover(folder: &Path) -> Sweep {
    Sweep::discover(folder, axes()).unwrap()
}

fn reference() -> Reference {
    serde_json::from_str(include_str!("data/reference.json")).unwrap()
}

/// Test accuracies of the runs with a noise level and a loss.
fn accuracies(noise: f64, loss: &str, seeds: &[u64]) -> (Vec<f64>, Vec<f64>) {
    let runs = seeds.iter().map(|&seed| {
        let plans = Plan::sweep(EPOCHS);
        let plan = plans
            .iter()
            .find(|plan| (plan.noise, plan.loss, plan.seed) == (noise, loss, seed));
        let run: Run = plan.unwrap().run(EPOCHS);
        let test = |name| run.checkpoint(name).unwrap().test.unwrap();
        (test("best1").top1(), test("bestk").topk())
    });
    runs.unzip()
}

/// Mean and standard deviation in percent, as printed.
fn printed(values: &[f64]) -> String {
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    let squares: f64 = values.iter().map(|value| value * value).sum();
    let std = ((squares - n * mean * mean) / (n - 1.0)).sqrt();
    format!("{:.2} ± {:.2}", 100.0 * mean, 100.0 * std)
}

#[test]
fn cells_have_mean_and_std_over_seeds() {
    let folder = folder();
    let (sweep, reference) = (discover(folder.path()), reference());
    let summary = Summary::new(&sweep, Some(&reference));
    assert_eq!(
        (summary.k, summary.rows.len(), summary.seeds.len()),
        (Some(5), 6, 3)
    );
    assert_eq!(
        summary.columns,
        [["ce"], ["svm"]]
            .map(|column| column.map(|name| AxisValue::Text(name.to_owned())).to_vec())
    );
    assert_eq!(summary.notes, Vec::<String>::new());
    let text = summary.table(200);
    for (noise, published) in [
        (0.0, ["90.00", "91.00"]),
        (0.2, ["80.00", "81.00"]),
        (1.0, ["40.00", "41.00"]),
    ] {
        let [ce, svm] = ["ce", "svm"].map(|loss| accuracies(noise, loss, &[1, 2, 3]));
        let line = [
            &noise.to_string(),
            &printed(&ce.1),
            &printed(&svm.1),
            published[0],
            published[1],
        ];
        let rows: Vec<Vec<&str>> = text
            .lines()
            .map(|line| {
                line.split("  ")
                    .filter(|cell| !cell.is_empty())
                    .map(str::trim)
                    .collect()
            })
            .collect();
        assert!(rows.iter().any(|row| *row == line), "{line:?}\n{text}");
        let line = [noise.to_string(), printed(&ce.0), printed(&svm.0)];
        assert!(rows.iter().any(|row| *row == line), "{line:?}\n{text}");
    }
}

#[test]
fn runs_that_are_not_counted_are_named() {
    let folder = folder();
    let run = |name: &str| folder.path().join(name);
    let plans = Plan::sweep(EPOCHS);
    let unfinished = plans
        .iter()
        .find(|plan| plan.name() == "svm-noise0.6-seed2")
        .unwrap();
    save(&unfinished.run(7), &run("svm-noise0.6-seed2"));
    fs::remove_dir_all(run("ce-noise0.4-seed3")).unwrap();
    fs::write(run("ce-noise0-seed1").join(LOG), "{}\n").unwrap();
    fs::create_dir(run("plots")).unwrap();
    for seed in [1, 2, 3] {
        fs::remove_file(run(&format!("ce-noise1-seed{seed}")).join(LOG)).unwrap();
    }

    let sweep = discover(folder.path());
    let summary = Summary::new(&sweep, None);
    let notes = summary.notes.join("\n");
    for note in [
        "svm-noise0.6-seed2 is not counted: unfinished, epoch 7 of 12",
        "no run for noise 0.4, ce, seed 3",
        "no run for noise 0, ce, seed 1",
        "no run for noise 1, ce, seed 1, 2, 3",
        "plots is not counted: not started",
        "ce-noise1-seed2 is not counted: not started",
    ] {
        assert!(notes.contains(note), "{note}\n{notes}");
    }
    assert!(
        notes.contains("ce-noise0-seed1 is not counted: ") && notes.contains("log.jsonl line 1: "),
        "{notes}"
    );
    assert_eq!(summary.notes.len(), 9, "{notes}");
    let of = |row: usize, column: usize| {
        let cell = &summary.cells[row][column];
        (cell.finished, cell.expected)
    };
    assert_eq!(
        [of(3, 1), of(2, 0), of(0, 0), of(5, 0), of(5, 1)],
        [(2, 3), (2, 3), (2, 3), (0, 3), (3, 3)]
    );
    let (_, topk) = accuracies(0.6, "svm", &[1, 3]);
    let table = summary.table(200);
    assert!(
        table.contains(&format!("{} (2 of 3)", printed(&topk))),
        "{table}"
    );
    assert!(table.contains("– (0 of 3)"), "{table}");
    let html = summary.to_html();
    for text in [&table, &html, &summary.to_markdown(), &summary.to_json()] {
        assert!(text.contains("svm-noise0.6-seed2 is not counted"), "{text}");
    }
    assert_eq!(html.matches("<td>not started</td>").count(), 4);
    assert!(html.contains("more notes</summary>"));
}

#[test]
fn planned_runs_are_known_before_they_start() {
    let folder = tempfile::tempdir().unwrap();
    let plans = Plan::sweep(EPOCHS);
    save(&plans[0].run(EPOCHS), &folder.path().join(plans[0].name()));
    let plan = plans
        .iter()
        .map(|plan| (plan.name(), plan.start().config))
        .collect();
    let sweep = Sweep::planned(folder.path(), axes(), plan).unwrap();
    assert!(matches!(sweep.runs()[0].state, RunState::Finished(_)));
    assert!(
        sweep.runs()[1..]
            .iter()
            .all(|run| matches!(run.state, RunState::Missing))
    );
    let summary = Summary::new(&sweep, None);
    let cell = &summary.cells[0][0];
    assert_eq!(
        (cell.finished, cell.expected, cell.missing.len()),
        (1, 3, 0)
    );
    assert_eq!((summary.rows.len(), summary.notes.len()), (6, 35));
    let topk = cell.topk.unwrap();
    assert_eq!((topk.runs, topk.std), (1, None));
    let page = summary.to_html();
    assert!(!page.contains("NaN"));
    opened_and_closed(&page[page.find("<body>").unwrap()..page.rfind("<script>").unwrap()]);
}

#[test]
fn differences_outside_the_axes_are_noted() {
    let folder = folder();
    let log = folder.path().join("svm-noise0-seed1").join(LOG);
    let text = fs::read_to_string(&log).unwrap();
    fs::write(
        &log,
        text.replace("\"lr\":0.1,\"model\"", "\"lr\":0.5,\"model\""),
    )
    .unwrap();
    let twin = folder.path().join("twin");
    fs::create_dir(&twin).unwrap();
    fs::copy(
        folder.path().join("ce-noise0.2-seed2").join(LOG),
        twin.join(LOG),
    )
    .unwrap();
    let sweep = discover(folder.path());
    let mut reference = reference();
    reference.values[1].column = vec![json!("other")];
    let summary = Summary::new(&sweep, Some(&reference));
    assert_eq!(
        summary.notes,
        [
            "ce-noise0.2-seed2 and twin have the same settings (noise 0.2, ce, seed 2); both are counted",
            "the runs of svm also differ in lr: 0.1, 0.5",
            "1 of the 12 settings of made-up are not in the sweep",
        ]
    );
}

#[test]
fn wide_tables_are_broken_into_blocks() {
    let folder = folder();
    let (sweep, reference) = (discover(folder.path()), reference());
    let summary = Summary::new(&sweep, Some(&reference));
    let table = summary.table(40);
    assert_eq!(table.matches("\nnoise  ").count(), 3, "{table}");
    for line in table.lines() {
        assert!(line.chars().count() <= 40, "{line}");
    }
}

#[test]
fn a_variant_can_have_several_settings() {
    let folder = folder();
    let axes = Axes {
        row: "seed".to_owned(),
        columns: vec!["loss".to_owned(), "tau".to_owned()],
        seed: "noise".to_owned(),
    };
    let sweep = Sweep::discover(folder.path(), axes).unwrap();
    let table = Summary::new(&sweep, None).table(80);
    let header: Vec<&str> = table.lines().nth(2).unwrap().split_whitespace().collect();
    assert_eq!(header.join(" "), "seed ce svm, tau 1");
}

#[test]
fn errors_describe_the_problem() {
    let folder = folder();
    let mut wrong = axes();
    wrong.columns = vec!["los".to_owned()];
    let error = Sweep::discover(folder.path(), wrong)
        .unwrap_err()
        .to_string();
    assert!(
        error.starts_with("no run has the setting `los`; known settings: alpha, batch-size, "),
        "{error}"
    );
    let many = tempfile::tempdir().unwrap();
    let plan = |runs: usize| -> Vec<_> {
        let configs = (0..runs).map(|run| json!({ "noise": run, "loss": run, "seed": 1 }));
        let configs = configs.map(|config| config.as_object().unwrap().clone());
        configs
            .enumerate()
            .map(|(run, config)| (run.to_string(), config))
            .collect()
    };
    let planned = |runs| Sweep::planned(many.path(), axes(), plan(runs));
    assert_eq!(planned(100).unwrap().runs().len(), 100);
    let error = planned(101).unwrap_err().to_string();
    assert!(
        error.starts_with("the runs have 101 values of `noise` and 101 variants, too many"),
        "{error}"
    );
    let error = planned(1001).unwrap_err();
    assert!(matches!(error, SweepError::TooMany { .. }), "{error}");
    let empty = tempfile::tempdir().unwrap();
    let error = Sweep::discover(empty.path(), axes()).unwrap_err();
    assert!(matches!(error, SweepError::NoRuns { .. }), "{error}");
    let error = Sweep::discover(&empty.path().join("none"), axes())
        .unwrap_err()
        .to_string();
    assert!(error.starts_with("cannot list "), "{error}");
    fs::create_dir(empty.path().join("run")).unwrap();
    fs::write(empty.path().join("run").join(LOG), "[]\n").unwrap();
    let error = Sweep::discover(empty.path(), axes())
        .unwrap_err()
        .to_string();
    assert!(error.contains("log.jsonl line 1: "), "{error}");

    let path = empty.path().join("reference.json");
    fs::write(
        &path,
        r#"{"name":"paper","values":[{"row":0,"column":["ce"],"topk":943}]}"#,
    )
    .unwrap();
    let error = Reference::read(&path).unwrap_err();
    assert!(
        matches!(error, ReferenceError::Accuracy { value: 943.0, .. }),
        "{error}"
    );
    fs::write(&path, "{}").unwrap();
    let error = Reference::read(&path).unwrap_err().to_string();
    assert!(
        error.ends_with(
            "is not a file of reference accuracies: missing field `name` at line 1 column 2"
        ),
        "{error}"
    );
    fs::write(&path, include_str!("data/reference.json")).unwrap();
    assert_eq!(Reference::read(&path).unwrap(), reference());
}

#[test]
fn csv_and_json_have_the_numbers_of_the_table() {
    let folder = folder();
    let (sweep, reference) = (discover(folder.path()), reference());
    let summary = Summary::new(&sweep, Some(&reference));
    let json: Value = serde_json::from_str(&summary.to_json()).unwrap();
    let csv = summary.to_csv();
    let mut lines = csv.lines();
    let header: Vec<&str> = lines.next().unwrap().split(',').collect();
    assert_eq!(lines.clone().count(), 12);
    assert_eq!(json["runs"].as_array().unwrap().len(), 36);
    for (line, cell) in lines.zip(json["cells"].as_array().unwrap()) {
        let fields: Vec<&str> = line.split(',').collect();
        let field = |name: &str| fields[header.iter().position(|title| *title == name).unwrap()];
        let (noise, loss) = (field("noise").parse().unwrap(), field("loss"));
        assert_eq!(
            (&cell["row"], &cell["column"][0]),
            (&json!(noise), &json!(loss))
        );
        let (top1, topk) = accuracies(noise, loss, &[1, 2, 3]);
        for (name, values) in [("top1", top1), ("topk", topk)] {
            let mean = values.iter().sum::<f64>() / 3.0;
            let read: f64 = field(&format!("{name}_mean")).parse().unwrap();
            assert!((read - mean).abs() < 1e-12);
            assert_eq!(cell[name]["mean"], read);
            assert_eq!(cell[name]["runs"], 3);
        }
        assert_eq!(field("top1_published"), "");
        assert_eq!(
            cell["published"]["topk"],
            field("topk_published").parse::<f64>().unwrap()
        );
    }
}

#[test]
fn the_plot_is_a_self_contained_file() {
    let folder = folder();
    let (sweep, reference) = (discover(folder.path()), reference());
    let svg = Summary::new(&sweep, Some(&reference)).to_svg();
    opened_and_closed(&svg);
    assert!(!svg.contains("NaN"));
    let references = svg.replace("http://www.w3.org/2000/svg", "");
    for address in ["http", "url(", "@import", "href", "<script"] {
        assert!(!references.contains(address), "{address}");
    }
    // Error bars of three lines each: two variants, six noise levels, two kinds of accuracy.
    assert_eq!(svg.matches("class=\"whisker\"").count(), 3 * 2 * 6 * 2);
    assert!(svg.contains("@media (prefers-color-scheme: dark)"));
    for name in [
        ">ce<",
        ">svm<",
        ">made-up: ce<",
        ">made-up: svm<",
        ">Top-5 test accuracy<",
    ] {
        assert!(svg.contains(name), "{name}");
    }
}

#[test]
fn names_cannot_become_markup() {
    let evil = "<script>alert('|&')</script>";
    let folder = tempfile::tempdir().unwrap();
    for noise in [0.0, 1.0] {
        let mut run = Plan {
            loss: "svm",
            noise,
            seed: 1,
            epochs: 3,
        }
        .run(3);
        run.start.config.insert("loss".to_owned(), evil.into());
        save(&run, &folder.path().join(format!("<b>{noise}")));
    }
    let sweep = discover(folder.path());
    let mut reference = reference();
    reference.name = evil.to_owned();
    reference.values[0].column = vec![evil.into()];
    let summary = Summary::new(&sweep, Some(&reference));
    let (html, svg) = (summary.to_html(), summary.to_svg());
    for text in [&html, &svg] {
        assert!(!text.contains(evil) && !text.contains("<b>"));
    }
    assert_eq!(html.matches("<script").count(), 1);
    let markdown = summary.to_markdown();
    assert!(!markdown.contains("<script"), "{markdown}");
    let header = markdown.lines().nth(2).unwrap();
    assert_eq!(
        header.replace("\\|", "").matches('|').count(),
        4,
        "{header}"
    );
}

#[test]
fn variants_of_one_row_are_side_by_side() {
    let folder = folder();
    let axes = Axes {
        row: "topk".to_owned(),
        columns: ["loss", "noise", "epochs"].map(str::to_owned).to_vec(),
        seed: "seed".to_owned(),
    };
    let sweep = Sweep::discover(folder.path(), axes).unwrap();
    let summary = Summary::new(&sweep, None);
    assert_eq!((summary.rows.len(), summary.columns.len()), (1, 12));
    // The number of epochs is the same everywhere, and not part of the names.
    let table = summary.to_markdown();
    assert!(table.contains("| ce, noise 0.2 |"), "{table}");
    assert!(!table.contains("epochs"), "{table}");
    let svg = summary.to_svg();
    assert!(svg.contains("Top-5 test accuracy, topk 5"), "{svg}");
}
