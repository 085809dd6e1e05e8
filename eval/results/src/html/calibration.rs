//! The section on calibration and prediction sets.

use topk_report::cells::{header, number};
use topk_report::{COLORS, Escaped};

use crate::calibration::{self, Table};
use crate::schema::Results;

/// The models whose calibration was measured.
pub(super) fn section(results: &Results, names: &[String]) -> String {
    let mut html = String::new();
    for (at, (model, name)) in results.models.iter().zip(names).enumerate() {
        let Some(calibration) = &model.calibration else {
            continue;
        };
        html += &format!(
            "<h3 class=\"s{}\"><span class=\"dot\"></span>{}</h3><p>{}.</p>",
            at % COLORS,
            Escaped(name),
            Escaped(&calibration::measured(calibration)),
        );
        html += &table(&calibration::reliability(calibration));
        html += &table(&calibration::sets(calibration));
    }
    if html.is_empty() {
        return html;
    }
    format!(
        "<section><h2>Temperature scaling and prediction sets</h2>\
         <p>Probabilities are softmax(logits / T). ±: half of the 95 % interval. Sets of the scaled probabilities should \
         contain the true class in the target part of the images: the same number of classes for all (top-k), or as \
         many as an image needs (LAC, APS, RAPS).</p>{html}</section>"
    )
}

fn table(table: &Table) -> String {
    if table.rows.is_empty() {
        return String::new();
    }
    let mut html = String::from("<div class=\"scroll panel\"><table><thead><tr>");
    for (at, title) in table.titles.iter().enumerate() {
        html += &header(title, at > 0);
    }
    html += "</tr></thead><tbody>";
    for row in &table.rows {
        html += "<tr>";
        for (at, cell) in row.iter().enumerate() {
            html += &match at {
                0 => format!("<th scope=\"row\">{}</th>", Escaped(cell)),
                _ => number(cell),
            };
        }
        html += "</tr>";
    }
    html + "</tbody></table></div>"
}
