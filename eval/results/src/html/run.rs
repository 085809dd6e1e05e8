//! The sections on the run itself: unreadable images, and how to reproduce it.

use serde_json::Value;
use topk_report::cells::{self, header};
use topk_report::text::{grouped, images};
use topk_report::{Breakable, Escaped};

use super::MAX_ROWS;
use crate::file;
use crate::schema::Results;

pub(super) fn failures(results: &Results) -> String {
    if results.failures.is_empty() {
        return String::new();
    }
    let mut html = format!(
        "<section><h2>{} could not be evaluated</h2><div class=\"tall\"><table class=\"failures\"><thead><tr>",
        images(results.failures.len())
    );
    html += &header("image", false);
    html += &header("error", false);
    html += "</tr></thead><tbody>";
    for failure in results.failures.iter().take(MAX_ROWS) {
        let (name, message) = (Breakable(&failure.name), Escaped(&failure.message));
        html +=
            &format!("<tr><td class=\"path\">{name}</td><td class=\"path\">{message}</td></tr>");
    }
    html += "</tbody></table></div>";
    if results.failures.len() > MAX_ROWS {
        html += &format!(
            "<p>And {} more.</p>",
            grouped(results.failures.len() - MAX_ROWS)
        );
    }
    html + "</section>"
}

/// Everything needed to reproduce the run.
pub(super) fn repeat(results: &Results, names: &[String]) -> String {
    let mut html = String::from(
        "<section><h2>How to reproduce this run</h2><details><summary>Data, settings and machines</summary><div>",
    );
    let versions = serde_json::json!({
        "topk_eval": results.topk_eval,
        "started": results.started,
        "complete": results.complete,
        "subset": results.subset.as_ref().map(|subset| serde_json::json!({
            "images": subset.images,
            "seed": subset.seed,
        })),
        "shard": results.shard,
    });
    let mut common = vec![
        ("", versions),
        ("data", file::to_value(&results.data)),
        ("settings", file::to_value(&results.settings)),
    ];
    let machines = results.environments.iter();
    common.extend(machines.map(|machine| ("machine", file::to_value(machine))));
    html += &facts(&common);
    html += "</div></details>";
    for (model, name) in results.models.iter().zip(names) {
        html += &format!("<details><summary>{}</summary><div>", Escaped(name));
        html += &facts(&[
            ("", file::to_value(&model.model)),
            ("timing", file::to_value(&model.timing)),
        ]);
        html += "</div></details>";
    }
    html + "</section>"
}

/// One row per member of several objects.
fn facts(objects: &[(&str, Value)]) -> String {
    let members = objects.iter().flat_map(|(object, value)| {
        let members = value.as_object().into_iter().flatten();
        members.map(move |(member, value)| (object, member, value))
    });
    cells::facts(members.filter_map(|(object, member, value)| {
        let text = match value {
            Value::Null => return None,
            Value::String(text) => Escaped(text).to_string(),
            Value::Object(_) | Value::Array(_) => {
                format!("<pre>{}</pre>", Escaped(&shortened(value)))
            }
            value => value.to_string(),
        };
        let colon = if object.is_empty() { "" } else { ": " };
        Some((format!("{object}{colon}{}", member.replace('_', " ")), text))
    }))
}

/// A value as JSON, with long lists shortened.
fn shortened(value: &Value) -> String {
    match value {
        Value::Array(entries) if entries.len() > 40 => {
            format!(
                "[{}, {}, … {} entries in total]",
                entries[0],
                entries[1],
                grouped(entries.len())
            )
        }
        value => file::to_json(value).trim_end().to_owned(),
    }
}
