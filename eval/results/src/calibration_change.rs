//! The calibration of two models side by side.

use serde::Serialize;
use topk_calibration::{Calibration, PredictionSets};
use topk_report::text::percent;

use crate::calibration::rounded;
use crate::schema::ModelResults;

/// What was measured with `--calibrate` for two models, on the same images and with the same settings.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CalibrationChange {
    /// Of the first.
    pub before: Calibration,
    /// Of the second.
    pub after: Calibration,
}

impl CalibrationChange {
    /// The calibrations, if both were measured, on as many images and with the same settings; and a line if they cannot be
    /// compared.
    pub(crate) fn of(
        before: &ModelResults,
        after: &ModelResults,
        same_images: bool,
    ) -> (Option<Self>, Option<String>) {
        let (Some(first), Some(second)) = (&before.calibration, &after.calibration) else {
            return (None, None);
        };
        let images = |calibration: &Calibration| (calibration.fitted_on, calibration.images);
        if !same_images || first.settings != second.settings || images(first) != images(second) {
            let note = "The calibration of the two models was measured on other images or with other settings, and is not compared";
            return (None, Some(note.to_owned()));
        }
        let change = Self {
            before: first.clone(),
            after: second.clone(),
        };
        (Some(change), None)
    }

    /// What is compared, with the values of both.
    pub(crate) fn rows(&self) -> Vec<[String; 3]> {
        let row = |title: &str, value: &dyn Fn(&Calibration) -> String| {
            [title.to_owned(), value(&self.before), value(&self.after)]
        };
        let mut rows = vec![
            row("temperature", &|found| {
                format!("{:.3}", found.temperature.value)
            }),
            row("NLL", &|found| format!("{:.4}", found.before.nll.value)),
            row("NLL, scaled", &|found| {
                format!("{:.4}", found.after.nll.value)
            }),
            row("ECE %", &|found| percent(found.before.ece.value)),
            row("ECE %, scaled", &|found| percent(found.after.ece.value)),
        ];
        let pairs = self.before.sets.iter().zip(&self.after.sets);
        let same = |(before, after): &(&PredictionSets, &PredictionSets)| {
            (before.method, before.target) == (after.method, after.target)
        };
        rows.extend(pairs.filter(same).map(|(before, after)| {
            let target = rounded(100.0 * before.target);
            let size = |sets: &PredictionSets| format!("{:.2}", sets.size.value);
            let title = format!("{} sets at {target} %, size", before.method.name());
            [title, size(before), size(after)]
        }));
        rows
    }
}
