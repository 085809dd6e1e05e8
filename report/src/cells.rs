//! Cells of tables.

use crate::markup::Escaped;

/// A cell of a header.
pub fn header(title: &str, is_number: bool) -> String {
    let class = if is_number { " class=\"n\"" } else { "" };
    format!("<th scope=\"col\"{class}>{}</th>", Escaped(title))
}

/// A cell of a header that sorts its table.
pub fn sortable(title: &str, is_number: bool) -> String {
    let class = if is_number { " class=\"n\"" } else { "" };
    format!(
        "<th scope=\"col\"{class}><button type=\"button\">{}</button></th>",
        Escaped(title)
    )
}

/// A cell with a number.
pub fn number(text: &str) -> String {
    format!("<td class=\"n\">{}</td>", Escaped(text))
}

/// A table of facts: what each row is about, and HTML that says it.
pub fn facts(rows: impl IntoIterator<Item = (String, String)>) -> String {
    let mut html = String::from("<table class=\"facts\"><tbody>");
    for (about, fact) in rows {
        let about = Escaped(&about);
        html += &format!("<tr><th scope=\"row\">{about}</th><td>{fact}</td></tr>");
    }
    html + "</tbody></table>"
}
