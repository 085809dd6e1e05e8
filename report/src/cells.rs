//! Table cells.

use crate::markup::Escaped;

/// A header cell.
pub fn header(title: &str, is_number: bool) -> String {
    let class = if is_number { " class=\"n\"" } else { "" };
    format!("<th scope=\"col\"{class}>{}</th>", Escaped(title))
}

/// A header cell with a button that sorts the table.
pub fn sortable(title: &str, is_number: bool) -> String {
    let class = if is_number { " class=\"n\"" } else { "" };
    format!(
        "<th scope=\"col\"{class}><button type=\"button\">{}</button></th>",
        Escaped(title)
    )
}

/// A sortable header cell of numbers by which the table is sorted already, from the largest.
pub fn sorted_descending(title: &str) -> String {
    let title = Escaped(title);
    format!(
        "<th scope=\"col\" class=\"n\" aria-sort=\"descending\"><button type=\"button\">{title}</button></th>"
    )
}

/// A cell with a number, aligned to the right.
pub fn number(text: &str) -> String {
    format!("<td class=\"n\">{}</td>", Escaped(text))
}

/// A cell with a number and the value by which rows are sorted; missing values are the lowest. `html` is markup.
pub fn sorted_number(value: Option<f64>, html: &str) -> String {
    let value = value.map_or_else(|| "-Infinity".to_owned(), |value| value.to_string());
    format!("<td class=\"n\" data-value=\"{value}\">{html}</td>")
}

/// A table of labels and values. Labels are text, values are HTML.
pub fn facts(rows: impl IntoIterator<Item = (String, String)>) -> String {
    let mut html = String::from("<table class=\"facts\"><tbody>");
    for (label, value) in rows {
        let label = Escaped(&label);
        html += &format!("<tr><th scope=\"row\">{label}</th><td>{value}</td></tr>");
    }
    html + "</tbody></table>"
}
