use std::fmt;
use std::str::FromStr;

use crate::augment::AugmentationError;

/// The name of a step, and what can be said of it.
pub(in crate::augment) struct Syntax<const N: usize> {
    pub(in crate::augment) step: &'static str,
    /// Names of the options, which may be left out of those that come in this order.
    pub(in crate::augment) options: [&'static str; N],
    pub(in crate::augment) example: &'static str,
}

/// The options of a step, as they were written.
pub(in crate::augment) struct Options<'a, const N: usize> {
    syntax: &'static Syntax<N>,
    values: [Option<&'a str>; N],
}

impl<const N: usize> Syntax<N> {
    /// Reads what is behind the name of the step: `value:option=value`.
    pub(in crate::augment) fn read<'a>(
        &'static self,
        text: Option<&'a str>,
    ) -> Result<Options<'a, N>, AugmentationError> {
        let mut values = [None; N];
        for (place, text) in text
            .into_iter()
            .flat_map(|text| text.split(':'))
            .enumerate()
        {
            let (place, value) = match text.split_once('=') {
                None => (place, text),
                Some((name, value)) => {
                    let place = self.options.iter().position(|option| *option == name);
                    let place = place.ok_or_else(|| self.error(format!("has no {name:?}")))?;
                    (place, value)
                }
            };
            let option = values
                .get_mut(place)
                .ok_or_else(|| self.error(format!("has no place for {text:?}")))?;
            if option.replace(value).is_some() {
                return Err(self.error(format!("has {} twice", self.options[place])));
            }
        }
        Ok(Options {
            syntax: self,
            values,
        })
    }

    pub(in crate::augment) fn error(&self, problem: String) -> AugmentationError {
        AugmentationError::Options {
            step: self.step,
            problem,
            options: self.options.join(", "),
            example: self.example,
        }
    }
}

impl<const N: usize> Options<'_, N> {
    /// Reads an option if it is there.
    pub(in crate::augment) fn get<T>(
        &self,
        place: usize,
        expected: &'static str,
        read: impl Fn(&str) -> Option<T>,
    ) -> Result<Option<T>, AugmentationError> {
        let Some(text) = self.values[place] else {
            return Ok(None);
        };
        let value = read(text).ok_or_else(|| AugmentationError::Text {
            step: self.syntax.step,
            option: self.syntax.options[place],
            text: text.to_owned(),
            expected,
        })?;
        Ok(Some(value))
    }

    /// Reads an option that must be there.
    pub(in crate::augment) fn require<T>(
        &self,
        place: usize,
        expected: &'static str,
        read: impl Fn(&str) -> Option<T>,
    ) -> Result<T, AugmentationError> {
        let option = self.syntax.options[place];
        self.get(place, expected, read)?
            .ok_or_else(|| self.syntax.error(format!("needs {option}")))
    }

    pub(in crate::augment) fn number(
        &self,
        place: usize,
    ) -> Result<Option<f64>, AugmentationError> {
        self.get(place, NUMBER, number)
    }

    pub(in crate::augment) fn require_number(
        &self,
        place: usize,
    ) -> Result<f64, AugmentationError> {
        self.require(place, NUMBER, number)
    }

    pub(in crate::augment) fn integer(
        &self,
        place: usize,
    ) -> Result<Option<u32>, AugmentationError> {
        self.get(place, "a whole number, at least 0", number)
    }

    pub(in crate::augment) fn range(
        &self,
        place: usize,
    ) -> Result<Option<[f64; 2]>, AugmentationError> {
        self.get(place, "two numbers, such as 0.5..1", range)
    }
}

const NUMBER: &str = "a number";

fn number<T: FromStr>(text: &str) -> Option<T> {
    text.parse().ok()
}

/// Two numbers with two points between them.
pub(in crate::augment) fn range(text: &str) -> Option<[f64; 2]> {
    let (low, high) = text.split_once("..")?;
    Some([number(low)?, number(high)?])
}

/// Columns and rows with an x between them, or one number for both.
pub(in crate::augment) fn size(text: &str) -> Option<[u32; 2]> {
    match text.split_once('x') {
        None => number(text).map(|side| [side; 2]),
        Some((width, height)) => Some([number(width)?, number(height)?]),
    }
}

/// Writes two numbers as [`range`] reads them.
pub(in crate::augment) struct Range(pub(in crate::augment) [f64; 2]);

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [low, high] = self.0;
        write!(f, "{low}..{high}")
    }
}
