//! The page around the sections.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};

use super::model::{self, Thumbnail};
use super::{Escaped, ReportError, comparison, overview, run};
use crate::compare::Comparison;
use crate::results::Results;
use crate::text::images;

const STYLE: &str = include_str!("style.css");
const SCRIPT: &str = include_str!("script.js");

pub(super) fn report(
    results: &Results,
    comparisons: &[Comparison],
    thumbnail: &mut Thumbnail<'_>,
) -> Result<String, ReportError> {
    let names = results.model_names();
    let title = match &names[..] {
        [name] => format!("Top-k accuracy of {name}"),
        _ => format!("Top-k accuracy of {} models", names.len()),
    };
    let mut body = format!("<header><h1>{}</h1>", Escaped(&title));
    body += &overview::measured(results);
    body += "</header>";
    body += &overview::cards(results, &names);
    body += &overview::metrics(results, &names);
    body += &overview::accuracy_by_k(results, &names);
    body += &overview::reliability(results, &names);
    for comparison in comparisons {
        body += &comparison::section(comparison);
    }
    for (at, name) in names.iter().enumerate() {
        body += &model::section(results, at, name, thumbnail)?;
    }
    body += &run::failures(results);
    body += &run::repeat(results, &names);
    Ok(page(&title, &body))
}

pub(super) fn comparison(comparison: &Comparison) -> String {
    let title = "Comparison of two models";
    let about = format!("On {} that count for both.", images(comparison.images));
    let section = comparison::section(comparison);
    page(
        title,
        &format!("<header><h1>{title}</h1><p>{about}</p></header>{section}"),
    )
}

/// A browser runs no script on it but this one, and asks no server for anything.
fn page(title: &str, body: &str) -> String {
    let hash = STANDARD.encode(Sha256::digest(SCRIPT));
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src \
         'unsafe-inline'; img-src data:; script-src 'sha256-{hash}'\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>{}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n<main>\n{body}</main>\n\
         <script>{SCRIPT}</script>\n</body>\n</html>\n",
        Escaped(title)
    )
}
