use std::fmt;
use std::str::FromStr;

use serde::{Serialize, Serializer};
use thiserror::Error;

/// A result of a validation by which epochs are compared, under timm's names.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Metric {
    /// The mean loss, which is best if it is small.
    Loss,
    /// The top-k accuracy in %, which is best if it is large.
    Top(usize),
}

/// A text is not the name of a [`Metric`].
#[derive(Clone, Copy, Debug, Error, PartialEq)]
#[error("expected loss, top1, or topN with another number N of classes, such as top5")]
pub struct ParseMetricError;

impl FromStr for Metric {
    type Err = ParseMetricError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "loss" {
            return Ok(Self::Loss);
        }
        let k = text.strip_prefix("top").ok_or(ParseMetricError)?;
        let is_number = k.bytes().all(|byte| byte.is_ascii_digit());
        match k.parse() {
            Ok(k) if is_number && k > 0 => Ok(Self::Top(k)),
            _ => Err(ParseMetricError),
        }
    }
}

impl fmt::Display for Metric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Loss => f.write_str("loss"),
            Self::Top(k) => write!(f, "top{k}"),
        }
    }
}

impl Serialize for Metric {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl Metric {
    /// Whether a value is better than another one by more than `min_delta`, as in Lightning's `EarlyStopping`.
    pub(crate) fn is_better(self, value: f64, than: f64, min_delta: f64) -> bool {
        match self {
            Self::Loss => value + min_delta < than,
            Self::Top(_) => value - min_delta > than,
        }
    }

    /// The value, or the worst one if it is not finite: states are JSON, which has no other numbers.
    pub(crate) fn finite(self, value: f64) -> f64 {
        match (value.is_finite(), self) {
            (true, _) => value,
            (false, Self::Loss) => f64::MAX,
            (false, Self::Top(_)) => f64::MIN,
        }
    }

    /// A value with its unit, as printed.
    pub(crate) fn text(self, value: f64) -> String {
        match self {
            Self::Loss => format!("loss {value:.4}"),
            Self::Top(k) => format!("top-{k} {value:.2} %"),
        }
    }
}

/// A list of k, in ascending order and without duplicates.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Ks(pub Vec<usize>);

/// A text is not a list of [`Ks`].
#[derive(Clone, Copy, Debug, Error, PartialEq)]
#[error("expected numbers of at least 1 separated by commas, such as 1,3,5")]
pub struct ParseKsError;

impl FromStr for Ks {
    type Err = ParseKsError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let ks = text.split(',').map(|k| k.trim().parse());
        let mut ks: Vec<usize> = ks.collect::<Result<_, _>>().map_err(|_| ParseKsError)?;
        if ks.contains(&0) {
            return Err(ParseKsError);
        }
        ks.sort_unstable();
        ks.dedup();
        Ok(Self(ks))
    }
}

impl fmt::Display for Ks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ks: Vec<String> = self.0.iter().map(usize::to_string).collect();
        f.write_str(&ks.join(","))
    }
}

impl Serialize for Ks {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_have_timms_names() {
        for (text, metric) in [
            ("loss", Metric::Loss),
            ("top1", Metric::Top(1)),
            ("top12", Metric::Top(12)),
        ] {
            assert_eq!(text.parse(), Ok(metric));
            assert_eq!(metric.to_string(), text);
        }
        for text in ["", "top", "top0", "top-1", "top+1", "Loss", "acc1", "5"] {
            assert_eq!(text.parse::<Metric>(), Err(ParseMetricError), "{text}");
        }
    }

    #[test]
    fn lists_of_k_are_sorted() {
        assert_eq!("5,1, 3,5".parse(), Ok(Ks(vec![1, 3, 5])));
        for text in ["", "0", "1,,3", "a"] {
            assert_eq!(text.parse::<Ks>(), Err(ParseKsError), "{text}");
        }
    }

    #[test]
    fn a_value_that_is_not_finite_is_the_worst() {
        for metric in [Metric::Loss, Metric::Top(1)] {
            for value in [f64::NAN, f64::INFINITY] {
                assert!(
                    metric.is_better(1e300, metric.finite(value), 0.0) || metric == Metric::Top(1)
                );
                assert!(!metric.is_better(metric.finite(value), 0.0, 0.0));
            }
        }
    }
}
