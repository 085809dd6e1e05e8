//! Cells of tables.

use super::Escaped;

/// A cell of a header.
pub(super) fn header(title: &str, is_number: bool) -> String {
    let class = if is_number { " class=\"n\"" } else { "" };
    format!("<th scope=\"col\"{class}>{}</th>", Escaped(title))
}

/// A cell of a header that sorts its table.
pub(super) fn sortable(title: &str, is_number: bool) -> String {
    let class = if is_number { " class=\"n\"" } else { "" };
    format!(
        "<th scope=\"col\"{class}><button type=\"button\">{}</button></th>",
        Escaped(title)
    )
}

/// A cell with a number.
pub(super) fn number(text: &str) -> String {
    format!("<td class=\"n\">{}</td>", Escaped(text))
}
