//! The tables of `docs/scaling.md`, computed and compared with the page. After a change of the model:
//! `TOPK_UPDATE_PAGE=1 cargo test -p topk-distributed --test scaling` writes them into the page.

mod model;
mod tables;

use std::env;
use std::fs;

use topk_testing::root;

/// A table's name, which marks its place in the page, and its text.
type Table = (&'static str, fn() -> String);

const TABLES: [Table; 5] = [
    ("inputs", tables::inputs),
    ("scaling", tables::scaling),
    ("exchange", tables::exchange),
    ("storage", tables::storage),
    ("checks", tables::checks),
];

#[test]
fn the_page_has_the_tables_of_the_model() {
    let file = root().join("docs/scaling.md");
    let page = fs::read_to_string(&file).unwrap();
    let mut expected = page.clone();
    for (name, table) in TABLES {
        expected = replace(&expected, name, &table());
    }
    if env::var_os("TOPK_UPDATE_PAGE").is_some() {
        fs::write(&file, &expected).unwrap();
    } else {
        assert!(
            page == expected,
            "docs/scaling.md differs from the model; TOPK_UPDATE_PAGE=1 writes:\n{expected}"
        );
    }
}

/// The page with the lines between two marks replaced.
fn replace(page: &str, name: &str, table: &str) -> String {
    let (begin, end) = (
        format!("<!-- {name} -->\n\n"),
        format!("\n<!-- end of {name} -->\n"),
    );
    let (before, rest) = page
        .split_once(&begin)
        .unwrap_or_else(|| panic!("no mark {begin}"));
    let (_, after) = rest
        .split_once(&end)
        .unwrap_or_else(|| panic!("no mark {end}"));
    format!("{before}{begin}{table}{end}{after}")
}

#[test]
fn the_model_agrees_with_published_runs() {
    for check in model::CHECKS {
        let ratio = check.predicted() / check.published;
        // It leaves out what it does not know, so it may only be too fast, and not by much.
        assert!((0.85..=1.02).contains(&ratio), "{}: {ratio}", check.name);
    }
}
