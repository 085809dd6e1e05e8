//! Calibration and prediction sets as tables.

use topk_calibration::{Calibration, Estimate, PredictionSets, Reliability, SetMethod};
use topk_report::text::{TERMINAL_WIDTH, images, percent, wrap};

use crate::file;
use crate::table::{Column, block, plus_minus};

/// A table with a title for each row and column.
pub(crate) struct Table {
    pub(crate) titles: Vec<&'static str>,
    pub(crate) rows: Vec<Vec<String>>,
}

/// The value and half of its interval.
fn with_interval(estimate: Estimate, text: impl Fn(f64) -> String) -> String {
    plus_minus(estimate.value, [estimate.low, estimate.high], text)
}

/// What the figures are, in a sentence.
pub(crate) fn measured(calibration: &Calibration) -> String {
    let temperature = calibration.temperature;
    let fitted = images(calibration.fitted_on);
    let measured = images(calibration.images);
    let found = match temperature.at_limit {
        true => format!("T = {:.4}, the limit of the search", temperature.value),
        false => format!(
            "T = {:.4} (95 % interval {:.4} to {:.4})",
            temperature.value, temperature.low, temperature.high
        ),
    };
    format!("{found}, fitted on {fitted}; measured on the other {measured}")
}

/// Calibration before and after scaling.
pub(crate) fn reliability(calibration: &Calibration) -> Table {
    let row = |temperature: f64, found: &Reliability| {
        let loss = |value: f64| format!("{value:.4}");
        vec![
            format!("{temperature:.3}"),
            with_interval(found.nll, loss),
            with_interval(found.brier, loss),
            with_interval(found.ece, percent),
            percent(found.adaptive_ece),
            format!("{:.3}", 100.0 * found.classwise_ece),
        ]
    };
    Table {
        titles: vec!["T", "NLL", "Brier", "ECE %", "adaptive", "class-wise"],
        rows: vec![
            row(1.0, &calibration.before),
            row(calibration.temperature.value, &calibration.after),
        ],
    }
}

/// Prediction sets at each coverage.
pub(crate) fn sets(calibration: &Calibration) -> Table {
    let row = |sets: &PredictionSets| {
        vec![
            match (sets.method, sets.threshold) {
                (SetMethod::Topk, Some(k)) => format!("top-{k}"),
                (method, _) => method.name().to_owned(),
            },
            rounded(100.0 * sets.target),
            with_interval(sets.coverage, percent),
            format!("{:.2}", sets.size.value),
            sets.median.to_string(),
            sets.p90.to_string(),
            sets.max.to_string(),
            percent(sets.empty),
        ]
    };
    let mut sets: Vec<&PredictionSets> = calibration.sets.iter().collect();
    sets.sort_by(|a, b| a.target.total_cmp(&b.target));
    Table {
        titles: vec![
            "sets",
            "target %",
            "coverage %",
            "mean size",
            "median",
            "p90",
            "max",
            "empty %",
        ],
        rows: sets.into_iter().map(row).collect(),
    }
}

/// A number without superfluous digits, although it is not exact: 90 for 100 · 0.9.
pub(crate) fn rounded(number: f64) -> String {
    let text = format!("{number:.6}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// Calibration as a text of at most 80 columns: what was measured, errors before and after scaling, and prediction
/// sets. `name` precedes it, if it is not empty.
pub fn calibration_table(name: &str, calibration: &Calibration) -> String {
    let measured = match name {
        "" => measured(calibration),
        name => format!("{name}: {}", measured(calibration)),
    };
    let mut text = wrap(&measured, TERMINAL_WIDTH, 2) + "\n";
    for table in [reliability(calibration), sets(calibration)] {
        if !table.rows.is_empty() {
            text += &format!("\n{}", table.text());
        }
    }
    text
}

/// Calibration as JSON.
pub fn calibration_json(calibration: &Calibration) -> String {
    file::to_json(calibration)
}

impl Table {
    fn text(&self) -> String {
        let column = |at: usize| {
            let cells = self.rows.iter().map(|row| row[at].clone());
            Column::new(self.titles[at], cells)
        };
        let columns: Vec<Column> = (1..self.titles.len()).map(column).collect();
        block(&column(0), &columns)
    }
}
