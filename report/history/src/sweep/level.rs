//! Values of settings.

use std::cmp::Ordering;

use serde::Serialize;
use serde_json::Value;

use crate::page::plain;
use crate::plot::number;

/// A value of a setting. They are ordered by kind, then ascending.
#[derive(Clone, Debug, Serialize)]
#[serde(untagged)]
pub enum Level {
    /// The setting is absent or null.
    None,
    /// Yes or no.
    Flag(bool),
    /// A number.
    Number(f64),
    /// Anything else, as a text.
    Text(String),
}

impl Level {
    /// The level of a value of JSON; `0` and `0.0` are the same.
    pub(crate) fn of(value: &Value) -> Self {
        match value {
            Value::Null => Self::None,
            Value::Bool(flag) => Self::Flag(*flag),
            Value::Number(number) => number
                .as_f64()
                .map_or_else(|| Self::Text(number.to_string()), Self::Number),
            value => Self::Text(plain(value)),
        }
    }

    /// As a text alone.
    pub(crate) fn text(&self) -> String {
        match self {
            Self::None => "–".to_owned(),
            Self::Flag(flag) => flag.to_string(),
            Self::Number(value) => number(*value),
            Self::Text(text) => text.clone(),
        }
    }

    /// With the name of its setting, where it does not speak for itself.
    fn named(&self, key: &str) -> Option<String> {
        match self {
            Self::None => None,
            Self::Flag(_) | Self::Number(_) => Some(format!("{key} {}", self.text())),
            Self::Text(text) => Some(text.clone()),
        }
    }

    fn rank(&self) -> u8 {
        match self {
            Self::None => 0,
            Self::Flag(_) => 1,
            Self::Number(_) => 2,
            Self::Text(_) => 3,
        }
    }
}

/// `svm, tau 1`.
pub(crate) fn variant(keys: &[String], levels: &[Level]) -> String {
    let named = keys
        .iter()
        .zip(levels)
        .filter_map(|(key, level)| level.named(key));
    let named: Vec<String> = named.collect();
    if named.is_empty() {
        "–".to_owned()
    } else {
        named.join(", ")
    }
}

impl Ord for Level {
    fn cmp(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Self::Flag(a), Self::Flag(b)) => a.cmp(b),
            (Self::Number(a), Self::Number(b)) => a.total_cmp(b),
            (Self::Text(a), Self::Text(b)) => a.cmp(b),
            (a, b) => a.rank().cmp(&b.rank()),
        }
    }
}

impl PartialOrd for Level {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Level {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Level {}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn levels_have_an_order_and_names() {
        let mut levels = [
            json!("svm"),
            json!(10),
            json!(null),
            json!(0.5),
            json!(10.0),
        ]
        .map(|value| Level::of(&value));
        assert_eq!(levels[1], levels[4]);
        levels.sort();
        let texts = levels.each_ref().map(Level::text);
        assert_eq!(texts, ["–", "0.5", "10", "10", "svm"]);
        let keys = ["tau", "loss"].map(str::to_owned);
        assert_eq!(
            variant(&keys, &[levels[1].clone(), levels[4].clone()]),
            "tau 0.5, svm"
        );
        assert_eq!(variant(&keys, &[Level::None, levels[4].clone()]), "svm");
        let flag = Level::of(&json!(false));
        assert_eq!(variant(&["augment".to_owned()], &[flag]), "augment false");
    }
}
