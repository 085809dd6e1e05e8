//! Further metrics of two models side by side.

use serde::Serialize;
use topk_report::text::percent;

use crate::schema::{Metrics, ModelResults, MultilabelMetrics};

/// A metric of two models on the same images. All but accuracies: those are compared image by image.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct MetricChange {
    /// Its name in the results of a model.
    pub name: &'static str,
    /// Of the first.
    pub before: f64,
    /// Of the second.
    pub after: f64,
    #[serde(skip)]
    title: &'static str,
    #[serde(skip)]
    digits: Digits,
}

/// How a metric is written.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Digits {
    /// In percent, though the value is a fraction.
    Percent,
    /// With this many decimals.
    Decimals(usize),
}

impl MetricChange {
    /// The metrics that both models have.
    pub(crate) fn of(before: &ModelResults, after: &ModelResults) -> Vec<Self> {
        let rows = rows(before).into_iter().zip(rows(after));
        let both = rows.filter_map(|((name, title, digits, before), (.., after))| {
            Some(Self {
                name,
                title,
                digits,
                before: before?,
                after: after?,
            })
        });
        both.collect()
    }

    /// What is compared, with the values of both.
    pub(crate) fn row(&self) -> [String; 3] {
        let text = |value: f64| match self.digits {
            Digits::Percent => percent(value),
            Digits::Decimals(digits) => format!("{value:.digits$}"),
        };
        [self.title.to_owned(), text(self.before), text(self.after)]
    }
}

/// Name, title, digits and value of each metric.
fn rows(model: &ModelResults) -> Vec<(&'static str, &'static str, Digits, Option<f64>)> {
    use Digits::{Decimals, Percent};
    let metrics: &Metrics = &model.metrics;
    let several = |value: fn(&MultilabelMetrics) -> f64| metrics.multilabel.as_ref().map(value);
    let [macro_avg, weighted_avg] = [&metrics.macro_avg, &metrics.weighted_avg].map(Option::as_ref);
    let severity = metrics.severity.as_ref();
    let mean_average_precision = model.average_precision.map(|found| found.mean);
    vec![
        (
            "cross_entropy",
            "cross-entropy",
            Decimals(4),
            metrics.cross_entropy,
        ),
        (
            "brier_score",
            "Brier score",
            Decimals(4),
            metrics.brier_score,
        ),
        (
            "calibration_error",
            "ECE %",
            Percent,
            metrics.calibration_error,
        ),
        (
            "adaptive_calibration_error",
            "adaptive ECE %",
            Percent,
            metrics.adaptive_calibration_error,
        ),
        ("aurc", "AURC", Decimals(4), metrics.aurc),
        (
            "balanced_accuracy",
            "balanced accuracy %",
            Percent,
            metrics.balanced_accuracy(),
        ),
        (
            "macro_precision",
            "macro precision %",
            Percent,
            macro_avg.map(|found| found.precision),
        ),
        (
            "macro_f1",
            "macro F1 %",
            Percent,
            macro_avg.map(|found| found.f1),
        ),
        (
            "weighted_f1",
            "weighted F1 %",
            Percent,
            weighted_avg.map(|found| found.f1),
        ),
        (
            "mistake_severity",
            "severity of mistakes",
            Decimals(2),
            severity.and_then(|severity| severity.mistake_severity),
        ),
        (
            "ranking_average_precision",
            "ranking precision %",
            Percent,
            several(|found| found.ranking_average_precision),
        ),
        (
            "coverage_error",
            "coverage error",
            Decimals(2),
            several(|found| found.coverage_error),
        ),
        (
            "ranking_loss",
            "ranking loss",
            Decimals(4),
            several(|found| found.ranking_loss),
        ),
        (
            "r_precision",
            "R-precision %",
            Percent,
            several(|found| found.r_precision),
        ),
        (
            "mean_average_precision",
            "mAP %",
            Percent,
            mean_average_precision,
        ),
    ]
}
