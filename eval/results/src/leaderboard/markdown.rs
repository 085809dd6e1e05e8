//! The lists as tables in GitHub's Markdown.

use topk_report::text::{or_dash, percent};

use super::{Leaderboard, LeaderboardGroup, Shifts};
use crate::table::speed;

impl Leaderboard {
    /// One heading and table for each list, in GitHub-flavoured Markdown.
    pub fn to_markdown(&self) -> String {
        let shifts = self.shifts();
        let mut parts: Vec<String> = shifts.iter().map(Shifts::markdown).collect();
        parts.extend(self.shown(shifts.as_ref()).map(LeaderboardGroup::markdown));
        parts.join("\n")
    }
}

impl LeaderboardGroup {
    fn markdown(&self) -> String {
        let mut text = format!(
            "### {}\n\n{}.\n\n",
            escaped(&self.data().path),
            escaped(&self.extent())
        );
        let mut titles = vec!["model".to_owned()];
        titles.extend(self.topk.iter().map(|k| format!("top-{k} %")));
        let others = [
            "cross-entropy",
            "ECE %",
            "images/s",
            "device",
            "weights",
            "MB",
            "date",
        ];
        titles.extend(others.map(str::to_owned));
        text += &row(&titles);
        let left = ["model", "device", "weights", "date"];
        let rules = titles
            .iter()
            .map(|title| match left.contains(&title.as_str()) {
                true => "---".to_owned(),
                false => "---:".to_owned(),
            });
        text += &row(&rules.collect::<Vec<_>>());
        for (at, (name, entry)) in self.names.iter().zip(&self.entries).enumerate() {
            let mut cells = vec![escaped(name)];
            for &k in &self.topk {
                let mark = if k == 1 && self.is_like_best(at) {
                    " ≈"
                } else {
                    ""
                };
                cells.push(entry.accuracy_cell(k) + mark);
            }
            cells.extend([
                or_dash(entry.metrics.cross_entropy, |loss| format!("{loss:.4}")),
                or_dash(entry.metrics.calibration_error, percent),
                speed(entry.timing.images_per_second),
                escaped(&entry.device()),
                escaped(&entry.model.number_format()),
                entry.megabytes(),
                escaped(entry.day()),
            ]);
            text += &row(&cells);
        }
        text +=
            "\n±: half of the 95 % interval (Wilson). ECE: expected calibration error (top-1).\n";
        for note in self.notes() {
            text += &format!("{}\n", escaped(&note));
        }
        text
    }
}

pub(super) fn row(cells: &[String]) -> String {
    format!("| {} |\n", cells.join(" | "))
}

/// The text without meaning as Markdown or HTML, on one line.
pub(super) fn escaped(text: &str) -> String {
    let mut escaped = String::new();
    for char in text.chars() {
        match char {
            '<' => escaped += "&lt;",
            '>' => escaped += "&gt;",
            '&' => escaped += "&amp;",
            '\\' | '|' | '`' | '*' | '_' | '[' | ']' | '#' | '~' => {
                escaped.push('\\');
                escaped.push(char);
            }
            char if char.is_control() => escaped.push('\u{fffd}'),
            char => escaped.push(char),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markup_is_escaped() {
        assert_eq!(escaped("a|b\n<i>_c_"), "a\\|b\u{fffd}&lt;i&gt;\\_c\\_");
    }
}
