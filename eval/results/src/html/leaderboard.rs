//! The page of many results.

use topk_report::cells::{header, sortable, sorted_descending, sorted_number};
use topk_report::text::{grouped, or_dash, p_value, percent};
use topk_report::{Breakable, Escaped, page};

use super::shifts;
use crate::leaderboard::{Leaderboard, LeaderboardEntry, LeaderboardGroup};
use crate::table::speed;

/// Maximum number of models for which the page has a table of all pairs.
const PAIRS: usize = 12;

impl Leaderboard {
    /// The lists as a self-contained HTML page, with tables that can be sorted by each column.
    pub fn to_html(&self) -> String {
        let count = |number: usize, what: &str| {
            let s = if number == 1 { "" } else { "s" };
            format!("{} {what}{s}", grouped(number))
        };
        let title = format!("Top-k accuracy of {}", count(self.models(), "model"));
        let mut body = format!("<header><h1>{}</h1><p>", Escaped(&title));
        let shifts = self.shifts();
        body += &match self.shown(shifts.as_ref()).count() {
            0 => String::new(),
            1 => "All were evaluated on the same images.".to_owned(),
            lists => format!(
                "In {lists} lists: models are in the same list only if they were evaluated on the same images, with the \
                 same labels and the same valid classes."
            ),
        };
        body += "</p>";
        if !self.left_out.is_empty() {
            let lines = self.left_out.iter().map(|line| Escaped(line).to_string());
            let lines: Vec<String> = lines.collect();
            body += &format!("<p class=\"warn\">{}</p>", lines.join("<br>"));
        }
        body += "</header>";
        if let Some(shifts) = &shifts {
            body += &shifts::section(shifts);
        }
        for group in self.shown(shifts.as_ref()) {
            body += &section(group);
        }
        body += "<p class=\"faint\">Bars and numbers below the accuracies are 95 % intervals (Wilson). ECE is the expected \
                 calibration error of the top-1 confidence. Images/s is the speed of inference alone; it is comparable \
                 only for the same device.</p>";
        page(&title, &body)
    }
}

fn section(group: &LeaderboardGroup) -> String {
    let data = group.data();
    let (heading, path) = match &data.preset {
        Some(preset) => (preset, format!("{}: ", Breakable(&data.path))),
        None => (&data.path, String::new()),
    };
    let mut html = format!(
        "<section><h2>{}</h2><p{}>{path}{}. <span class=\"faint\">Data {}</span></p>",
        Breakable(heading),
        if group.is_partial() {
            " class=\"warn\""
        } else {
            ""
        },
        Escaped(&group.extent()),
        Escaped(data.sha256.get(..12).unwrap_or(&data.sha256)),
    );
    html += "<div class=\"scroll panel\"><table class=\"leaderboard\"><thead><tr>";
    html += &sortable("model", false);
    for &k in &group.topk {
        let title = format!("top-{k} %");
        html += &match k {
            1 => sorted_descending(&title),
            _ => sortable(&title, true),
        };
        if k == 1 && has_bars(group) {
            html += &header("", false);
        }
    }
    for title in ["cross-entropy", "ECE %", "images/s"] {
        html += &sortable(title, true);
    }
    html += &sortable("weights", false);
    html += &sortable("MB", true);
    html += &sortable("date", true);
    html += "</tr></thead><tbody>";
    let range = range(group);
    for at in 0..group.entries.len() {
        html += &row(group, at, range);
    }
    html += "</tbody></table></div>";
    let notes: Vec<String> = group
        .notes()
        .iter()
        .map(|note| Escaped(note).to_string())
        .collect();
    if !notes.is_empty() {
        html += &format!("<p class=\"faint\">{}</p>", notes.join("<br>"));
    }
    if (2..=PAIRS).contains(&group.entries.len()) {
        html += &pairs(group);
    }
    html + "</section>"
}

/// Whether intervals are drawn: alone, one shows nothing.
fn has_bars(group: &LeaderboardGroup) -> bool {
    group.entries.len() > 1
}

/// The lowest and the highest bound of the top-1 intervals.
fn range(group: &LeaderboardGroup) -> (f64, f64) {
    let intervals = group.entries.iter().filter_map(|entry| entry.accuracy(1));
    intervals.fold((1.0, 0.0), |(low, high), accuracy| {
        (accuracy.low.min(low), accuracy.high.max(high))
    })
}

fn row(group: &LeaderboardGroup, at: usize, range: (f64, f64)) -> String {
    let entry = &group.entries[at];
    let mut html = format!("<tr><td class=\"path\">{}", Breakable(&group.names[at]));
    if let Some(architecture) = &entry.model.architecture {
        html += &format!("<div class=\"label\">{}</div>", Escaped(architecture));
    }
    html += "</td>";
    for &k in &group.topk {
        html += &accuracy(
            entry,
            k,
            k == 1 && group.is_like_best(at),
            at == 0 && k == 1,
        );
        if k == 1 && has_bars(group) {
            html += &bar(entry, range);
        }
    }
    let metrics = &entry.metrics;
    let decimals = |value: f64| format!("{value:.4}");
    html += &sorted_number(
        metrics.cross_entropy,
        &or_dash(metrics.cross_entropy, decimals),
    );
    html += &sorted_number(
        metrics.calibration_error,
        &or_dash(metrics.calibration_error, percent),
    );
    html += &speed_cell(entry);
    let model = &entry.model;
    html += &format!(
        "<td title=\"{}\">{}</td>",
        Escaped(&model.precision),
        Escaped(&model.number_format())
    );
    html += &sorted_number(model.bytes.map(|bytes| bytes as f64), &entry.megabytes());
    html + &format!("<td class=\"n\">{}</td></tr>", Escaped(entry.day()))
}

fn accuracy(entry: &LeaderboardEntry, k: usize, is_like_best: bool, is_best: bool) -> String {
    let Some(accuracy) = entry.accuracy(k) else {
        return sorted_number(None, "–");
    };
    let class = if is_best { "n best" } else { "n" };
    let mark = if is_like_best {
        "<span title=\"like the best\">≈ </span>"
    } else {
        ""
    };
    let [low, high] = [accuracy.low, accuracy.high].map(percent);
    format!(
        "<td class=\"{class}\" data-value=\"{}\">{mark}{}<div class=\"label\">{low} to {high}</div></td>",
        accuracy.value,
        percent(accuracy.value)
    )
}

/// The speed of inference and the device, without which it says nothing.
fn speed_cell(entry: &LeaderboardEntry) -> String {
    let measured = entry.timing.images_per_second;
    let html = format!(
        "{}<div class=\"label device\">{}</div>",
        speed(measured),
        Escaped(&entry.device())
    );
    sorted_number(Some(measured).filter(|&speed| speed > 0.0), &html)
}

/// The top-1 accuracy and its interval, drawn between the lowest and the highest bound of the list.
fn bar(entry: &LeaderboardEntry, (lowest, highest): (f64, f64)) -> String {
    let Some(accuracy) = entry.accuracy(1) else {
        return "<td></td>".to_owned();
    };
    let x = |value: f64| 4.0 + 92.0 * (value - lowest) / (highest - lowest).max(f64::MIN_POSITIVE);
    format!(
        "<td class=\"interval-bar\"><svg viewBox=\"0 0 100 12\" aria-hidden=\"true\"><line x1=\"{:.1}\" x2=\"{:.1}\" \
         y1=\"6\" y2=\"6\"/><circle cx=\"{:.1}\" cy=\"6\" r=\"3.6\"/></svg></td>",
        x(accuracy.low),
        x(accuracy.high),
        x(accuracy.value)
    )
}

/// The tests of all pairs.
fn pairs(group: &LeaderboardGroup) -> String {
    let count = group.entries.len();
    let mut html = String::from("<details><summary>Differences between the models</summary><div>");
    html += "<p class=\"faint\">Top-1 accuracy of the row minus that of the column in percentage points, and the p-value \
             of McNemar's exact test";
    if group.tests.len() > 1 {
        html += &format!(" with Holm's correction for {} pairs", group.tests.len());
    }
    html += ". Bold: p ≤ 0.05.</p><div class=\"scroll\"><table><thead><tr>";
    html += &header("", false);
    for name in &group.names[1..] {
        html += &format!(
            "<th scope=\"col\" class=\"n path\">{}</th>",
            Breakable(name)
        );
    }
    html += "</tr></thead><tbody>";
    for (first, name) in group.names[..count - 1].iter().enumerate() {
        html += &format!(
            "<tr><th scope=\"row\" class=\"path\">{}</th>",
            Breakable(name)
        );
        for second in 1..count {
            let mut tests = group.tests.iter();
            html += &match tests.find(|test| test.models == [first, second]) {
                None => "<td></td>".to_owned(),
                Some(test) => {
                    let images = group.images().max(1) as f64;
                    let points =
                        100.0 * (test.only_first as f64 - test.only_second as f64) / images;
                    let class = if test.is_significant() { "n best" } else { "n" };
                    let p = p_value(test.adjusted);
                    format!(
                        "<td class=\"{class}\">{points:+.2}<div class=\"label\">p {p}</div></td>"
                    )
                }
            };
        }
        html += "</tr>";
    }
    html + "</tbody></table></div></div></details>"
}
