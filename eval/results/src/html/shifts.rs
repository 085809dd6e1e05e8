//! The section on several test sets.

use topk_report::cells::{header, number, sortable, sorted_number};
use topk_report::text::{grouped, or_dash, percent};
use topk_report::{Breakable, Escaped};

use crate::corruption::{CorruptionError, SEVERITIES};
use crate::leaderboard::{
    CORRUPTION_COLUMNS, CORRUPTION_NOTE, ShiftModel, Shifts, corruption_cell,
};

pub(super) fn section(shifts: &Shifts) -> String {
    let mut html = String::from(
        "<section><h2>Test sets</h2><p>Top-1 accuracy in %, in a row for each model.</p>",
    );
    html += "<div class=\"scroll panel\"><table class=\"leaderboard\"><thead><tr>";
    html += &sortable("model", false);
    for set in &shifts.sets {
        html += &sortable(&set.name, true);
    }
    if shifts.has_corruptions() {
        for (title, _) in CORRUPTION_COLUMNS {
            html += &sortable(title, true);
        }
    }
    html += "</tr></thead><tbody>";
    for model in &shifts.models {
        html += &row(shifts, model);
    }
    html += "</tbody></table></div><p class=\"faint\">Below each accuracy: its 95 % interval (Wilson), and the accuracy at \
             other k.";
    if shifts.has_corruptions() {
        html += &format!(" {}", Escaped(CORRUPTION_NOTE));
    }
    html += "</p>";
    if !shifts.notes.is_empty() {
        let notes: Vec<String> = (shifts.notes.iter())
            .map(|note| Escaped(note).to_string())
            .collect();
        html += &format!("<p class=\"warn\">{}</p>", notes.join("<br>"));
    }
    for model in &shifts.models {
        html += &corruptions(model);
    }
    html + "</section>"
}

fn row(shifts: &Shifts, model: &ShiftModel) -> String {
    let mut html = format!("<tr><td class=\"path\">{}</td>", Breakable(&model.name));
    for (at, set) in shifts.sets.iter().enumerate() {
        let Some(top1) = model.accuracy(at, 1) else {
            html += &sorted_number(None, "–");
            continue;
        };
        let [low, high] = [top1.low, top1.high].map(percent);
        let others = (set.topk.iter().filter(|&&k| k > 1)).filter_map(|&k| {
            let accuracy = model.accuracy(at, k)?;
            Some(format!("<br>top-{k} {}", percent(accuracy.accuracy)))
        });
        html += &format!(
            "<td class=\"n\" data-value=\"{}\" title=\"{} images\">{}<div class=\"label\">{low} to {high}{}</div></td>",
            top1.accuracy,
            grouped(set.images),
            percent(top1.accuracy),
            others.collect::<String>()
        );
    }
    if shifts.has_corruptions() {
        for (_, value) in CORRUPTION_COLUMNS {
            let number = model.corruptions.as_ref().and_then(value);
            html += &sorted_number(number, &corruption_cell(model, value));
        }
    }
    html + "</tr>"
}

/// The errors of a model on each corruption.
fn corruptions(model: &ShiftModel) -> String {
    let Some(errors) = &model.corruptions else {
        return String::new();
    };
    let mut html = format!(
        "<details><summary>ImageNet-C: {}</summary><div><p class=\"faint\">Top-1 error in % at each severity, and the \
         mean relative to AlexNet.</p><div class=\"scroll\"><table><thead><tr>",
        Escaped(&model.name)
    );
    html += &header("corruption", false);
    for severity in 1..=SEVERITIES {
        html += &header(&severity.to_string(), true);
    }
    html += &header("mean", true);
    html += &header("CE %", true);
    html += "</tr></thead><tbody>";
    html += &(errors.corruptions.iter())
        .map(corruption)
        .collect::<String>();
    html + "</tbody></table></div></div></details>"
}

fn corruption(corruption: &CorruptionError) -> String {
    let part = |value: Option<f64>| number(&or_dash(value, percent));
    let mut html = format!(
        "<tr><th scope=\"row\">{}</th>",
        corruption.name.replace('_', " ")
    );
    html += &(corruption.errors.iter().copied())
        .map(part)
        .collect::<String>();
    html += &part(corruption.mean());
    html += &part(corruption.corruption_error);
    html + "</tr>"
}
