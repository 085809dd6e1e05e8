//! How epochs are judged, compared with timm and Lightning.
//!
//! `tests/data/make_validation.py` recorded their results.

use std::ffi::OsString;

use serde::Deserialize;
use topk_ops::accuracy::label_ranks;

use super::*;
use crate::args::Args;
use crate::checkpoints::Kept;

#[derive(Deserialize)]
struct Recorded {
    batches: Vec<Scored>,
    ks: Vec<usize>,
    loss: f64,
    top: Vec<f64>,
    patience: Vec<Patience>,
    history: Vec<History>,
}

#[derive(Deserialize)]
struct Scored {
    scores: Vec<f32>,
    labels: Vec<i64>,
}

#[derive(Deserialize)]
struct Patience {
    metric: String,
    patience: usize,
    min_delta: f64,
    values: Vec<f64>,
    stops: Option<usize>,
}

#[derive(Deserialize)]
struct History {
    metric: String,
    most: usize,
    values: Vec<f64>,
    kept: Vec<Vec<usize>>,
}

fn recorded() -> Recorded {
    serde_json::from_str(include_str!("../../tests/data/validation.json")).unwrap()
}

#[test]
fn losses_and_accuracies_are_timms() {
    let recorded = recorded();
    // timm smooths labels in training only.
    let flags = [
        "--data=D",
        "--loss=ce",
        "--label-smoothing=0.1",
        "--topk=5",
        "--val-topk=1,3,9",
    ];
    let config = &Args::config_of(flags.map(OsString::from)).unwrap();
    let mut tally = Tally::new(config.topk(), config.further_ks());
    let losses = Losses { config, epoch: 1 };
    for Scored { scores, labels } in &recorded.batches {
        let ranks = label_ranks(scores, labels).unwrap();
        tally.add(&ranks, &losses.of(scores, labels, |sample| sample));
    }
    let mut largest = (tally.mean_loss().unwrap() - recorded.loss).abs();
    println!("loss: {largest:.1e}");
    assert!(largest < 1e-7, "{largest}");
    for (&k, top) in recorded.ks.iter().zip(&recorded.top) {
        let difference = (tally.value(Metric::Top(k)) - top).abs();
        largest = largest.max(difference);
        // timm's are computed in f32.
        assert!(difference < 1e-5, "top-{k}: {difference}");
    }
    println!("accuracies in %: {largest:.1e}");
}

#[test]
fn runs_end_where_lightning_ends_them() {
    let all = recorded().patience;
    for case in &all {
        let metric: Metric = case.metric.parse().unwrap();
        let mut watch = Watch::default();
        let stops = case.values.iter().zip(1..).find_map(|(&value, epoch)| {
            watch.note(metric, epoch, value, case.min_delta);
            watch.exhausted(metric, Some(case.patience)).map(|_| epoch)
        });
        let Patience {
            patience,
            min_delta,
            ..
        } = case;
        assert_eq!(stops, case.stops, "{metric}, {patience}, {min_delta}");
    }
    assert!(all.iter().any(|case| case.stops.is_none()));
}

#[test]
fn checkpoints_are_kept_that_timm_keeps() {
    for History {
        metric,
        most,
        values,
        kept: expected,
    } in recorded().history
    {
        let metric: Metric = metric.parse().unwrap();
        let (mut kept, mut files) = (Vec::new(), Vec::new());
        for ((&value, epoch), expected) in values.iter().zip(1..).zip(expected) {
            let dropped = Kept::add(&mut kept, Kept { epoch, value }, most, metric);
            files.push(epoch);
            files.retain(|epoch| !dropped.contains(epoch));
            assert_eq!(files, expected, "{metric}, {most}, epoch {epoch}");
        }
    }
}

/// The noise of an image is the same in all batches.
#[test]
fn random_losses_do_not_depend_on_batches() {
    let flags = [
        "--data=D",
        "--loss=balanced-noised-topk",
        "--topk=3",
        "--seed=4",
    ];
    let config = &Args::config_of(flags.map(OsString::from)).unwrap();
    let losses = Losses { config, epoch: 1 };
    let Scored { scores, labels } = &recorded().batches[0];
    let whole = losses.of(scores, labels, |sample| sample);
    let singles = labels.iter().enumerate().flat_map(|(at, label)| {
        let scores = &scores[10 * at..10 * (at + 1)];
        losses.of(scores, &[*label], |_| at)
    });
    assert_eq!(whole, singles.collect::<Vec<_>>());
    let other = losses.of(scores, labels, |sample| sample + 7);
    assert_ne!(whole, other);
}
