//! The section on a comparison.

use topk_report::cells::{header, number, sortable, sorted_number};
use topk_report::text::{capitalized, grouped, images, p_value, percent};
use topk_report::{Breakable, Escaped};

use crate::compare::{Comparison, ImagePrediction};
use crate::group_changes::by_change;
use crate::table;

/// Maximum number of changed images listed.
const LISTED: usize = 100;

pub(super) fn section(comparison: &Comparison) -> String {
    let mut html = String::from("<section class=\"comparison\"><h2>What changed</h2><p>");
    let [before, after] = [&comparison.before, &comparison.after].map(|model| Escaped(&model.path));
    html += &format!(
        "Before: <b>{before}</b><br>After: <b>{after}</b><br>On {}",
        images(comparison.images)
    );
    if comparison.only_in_before + comparison.only_in_after > 0 {
        let [before, after] = [comparison.only_in_before, comparison.only_in_after].map(grouped);
        html += &format!(" (left out: {before} only in the first, {after} only in the second)");
    }
    html += ".";
    let [before, after] =
        [&comparison.before, &comparison.after].map(|model| Escaped(&model.number_format));
    if before.0 != after.0 {
        html += &format!(
            "<br>Weights: {before} → {after}{}.",
            comparison.size_change()
        );
    }
    let sentences = [comparison.agreement_text(), comparison.logits_difference()];
    for sentence in sentences.into_iter().flatten() {
        html += &format!("<br>{}.", Escaped(&capitalized(&sentence)));
    }
    html += "</p>";
    if let Some(subset) = &comparison.subset {
        html += &format!("<p class=\"warn\">{}.</p>", Escaped(subset));
    }
    for gate in &comparison.gates {
        let (class, passed) = match gate.passed {
            true => ("faint", "Passed"),
            false => ("warn", "Failed"),
        };
        html += &format!("<p class=\"{class}\">{passed}: {gate}.</p>");
    }
    html += "<div class=\"scroll panel\"><table><thead><tr>";
    html += &header("", false);
    for title in [
        "before",
        "after",
        "difference (95 % interval)",
        "only before",
        "only after",
        "p",
    ] {
        html += &header(title, true);
    }
    html += "</tr></thead><tbody>";
    for paired in &comparison.topk {
        html += &format!("<tr><th>top-{}</th>", paired.k);
        let difference = table::difference(paired.difference, paired.low, paired.high);
        for cell in [
            format!("{} %", percent(paired.before)),
            format!("{} %", percent(paired.after)),
            difference,
            grouped(paired.only_before),
            grouped(paired.only_after),
            p_value(paired.p_value),
        ] {
            html += &number(&cell);
        }
        html += "</tr>";
    }
    html += "</tbody></table></div><p class=\"faint\">Differences are in percentage points, with Newcombe's interval. \
             “Only before” and “only after” count the images that only this model classifies correctly. p is that \
             of McNemar's exact test.</p>";
    let metrics: Vec<_> = comparison
        .metrics
        .iter()
        .map(|metric| metric.row.clone())
        .collect();
    if !metrics.is_empty() {
        html += &side_by_side("Further metrics", metrics);
    }
    html += &calibration(comparison);
    html += &groups(comparison);
    html += &classes(comparison);
    let listed = comparison.changed.len().min(LISTED);
    if listed == 0 {
        return html + "<p>No image has changed.</p></section>";
    }
    html += &format!(
        "<h3>{} changed</h3><p class=\"faint\">",
        images(comparison.changed.len())
    );
    if listed < comparison.changed.len() {
        html += &format!("The {listed} with the largest change of confidence. ");
    }
    html += "#n: the true class is ranked n-th.</p><div class=\"tall\"><table><thead><tr>";
    html += &sortable("image", false);
    html += &sortable("class", false);
    html += &sortable("before", false);
    html += &sortable("after", false);
    html += &sortable("change of confidence", true);
    html += "</tr></thead><tbody>";
    for image in &comparison.changed[..listed] {
        let change = image.confidence_change();
        html += &format!(
            "<tr><td class=\"path\">{}</td><td>{}</td><td>{}</td><td>{}</td><td class=\"n\" data-value=\"{change}\">{:+.2}</td></tr>",
            Breakable(&image.name),
            Escaped(&image.class_name),
            prediction(image.before.as_ref()),
            prediction(image.after.as_ref()),
            change,
        );
    }
    html + "</tbody></table></div></section>"
}

/// The calibration of both.
fn calibration(comparison: &Comparison) -> String {
    if let Some(note) = &comparison.calibration_note {
        return format!("<p class=\"warn\">{}.</p>", Escaped(note));
    }
    let Some(change) = &comparison.calibration else {
        return String::new();
    };
    side_by_side("Calibration", change.rows())
}

/// A section with values of both.
fn side_by_side(title: &str, rows: Vec<[String; 3]>) -> String {
    let mut html = format!("<h3>{title}</h3><div class=\"scroll panel\"><table><thead><tr>");
    html += &header("", false);
    html += &header("before", true);
    html += &header("after", true);
    html += "</tr></thead><tbody>";
    for [title, before, after] in rows {
        let [before, after] = [before, after].map(|value| number(&value));
        html += &format!("<tr><th scope=\"row\">{title}</th>{before}{after}</tr>");
    }
    html + "</tbody></table></div>"
}

/// The accuracy on groups of images, if there are any.
fn groups(comparison: &Comparison) -> String {
    let mut html = String::new();
    if let Some(note) = &comparison.groups_note {
        html += &format!("<p class=\"warn\">{}.</p>", Escaped(note));
    }
    if comparison.groups.is_empty() {
        return html;
    }
    html += "<h3>Groups of images</h3><p class=\"faint\">Top-1 accuracy on the images of each group, and the difference in \
             percentage points with Newcombe's interval. p is that of McNemar's exact test, with Holm's correction for the \
             number of groups.</p><div class=\"scroll panel\"><table><thead><tr>";
    html += &sortable("group", false);
    for title in [
        "images",
        "before %",
        "after %",
        "difference (95 % interval)",
        "p",
    ] {
        html += &sortable(title, true);
    }
    html += "</tr></thead><tbody>";
    for group in by_change(&comparison.groups) {
        html += &format!("<tr><th scope=\"row\">{}</th>", Breakable(&group.name));
        let accuracies = group.top1.as_ref();
        let values = [
            Some(group.images as f64),
            accuracies.map(|paired| paired.before),
            accuracies.map(|paired| paired.after),
            group.difference(),
            group.holm_p,
        ];
        for (value, cell) in values.into_iter().zip(group.cells()) {
            html += &sorted_number(value, &cell);
        }
        html += "</tr>";
    }
    html + "</tbody></table></div>"
}

/// The classes whose accuracy changed.
fn classes(comparison: &Comparison) -> String {
    let (lost, gained) = comparison.class_losses_and_gains();
    if lost.len() + gained.len() == 0 {
        return String::new();
    }
    let mut html = format!(
        "<h3>Classes: {} lost, {} gained</h3>",
        grouped(lost.len()),
        grouped(gained.len())
    );
    let most = |classes: usize| classes.min(LISTED / 2);
    if lost.len().max(gained.len()) > LISTED / 2 {
        html += &format!(
            "<p class=\"faint\">The {} with the largest loss and the {} with the largest gain of top-1 accuracy.</p>",
            most(lost.len()),
            most(gained.len())
        );
    }
    html += "<div class=\"tall\"><table><thead><tr>";
    html += &sortable("class", false);
    for title in ["images", "before", "after", "points"] {
        html += &sortable(title, true);
    }
    html += "</tr></thead><tbody>";
    let shown_gains = gained[..most(gained.len())].iter().rev();
    for class in lost[..most(lost.len())].iter().chain(shown_gains) {
        html += &format!("<tr><td>{}</td>", Escaped(&class.class_name));
        for count in [class.images, class.before, class.after] {
            let text = grouped(count);
            html += &format!("<td class=\"n\" data-value=\"{count}\">{text}</td>");
        }
        let points = 100.0 * class.difference();
        html += &format!("<td class=\"n\" data-value=\"{points}\">{points:+.2}</td></tr>");
    }
    html + "</tbody></table></div>"
}

fn prediction(prediction: Option<&ImagePrediction>) -> String {
    match prediction {
        None => "could not be evaluated".to_owned(),
        Some(prediction) => format!(
            "{} {:.2} <span class=\"faint\">#{}</span>",
            Escaped(&prediction.predicted_name),
            prediction.confidence,
            prediction.rank + 1
        ),
    }
}
