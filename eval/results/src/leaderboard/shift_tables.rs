//! The table over several test sets, for a terminal and as Markdown.

use topk_report::text::{TERMINAL_WIDTH, or_dash, percent, wrap};

use super::markdown::{escaped, row};
use super::shifts::{ShiftAccuracy, ShiftModel, Shifts};
use crate::corruption::CorruptionErrors;
use crate::table::{Column, plus_minus, tables};

/// What the columns on ImageNet-C are.
pub(crate) const CORRUPTION_NOTE: &str = "mCE: mean corruption error on ImageNet-C, relative to AlexNet (lower is better). \
    Relative mCE: the same for the rise of the error above that on the validation set. Mean error: mean top-1 error \
    over the corruptions and severities.";

/// A column of ImageNet-C: its title and value.
pub(crate) type CorruptionColumn = (&'static str, fn(&CorruptionErrors) -> Option<f64>);

/// The columns of ImageNet-C.
pub(crate) const CORRUPTION_COLUMNS: [CorruptionColumn; 3] = [
    ("mCE %", |errors| errors.mce),
    ("relative mCE %", |errors| errors.relative_mce),
    ("mean error %", |errors| errors.mean_error),
];

impl Shifts {
    /// The values of k of all test sets, ascending.
    pub(crate) fn topk(&self) -> Vec<usize> {
        let mut topk: Vec<usize> = self
            .sets
            .iter()
            .flat_map(|set| &set.topk)
            .copied()
            .collect();
        topk.sort_unstable();
        topk.dedup();
        topk
    }

    /// Whether errors on ImageNet-C are known.
    pub(crate) fn has_corruptions(&self) -> bool {
        self.models.iter().any(|model| model.corruptions.is_some())
    }

    /// The models on all test sets, as tables of at most 80 columns.
    pub(crate) fn table(&self) -> String {
        let names = || Column::new("model", self.models.iter().map(|model| model.name.clone()));
        let mut text = String::new();
        for k in self.topk() {
            text += &format!("Test sets, top-{k} accuracy in %\n\n");
            let sets = (0..self.sets.len()).filter(|&set| self.sets[set].topk.contains(&k));
            let columns = sets.map(|set| {
                let cells = self.models.iter().map(|model| cell(model.accuracy(set, k)));
                Column::new(&self.sets[set].name, cells)
            });
            text += &format!("{}\n", tables(&names(), columns.collect()));
        }
        if self.has_corruptions() {
            text += "ImageNet-C\n\n";
            let columns = CORRUPTION_COLUMNS.map(|(title, value)| {
                let cells = self
                    .models
                    .iter()
                    .map(|model| corruption_cell(model, value));
                Column::new(title, cells)
            });
            text += &tables(&names(), columns.into());
            text += &format!("\n{}\n", wrap(CORRUPTION_NOTE, TERMINAL_WIDTH, 2));
        }
        for note in &self.notes {
            text += &format!("{}\n", wrap(note, TERMINAL_WIDTH, 2));
        }
        text
    }

    /// The same in GitHub-flavoured Markdown.
    pub(crate) fn markdown(&self) -> String {
        let mut text = String::from("### Test sets\n\n");
        let topk = self.topk();
        let mut titles = vec!["model".to_owned()];
        let columns: Vec<(usize, usize)> = (topk.iter())
            .flat_map(|&k| (0..self.sets.len()).map(move |set| (k, set)))
            .filter(|(k, set)| self.sets[*set].topk.contains(k))
            .collect();
        titles.extend(columns.iter().map(|(k, set)| {
            let name = &self.sets[*set].name;
            format!("{} top-{k} %", escaped(name))
        }));
        if self.has_corruptions() {
            titles.extend(CORRUPTION_COLUMNS.map(|(title, _)| title.to_owned()));
        }
        text += &row(&titles);
        let rules = (0..titles.len()).map(|column| if column == 0 { "---" } else { "---:" });
        text += &row(&rules.map(str::to_owned).collect::<Vec<_>>());
        for model in &self.models {
            let mut cells = vec![escaped(&model.name)];
            cells.extend((columns.iter()).map(|&(k, set)| cell(model.accuracy(set, k))));
            if self.has_corruptions() {
                cells.extend(CORRUPTION_COLUMNS.map(|(_, value)| corruption_cell(model, value)));
            }
            text += &row(&cells);
        }
        text.push('\n');
        if self.has_corruptions() {
            text += &format!("{CORRUPTION_NOTE}\n");
        }
        for note in &self.notes {
            text += &format!("{}\n", escaped(note));
        }
        text
    }
}

/// An accuracy and half of its interval in percent.
fn cell(accuracy: Option<ShiftAccuracy>) -> String {
    accuracy.map_or_else(
        || "–".to_owned(),
        |of| plus_minus(of.accuracy, [of.low, of.high], percent),
    )
}

/// A value on ImageNet-C in percent.
pub(crate) fn corruption_cell(
    model: &ShiftModel,
    value: fn(&CorruptionErrors) -> Option<f64>,
) -> String {
    or_dash(model.corruptions.as_ref().and_then(value), percent)
}
