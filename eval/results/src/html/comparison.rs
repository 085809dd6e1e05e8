//! The section on a comparison.

use topk_report::cells::{header, number, sortable};
use topk_report::text::{grouped, images, p_value, percent};
use topk_report::{Breakable, Escaped};

use crate::compare::{Comparison, ImagePrediction};
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
    html += ".</p><div class=\"scroll panel\"><table><thead><tr>";
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
