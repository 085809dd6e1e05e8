//! The sections on the run itself: images that could not be read, and how to repeat it.

use serde_json::Value;

use super::cells::header;
use super::{Escaped, MAX_ROWS};
use crate::results::Results;
use crate::text::{grouped, images};

pub(super) fn failures(results: &Results) -> String {
    if results.failures.is_empty() {
        return String::new();
    }
    let mut html = format!(
        "<section><h2>{} could not be read</h2><div class=\"tall\"><table class=\"failures\"><thead><tr>",
        images(results.failures.len())
    );
    html += &header("image", false);
    html += &header("why", false);
    html += "</tr></thead><tbody>";
    for failure in results.failures.iter().take(MAX_ROWS) {
        let [name, message] = [&failure.name, &failure.message].map(|text| Escaped(text));
        html += &format!("<tr><td>{name}</td><td>{message}</td></tr>");
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

/// All that was decided, so that the run can be repeated.
pub(super) fn repeat(results: &Results, names: &[String]) -> String {
    let mut html = String::from(
        "<section><h2>How to repeat this run</h2><details><summary>Data, settings and machines</summary><div>",
    );
    let common = serde_json::json!({
        "topk_eval": results.topk_eval,
        "started": results.started,
        "complete": results.complete,
        "shard": results.shard,
        "data": results.data,
        "settings": results.settings,
        "environments": results.environments,
    });
    html += &facts(&common);
    html += "</div></details>";
    for (model, name) in results.models.iter().zip(names) {
        let value = serde_json::json!({ "model": model.model, "timing": model.timing });
        html += &format!("<details><summary>{}</summary><div>", Escaped(name));
        html += &facts(&value);
        html += "</div></details>";
    }
    html + "</section>"
}

/// The members of an object of objects, a row each.
fn facts(value: &Value) -> String {
    let mut html = String::from("<table class=\"facts\"><tbody>");
    for (name, value) in value.as_object().into_iter().flatten() {
        let members = value.as_object();
        let single = [(name, value)];
        let rows: Vec<(&String, &Value)> = match members {
            Some(members) => members.iter().collect(),
            None => single.to_vec(),
        };
        for (member, value) in rows {
            let text = match value {
                Value::Null => continue,
                Value::String(text) => Escaped(text).to_string(),
                Value::Object(_) | Value::Array(_) => {
                    format!("<pre>{}</pre>", Escaped(&shortened(value)))
                }
                value => Escaped(&value.to_string()).to_string(),
            };
            let title = member.replace('_', " ");
            html += &format!(
                "<tr><th scope=\"row\">{}</th><td>{text}</td></tr>",
                Escaped(&title)
            );
        }
    }
    html + "</tbody></table>"
}

/// As JSON, without the middle of long lists.
fn shortened(value: &Value) -> String {
    match value {
        Value::Array(entries) if entries.len() > 40 => {
            format!(
                "[{}, {}, … {} entries in all]",
                entries[0],
                entries[1],
                grouped(entries.len())
            )
        }
        Value::Array(entries) if entries.iter().all(|entry| !entry.is_object()) => {
            value.to_string()
        }
        value => serde_json::to_string_pretty(value).unwrap_or_default(),
    }
}
