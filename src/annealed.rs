use std::fmt;
use std::str::FromStr;

use serde::{Serialize, Serializer};
use thiserror::Error;

/// A setting of the loss that is constant (`1`) or annealed over the epochs (`10..0.1`).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Annealed {
    start: f64,
    end: f64,
}

/// A text is not an [`Annealed`] value.
#[derive(Clone, Debug, Error, PartialEq)]
#[error(
    "`{0}` is not a valid value: expected a number of at least 0, such as 1, or a range START..END, such as \
     10..0.1"
)]
pub struct ParseAnnealedError(String);

impl Annealed {
    /// The same value in all epochs.
    pub fn constant(value: f64) -> Self {
        Self {
            start: value,
            end: value,
        }
    }

    /// Whether the value is the same in all epochs.
    pub(crate) fn is_constant(self) -> bool {
        self.start == self.end
    }

    /// The value in an epoch, counted from 1: the start in the first epoch, the end in the last. In between,
    /// interpolation is geometric, or linear if the start or the end is 0.
    pub(crate) fn at(self, epoch: usize, epochs: usize) -> f64 {
        if self.is_constant() || epochs < 2 {
            return self.start;
        }
        let fraction = (epoch - 1) as f64 / (epochs - 1) as f64;
        if fraction == 1.0 {
            self.end
        } else if self.start > 0.0 && self.end > 0.0 {
            self.start * (self.end / self.start).powf(fraction)
        } else {
            self.start + (self.end - self.start) * fraction
        }
    }
}

impl FromStr for Annealed {
    type Err = ParseAnnealedError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (start, end) = text.split_once("..").unwrap_or((text, text));
        let number = |text: &str| {
            let number: f64 = text.parse().ok()?;
            (number.is_finite() && number >= 0.0).then_some(number)
        };
        match (number(start), number(end)) {
            (Some(start), Some(end)) => Ok(Self { start, end }),
            _ => Err(ParseAnnealedError(text.to_owned())),
        }
    }
}

impl fmt::Display for Annealed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.is_constant() {
            true => write!(f, "{}", self.start),
            false => write!(f, "{}..{}", self.start, self.end),
        }
    }
}

impl Serialize for Annealed {
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
    fn values_go_from_start_to_end() {
        let at = |text: &str, epoch| text.parse::<Annealed>().unwrap().at(epoch, 5);
        assert_eq!([1, 3, 5].map(|epoch| at("0.5", epoch)), [0.5; 3]);
        assert_eq!([1, 3, 5].map(|epoch| at("0..1", epoch)), [0.0, 0.5, 1.0]);
        let [first, middle, last] = [1, 3, 5].map(|epoch| at("10..0.1", epoch));
        assert_eq!((first, last), (10.0, 0.1));
        assert!((middle - 1.0).abs() < 1e-12);
        assert_eq!("3..7".parse::<Annealed>().unwrap().at(1, 1), 3.0);
    }

    #[test]
    fn texts_round_trip() {
        for text in ["1", "0.1", "10..0.1"] {
            assert_eq!(text.parse::<Annealed>().unwrap().to_string(), text);
        }
        for text in ["", "-1", "nan", "1..", "..1", "inf", "1..2..3"] {
            assert!(text.parse::<Annealed>().is_err(), "{text}");
        }
    }
}
