//! The epochs of a run as a table for other programs.

use crate::accuracy::Accuracy;
use crate::record::{CorrectAt, Epoch, RawValidation};
use crate::run::Run;

/// File name of the table of a run's epochs.
pub const SUMMARY: &str = "summary.csv";

/// The epochs of a run as CSV, one row each.
///
/// The first columns are those of timm's `summary.csv`: `epoch` (here from 1), `train_loss`, `eval_loss`, `eval_top1`,
/// `eval_top5` for the k of the run, and `lr`; accuracies are in %. Columns of further results follow: accuracies on
/// the training images, validation accuracies for further k, results of the raw weights, and annealed settings of the
/// loss. Cells of epochs that were not validated are empty.
pub fn run_csv(run: &Run) -> String {
    let columns = columns(run);
    let names = columns.iter().map(|(name, _)| name.clone());
    let mut csv = row(names);
    for epoch in &run.epochs {
        csv += &row(columns.iter().map(|(_, value)| {
            let value = value(epoch).filter(|value| value.is_finite());
            value.map_or_else(String::new, |value| value.to_string())
        }));
    }
    csv
}

/// A line with the end that Python's module `csv` writes.
fn row(cells: impl Iterator<Item = String>) -> String {
    cells.collect::<Vec<_>>().join(",") + "\r\n"
}

type Value = Box<dyn Fn(&Epoch) -> Option<f64>>;

fn columns(run: &Run) -> Vec<(String, Value)> {
    let k = run.start.k();
    let topk = k.map_or_else(|| "topk".to_owned(), |k| format!("top{k}"));
    let has_topk = k != Some(1);
    let mut columns: Vec<(String, Value)> = Vec::new();
    let mut add = |name: String, value: Value| columns.push((name, value));
    add(
        "epoch".to_owned(),
        Box::new(|epoch| Some(epoch.epoch as f64)),
    );
    add("train_loss".to_owned(), Box::new(|epoch| Some(epoch.loss)));
    add("eval_loss".to_owned(), Box::new(|epoch| epoch.val_loss));
    add(
        "eval_top1".to_owned(),
        Box::new(|epoch| percent(&epoch.val, Accuracy::top1)),
    );
    if has_topk {
        add(
            format!("eval_{topk}"),
            Box::new(|epoch| percent(&epoch.val, Accuracy::topk)),
        );
    }
    add("lr".to_owned(), Box::new(|epoch| Some(epoch.lr)));
    add(
        "train_top1".to_owned(),
        Box::new(|epoch| percent(&epoch.train, Accuracy::top1)),
    );
    if has_topk {
        add(
            format!("train_{topk}"),
            Box::new(|epoch| percent(&epoch.train, Accuracy::topk)),
        );
    }
    let further = further(run);
    for &k in &further {
        add(
            format!("eval_top{k}"),
            Box::new(move |epoch| percent_at(&epoch.val_correct, k, epoch.val.images)),
        );
    }
    if run.epochs.iter().any(|epoch| epoch.raw.is_some()) {
        let mut add_raw = |name: &str, value: fn(&RawValidation) -> Option<f64>| {
            let value = move |epoch: &Epoch| epoch.raw.as_ref().and_then(value);
            add(format!("raw_{name}"), Box::new(value));
        };
        add_raw("loss", |raw| raw.val_loss);
        add_raw("top1", |raw| percent(&raw.val, Accuracy::top1));
        if has_topk {
            add_raw(&topk, |raw| percent(&raw.val, Accuracy::topk));
        }
        for &k in &further {
            let value = move |epoch: &Epoch| {
                let raw = epoch.raw.as_ref()?;
                percent_at(&raw.val_correct, k, raw.val.images)
            };
            add(format!("raw_top{k}"), Box::new(value));
        }
    }
    type Setting = fn(&Epoch) -> Option<f64>;
    let settings: [(&str, Setting); 2] =
        [("tau", |epoch| epoch.tau), ("alpha", |epoch| epoch.alpha)];
    for (name, value) in settings {
        if run.epochs.iter().any(|epoch| value(epoch).is_some()) {
            add(name.to_owned(), Box::new(value));
        }
    }
    columns
}

/// The further k of any epoch.
fn further(run: &Run) -> Vec<usize> {
    let correct = run.epochs.iter().flat_map(|epoch| &epoch.val_correct);
    let mut ks: Vec<usize> = correct.map(|at| at.k).collect();
    ks.sort_unstable();
    ks.dedup();
    ks
}

fn percent(accuracy: &Accuracy, part: fn(&Accuracy) -> f64) -> Option<f64> {
    (accuracy.images > 0).then(|| 100.0 * part(accuracy))
}

fn percent_at(correct: &[CorrectAt], k: usize, images: usize) -> Option<f64> {
    let at = correct.iter().find(|at| at.k == k)?;
    Some(100.0 * at.correct as f64 / images as f64)
}
