//! Values of settings on the axes of a sweep.

use std::cmp::Ordering;

use serde::Serialize;
use serde_json::Value;

use crate::page::plain;
use crate::plot::number;

/// A value of a setting. Values are ordered by kind, then ascending.
#[derive(Clone, Debug, Serialize)]
#[serde(untagged)]
pub enum AxisValue {
    /// The setting is absent or null.
    None,
    /// True or false.
    Flag(bool),
    /// A number.
    Number(f64),
    /// Anything else, as text.
    Text(String),
}

impl AxisValue {
    /// Converts a JSON value; `0` and `0.0` are equal.
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

    /// The value as text, without the setting's name.
    pub(crate) fn text(&self) -> String {
        match self {
            Self::None => "–".to_owned(),
            Self::Flag(flag) => flag.to_string(),
            Self::Number(value) => number(*value),
            Self::Text(text) => text.clone(),
        }
    }

    /// The value as text, with the setting's name unless the value is text itself.
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

/// Name of a variant, such as `svm, tau 1`.
pub(crate) fn variant(keys: &[String], values: &[AxisValue]) -> String {
    let named = keys
        .iter()
        .zip(values)
        .filter_map(|(key, value)| value.named(key));
    let named: Vec<String> = named.collect();
    if named.is_empty() {
        "–".to_owned()
    } else {
        named.join(", ")
    }
}

impl Ord for AxisValue {
    fn cmp(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Self::Flag(a), Self::Flag(b)) => a.cmp(b),
            (Self::Number(a), Self::Number(b)) => a.total_cmp(b),
            (Self::Text(a), Self::Text(b)) => a.cmp(b),
            (a, b) => a.rank().cmp(&b.rank()),
        }
    }
}

impl PartialOrd for AxisValue {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for AxisValue {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for AxisValue {}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn values_are_ordered_and_named() {
        let mut values = [
            json!("svm"),
            json!(10),
            json!(null),
            json!(0.5),
            json!(10.0),
        ]
        .map(|value| AxisValue::of(&value));
        assert_eq!(values[1], values[4]);
        values.sort();
        let texts = values.each_ref().map(AxisValue::text);
        assert_eq!(texts, ["–", "0.5", "10", "10", "svm"]);
        let keys = ["tau", "loss"].map(str::to_owned);
        assert_eq!(
            variant(&keys, &[values[1].clone(), values[4].clone()]),
            "tau 0.5, svm"
        );
        assert_eq!(variant(&keys, &[AxisValue::None, values[4].clone()]), "svm");
        let flag = AxisValue::of(&json!(false));
        assert_eq!(variant(&["augment".to_owned()], &[flag]), "augment false");
    }
}
