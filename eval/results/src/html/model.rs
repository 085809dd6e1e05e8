//! The section on one model: its mistakes.

use topk_report::cells::{header, number, sortable};
use topk_report::text::grouped;
use topk_report::{COLORS, Escaped};

use super::{MAX_ROWS, MISTAKES, ReportError};
use crate::counted::Counted;
use crate::schema::Results;

/// Returns the data URI of a thumbnail.
pub(super) type Thumbnail<'a> = dyn FnMut(usize) -> Result<Option<String>, ReportError> + 'a;

const CONFUSIONS: usize = 25;

/// The mistakes of one model.
pub(super) fn section(
    results: &Results,
    model: usize,
    name: &str,
    thumbnail: &mut Thumbnail<'_>,
) -> Result<String, ReportError> {
    let color = model % COLORS;
    let mut html = format!(
        "<section class=\"model s{color}\"><h2><span class=\"dot\"></span>{}</h2><div class=\"columns\">",
        Escaped(name)
    );
    html += &classes(results, model);
    html += &confusions(results, model);
    html += "</div>";
    html += &mistakes(results, model, thumbnail)?;
    Ok(html + "</section>")
}

fn classes(results: &Results, model: usize) -> String {
    let mut rows = results.class_rows(model);
    let all = rows.len();
    rows.sort_by(|a, b| {
        a.top1()
            .total_cmp(&b.top1())
            .then(a.topk().total_cmp(&b.topk()))
    });
    rows.truncate(MAX_ROWS);
    let mut html = String::from("<div><h3>Classes, worst first");
    if rows.len() < all {
        html += &format!(" ({} of {})", grouped(rows.len()), grouped(all));
    }
    html += "</h3><div class=\"tall\"><table class=\"classes\"><thead><tr>";
    html += &sortable("class", false);
    html += &sortable("images", true);
    html += &sortable("top-1 %", true);
    html += &sortable(&format!("top-{} %", results.largest_k()), true);
    html += &sortable("most often confused with", false);
    html += "</tr></thead><tbody>";
    for row in &rows {
        let percent = |part: f64| format!("{:.1}", 100.0 * part);
        let taken = row.confused_with.map_or(String::new(), |(class, images)| {
            let name = Escaped(results.class_name(class)).to_string();
            format!("{name} <span class=\"faint\">({})</span>", grouped(images))
        });
        html += &format!(
            "<tr><td class=\"name\" title=\"{}\">{}</td>",
            Escaped(&title(results, row.class)),
            Escaped(results.class_name(row.class)),
        );
        for (value, text) in [
            (row.images as f64, grouped(row.images)),
            (row.top1(), percent(row.top1())),
            (row.topk(), percent(row.topk())),
        ] {
            html += &format!("<td class=\"n\" data-value=\"{value}\">{text}</td>");
        }
        html += &format!("<td>{taken}</td></tr>");
    }
    html + "</tbody></table></div></div>"
}

/// All names of a class, with its index.
fn title(results: &Results, class: u32) -> String {
    let names = &results.class_names[class as usize];
    match &results.wnids {
        Some(wnids) => format!("{class}: {names} ({})", wnids[class as usize]),
        None => format!("{class}: {names}"),
    }
}

fn confusions(results: &Results, model: usize) -> String {
    let confusions = results.confusions(model);
    let mut html = String::from("<div><h3>Most frequent confusions</h3>");
    if confusions.is_empty() {
        return html + "<p>There are none.</p></div>";
    }
    html += "<div class=\"tall\"><table class=\"confusions\"><thead><tr>";
    html += &header("class", false);
    html += &header("predicted", false);
    html += &header("images", true);
    html += "</tr></thead><tbody>";
    for confusion in confusions.iter().take(CONFUSIONS) {
        let [class, predicted] = [confusion.class, confusion.predicted]
            .map(|class| Escaped(results.class_name(class)).to_string());
        html += &format!(
            "<tr><td>{class}</td><td>{predicted}</td>{}</tr>",
            number(&grouped(confusion.images))
        );
    }
    html + "</tbody></table></div></div>"
}

impl Results {
    /// The images that a model classifies wrongly, most confident first.
    pub(super) fn confident_mistakes(&self, model: usize, most: usize) -> Vec<Counted<'_>> {
        let wrong = self.counted(model).filter(|counted| !counted.is_correct(1));
        let mut wrong: Vec<Counted<'_>> =
            wrong.filter(|counted| counted.outcome.is_some()).collect();
        let confidence =
            |counted: &Counted<'_>| counted.outcome.map_or(0.0, |outcome| outcome.confidence);
        wrong.sort_by(|a, b| confidence(b).total_cmp(&confidence(a)));
        wrong.truncate(most);
        wrong
    }
}

fn mistakes(
    results: &Results,
    model: usize,
    thumbnail: &mut Thumbnail<'_>,
) -> Result<String, ReportError> {
    let mistakes = results.confident_mistakes(model, MISTAKES);
    if mistakes.is_empty() {
        return Ok(String::new());
    }
    let mut html = String::from("<h3>Most confident mistakes</h3><div class=\"mistakes\">");
    for mistake in mistakes {
        let Some(outcome) = mistake.outcome else {
            continue;
        };
        let name = Escaped(&mistake.image.name);
        html += "<figure>";
        html += &match thumbnail(mistake.image.index)? {
            Some(uri) => format!("<img src=\"{uri}\" alt=\"{name}\" title=\"{name}\">"),
            None => "<div class=\"none\">no image</div>".to_owned(),
        };
        html += &format!(
            "<figcaption><b>{}</b><br>predicted <b>{}</b>, {:.1}&nbsp;%<br>{name}</figcaption></figure>",
            Escaped(results.class_name(mistake.class)),
            Escaped(results.class_name(outcome.predicted)),
            100.0 * outcome.confidence
        );
    }
    Ok(html + "</div>")
}
