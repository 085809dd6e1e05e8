//! The sections of a page, in order.

use topk_report::text::images;
use topk_report::{Escaped, page};

use super::model::{self, Thumbnail};
use super::{ReportError, calibration, comparison, groups, overview, risk, run};
use crate::compare::Comparison;
use crate::schema::Results;

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
    body += &groups::section(results, &names);
    body += &overview::accuracy_by_k(results, &names);
    body += &overview::reliability(results, &names);
    body += &calibration::section(results, &names);
    body += &risk::section(results, &names);
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
    let about = format!("On {} evaluated by both.", images(comparison.images));
    let section = comparison::section(comparison);
    page(
        title,
        &format!("<header><h1>{title}</h1><p>{about}</p></header>{section}"),
    )
}
