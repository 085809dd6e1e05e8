//! The lists for a terminal of 80 columns.

use topk_report::text::{TERMINAL_WIDTH, fit, or_dash, percent, wrap};

use super::entry::Accuracy;
use super::{Leaderboard, LeaderboardEntry, LeaderboardGroup};
use crate::table::{Column, plus_minus, speed, tables};

impl Leaderboard {
    /// The lists as tables of at most 80 columns.
    pub fn table(&self) -> String {
        let shifts = self.shifts();
        let mut table = (shifts.as_ref()).map_or_else(String::new, |shifts| shifts.table() + "\n");
        for group in self.shown(shifts.as_ref()) {
            table += &group.table();
            table.push('\n');
        }
        table +=
            "±: half of the 95 % interval (Wilson). ECE: expected calibration error (top-1).\n";
        table
    }
}

impl LeaderboardGroup {
    fn table(&self) -> String {
        let path = fit(&self.data().path, TERMINAL_WIDTH);
        let mut table = format!("{}\n", path.trim_end());
        table += &format!("{}\n\n", wrap(&self.extent(), TERMINAL_WIDTH, 2));
        let entries = || self.entries.iter();
        let mut columns: Vec<Column> = Vec::new();
        for &k in &self.topk {
            let cells = entries().enumerate().map(|(at, entry)| {
                let mark = match (k, self.entries.len()) {
                    (_, 1) => "",
                    (1, _) if self.is_like_best(at) => " ≈",
                    (1, _) => "  ",
                    _ => "",
                };
                entry.accuracy_cell(k) + mark
            });
            columns.push(Column::new(&format!("top-{k} %"), cells));
        }
        let number = |number: f64| format!("{number:.4}");
        let losses = entries().map(|entry| or_dash(entry.metrics.cross_entropy, number));
        columns.push(Column::new("cross-entropy", losses));
        let errors = entries().map(|entry| or_dash(entry.metrics.calibration_error, percent));
        columns.push(Column::new("ECE %", errors));
        let speeds = entries().map(|entry| speed(entry.timing.images_per_second));
        columns.push(Column::new("images/s", speeds));
        let formats = entries().map(|entry| entry.model.number_format());
        columns.push(Column::new("weights", formats));
        columns.push(Column::new(
            "MB",
            entries().map(LeaderboardEntry::megabytes),
        ));
        let days = entries().map(|entry| entry.day().to_owned());
        columns.push(Column::new("date", days));
        table += &tables(&Column::new("model", self.names.iter().cloned()), columns);
        let notes = self.notes();
        if !notes.is_empty() {
            table.push('\n');
        }
        for note in notes {
            table += &format!("{}\n", wrap(&note, TERMINAL_WIDTH, 2));
        }
        table
    }

    /// What a reader of the list must know, one line each.
    pub(crate) fn notes(&self) -> Vec<String> {
        let mut notes: Vec<String> = self.mark_note().into_iter().collect();
        for (name, entry) in self.names.iter().zip(&self.entries) {
            notes.extend(
                entry
                    .caveats()
                    .map(|caveat| format!("warning: {name}: {caveat}")),
            );
        }
        notes
    }
}

impl LeaderboardEntry {
    /// An accuracy and half of its interval in percent.
    pub(crate) fn accuracy_cell(&self, k: usize) -> String {
        match self.accuracy(k) {
            None => "–".to_owned(),
            Some(Accuracy { value, low, high }) => plus_minus(value, [low, high], percent),
        }
    }

    /// Size of the model's files in megabytes.
    pub(crate) fn megabytes(&self) -> String {
        or_dash(
            self.model.bytes.map(|bytes| bytes as f64 / 1e6),
            |size| match size {
                ..10.0 => format!("{size:.2}"),
                _ => format!("{size:.1}"),
            },
        )
    }
}
