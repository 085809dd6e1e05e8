//! The metrics of a model besides its accuracies, for tables and comparisons.

use topk_report::text::{or_dash, percent};

use self::Digits::{Decimals, Percent};
use crate::schema::{ClassAverage, ModelResults, MultilabelMetrics};

/// A metric of a model.
#[derive(Debug)]
pub(crate) struct FurtherMetric {
    /// Its name in the JSON of a comparison.
    pub(crate) name: &'static str,
    pub(crate) title: &'static str,
    /// The title of a column, in a table that says what kind of metrics it has.
    pub(crate) column: &'static str,
    digits: Digits,
    pub(crate) value: fn(&ModelResults) -> Option<f64>,
}

/// How a metric is written.
#[derive(Clone, Copy, Debug)]
enum Digits {
    /// In percent, though the value is a fraction.
    Percent,
    /// With this many decimals.
    Decimals(usize),
}

impl FurtherMetric {
    const fn new(
        name: &'static str,
        title: &'static str,
        digits: Digits,
        value: fn(&ModelResults) -> Option<f64>,
    ) -> Self {
        Self {
            name,
            title,
            column: title,
            digits,
            value,
        }
    }

    const fn with_column(mut self, column: &'static str) -> Self {
        self.column = column;
        self
    }

    /// A value in words.
    pub(crate) fn text(&self, value: f64) -> String {
        match self.digits {
            Percent => percent(value),
            Decimals(digits) => format!("{value:.digits$}"),
        }
    }

    /// The value of a model, or a dash if it has none.
    pub(crate) fn cell(&self, model: &ModelResults) -> String {
        or_dash((self.value)(model), |value| self.text(value))
    }
}

pub(crate) const CROSS_ENTROPY: FurtherMetric =
    FurtherMetric::new("cross_entropy", "cross-entropy", Decimals(4), |model| {
        model.metrics.cross_entropy
    });
pub(crate) const BRIER: FurtherMetric =
    FurtherMetric::new("brier_score", "Brier score", Decimals(4), |model| {
        model.metrics.brier_score
    })
    .with_column("Brier");
pub(crate) const ECE: FurtherMetric =
    FurtherMetric::new("calibration_error", "ECE %", Percent, |model| {
        model.metrics.calibration_error
    });
pub(crate) const ADAPTIVE_ECE: FurtherMetric = FurtherMetric::new(
    "adaptive_calibration_error",
    "adaptive ECE %",
    Percent,
    |model| model.metrics.adaptive_calibration_error,
);
pub(crate) const AURC: FurtherMetric =
    FurtherMetric::new("aurc", "AURC", Decimals(4), |model| model.metrics.aurc);
pub(crate) const BALANCED: FurtherMetric = FurtherMetric::new(
    "balanced_accuracy",
    "balanced accuracy %",
    Percent,
    |model| model.metrics.balanced_accuracy(),
)
.with_column("balanced %");
pub(crate) const MACRO_PRECISION: FurtherMetric =
    FurtherMetric::new("macro_precision", "macro precision %", Percent, |model| {
        Some(macro_avg(model)?.precision)
    })
    .with_column("precision %");
pub(crate) const MACRO_F1: FurtherMetric =
    FurtherMetric::new("macro_f1", "macro F1 %", Percent, |model| {
        Some(macro_avg(model)?.f1)
    })
    .with_column("F1 %");
pub(crate) const WEIGHTED_F1: FurtherMetric =
    FurtherMetric::new("weighted_f1", "weighted F1 %", Percent, |model| {
        Some(model.metrics.weighted_avg.as_ref()?.f1)
    });
pub(crate) const SEVERITY: FurtherMetric = FurtherMetric::new(
    "mistake_severity",
    "severity of mistakes",
    Decimals(2),
    |model| model.metrics.severity.as_ref()?.mistake_severity,
)
.with_column("mistakes");
pub(crate) const RANKING_PRECISION: FurtherMetric = FurtherMetric::new(
    "ranking_average_precision",
    "ranking precision %",
    Percent,
    |model| Some(several(model)?.ranking_average_precision),
);
pub(crate) const COVERAGE_ERROR: FurtherMetric =
    FurtherMetric::new("coverage_error", "coverage error", Decimals(2), |model| {
        Some(several(model)?.coverage_error)
    });
pub(crate) const RANKING_LOSS: FurtherMetric =
    FurtherMetric::new("ranking_loss", "ranking loss", Decimals(4), |model| {
        Some(several(model)?.ranking_loss)
    });
pub(crate) const R_PRECISION: FurtherMetric =
    FurtherMetric::new("r_precision", "R-precision %", Percent, |model| {
        Some(several(model)?.r_precision)
    });
pub(crate) const MEAN_AVERAGE_PRECISION: FurtherMetric =
    FurtherMetric::new("mean_average_precision", "mAP %", Percent, |model| {
        Some(model.average_precision?.mean)
    });

/// All of them.
pub(crate) const ALL: [FurtherMetric; 15] = [
    CROSS_ENTROPY,
    BRIER,
    ECE,
    ADAPTIVE_ECE,
    AURC,
    BALANCED,
    MACRO_PRECISION,
    MACRO_F1,
    WEIGHTED_F1,
    SEVERITY,
    RANKING_PRECISION,
    COVERAGE_ERROR,
    RANKING_LOSS,
    R_PRECISION,
    MEAN_AVERAGE_PRECISION,
];

fn macro_avg(model: &ModelResults) -> Option<&ClassAverage> {
    model.metrics.macro_avg.as_ref()
}

fn several(model: &ModelResults) -> Option<&MultilabelMetrics> {
    model.metrics.multilabel.as_ref()
}
