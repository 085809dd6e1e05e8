use std::fmt;
use std::str::FromStr;

use serde::{Serialize, Serializer};
use thiserror::Error;

/// A setting of the loss that may change from epoch to epoch, written `1` or `10..0.1`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ramp {
    start: f64,
    end: f64,
}

/// A text is no [`Ramp`].
#[derive(Clone, Debug, Error, PartialEq)]
#[error(
    "`{0}` is neither a number from 0, such as 1, nor two with dots between them, such as 10..0.1"
)]
pub struct ParseRampError(String);

impl Ramp {
    /// The same value in all epochs.
    pub fn constant(value: f64) -> Self {
        Self {
            start: value,
            end: value,
        }
    }

    /// Whether it changes.
    pub fn is_constant(self) -> bool {
        self.start == self.end
    }

    /// The value in an epoch, from 1: the first in the first, the second in the last, and between them
    /// in equal ratios, or in equal steps if one of them is 0.
    pub fn at(self, epoch: usize, epochs: usize) -> f64 {
        if self.is_constant() || epochs < 2 {
            return self.start;
        }
        let part = (epoch - 1) as f64 / (epochs - 1) as f64;
        if part == 1.0 {
            self.end
        } else if self.start > 0.0 && self.end > 0.0 {
            self.start * (self.end / self.start).powf(part)
        } else {
            self.start + (self.end - self.start) * part
        }
    }
}

impl FromStr for Ramp {
    type Err = ParseRampError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (start, end) = text.split_once("..").unwrap_or((text, text));
        let number = |text: &str| {
            let number: f64 = text.parse().ok()?;
            (number.is_finite() && number >= 0.0).then_some(number)
        };
        match (number(start), number(end)) {
            (Some(start), Some(end)) => Ok(Self { start, end }),
            _ => Err(ParseRampError(text.to_owned())),
        }
    }
}

impl fmt::Display for Ramp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.is_constant() {
            true => write!(f, "{}", self.start),
            false => write!(f, "{}..{}", self.start, self.end),
        }
    }
}

impl Serialize for Ramp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.is_constant() {
            true => serializer.serialize_f64(self.start),
            false => serializer.collect_str(self),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_go_from_the_first_to_the_last_epoch() {
        let at = |text: &str, epoch| text.parse::<Ramp>().unwrap().at(epoch, 5);
        assert_eq!([1, 3, 5].map(|epoch| at("0.5", epoch)), [0.5; 3]);
        assert_eq!([1, 3, 5].map(|epoch| at("0..1", epoch)), [0.0, 0.5, 1.0]);
        let [first, middle, last] = [1, 3, 5].map(|epoch| at("10..0.1", epoch));
        assert_eq!((first, last), (10.0, 0.1));
        assert!((middle - 1.0).abs() < 1e-12);
        assert_eq!("3..7".parse::<Ramp>().unwrap().at(1, 1), 3.0);
    }

    #[test]
    fn texts_are_read_and_written() {
        for text in ["1", "0.1", "10..0.1"] {
            assert_eq!(text.parse::<Ramp>().unwrap().to_string(), text);
        }
        for text in ["", "-1", "nan", "1..", "..1", "inf", "1..2..3"] {
            assert!(text.parse::<Ramp>().is_err(), "{text}");
        }
    }
}
