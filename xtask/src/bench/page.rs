//! The tables of `docs/benchmarks.md`. The text around them is written by hand.

use std::fs;

use anyhow::{Context, Result};
use topk_testing::root;

use super::Part;
use super::report::Summary;

pub(super) const FILE: &str = "docs/benchmarks.md";

/// The line after a part's tables.
const END: &str = "<!-- end -->\n";

/// The line before a part's tables.
fn start(part: Part) -> String {
    format!("<!-- cargo xtask bench {} -->\n", part.name())
}

pub(super) fn read() -> Result<String> {
    fs::read_to_string(root().join(FILE)).with_context(|| format!("cannot read {FILE}"))
}

pub(super) fn write(page: &str) -> Result<()> {
    fs::write(root().join(FILE), page).with_context(|| format!("cannot write {FILE}"))
}

/// The page with the tables of these parts.
pub(super) fn with_tables(page: &str, summaries: &[(Part, Summary)]) -> Result<String> {
    let mut page = page.to_owned();
    for (part, summary) in summaries {
        let start = start(*part);
        page = with_section(&page, &start, &summary.section).with_context(|| {
            format!(
                "{FILE} lacks the lines `{}` and `{}`, between which the tables go",
                start.trim_end(),
                END.trim_end()
            )
        })?;
    }
    Ok(page)
}

fn with_section(page: &str, start: &str, section: &str) -> Option<String> {
    let (before, rest) = page.split_once(start)?;
    let (_, after) = rest.split_once(END)?;
    Some([before, start, section, END, after].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_section_replaces_what_is_between_the_marks() {
        let start = start(Part::Loss);
        assert_eq!(start, "<!-- cargo xtask bench loss -->\n");
        let page = format!("text\n{start}old\n{END}more\n");
        let expected = format!("text\n{start}new\n{END}more\n");
        assert_eq!(with_section(&page, &start, "new\n"), Some(expected));
        assert_eq!(with_section("text\n", &start, "new\n"), None);
    }
}
