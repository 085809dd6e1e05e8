use std::fmt;
use std::str::FromStr;

use crate::augment::AugmentationError;

/// Syntax of a step.
pub(in crate::augment) struct Syntax<const N: usize> {
    pub(in crate::augment) step: &'static str,
    /// Names of the options, which can be omitted if values are given in this order.
    pub(in crate::augment) options: [&'static str; N],
    pub(in crate::augment) example: &'static str,
}

/// The options of a step, as text.
pub(in crate::augment) struct Options<'a, const N: usize> {
    syntax: &'static Syntax<N>,
    values: [Option<&'a str>; N],
}

impl<const N: usize> Syntax<N> {
    /// Parses the text after the name of the step: `value:option=value`.
    pub(in crate::augment) fn read<'a>(
        &'static self,
        text: Option<&'a str>,
    ) -> Result<Options<'a, N>, AugmentationError> {
        let mut values = [None; N];
        for (index, text) in text
            .into_iter()
            .flat_map(|text| text.split(':'))
            .enumerate()
        {
            let (index, value) = match text.split_once('=') {
                None => (index, text),
                Some((name, value)) => {
                    let index = self.options.iter().position(|option| *option == name);
                    let index =
                        index.ok_or_else(|| self.error(format!("has no option {name:?}")))?;
                    (index, value)
                }
            };
            let option = values
                .get_mut(index)
                .ok_or_else(|| self.error(format!("has too many values: {text:?}")))?;
            if option.replace(value).is_some() {
                return Err(self.error(format!("sets {} twice", self.options[index])));
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
    /// Parses an option if it is present.
    pub(in crate::augment) fn get<T>(
        &self,
        index: usize,
        expected: &'static str,
        read: impl Fn(&str) -> Option<T>,
    ) -> Result<Option<T>, AugmentationError> {
        let Some(text) = self.values[index] else {
            return Ok(None);
        };
        let value = read(text).ok_or_else(|| AugmentationError::Text {
            step: self.syntax.step,
            option: self.syntax.options[index],
            text: text.to_owned(),
            expected,
        })?;
        Ok(Some(value))
    }

    /// Parses a required option.
    pub(in crate::augment) fn require<T>(
        &self,
        index: usize,
        expected: &'static str,
        read: impl Fn(&str) -> Option<T>,
    ) -> Result<T, AugmentationError> {
        let option = self.syntax.options[index];
        self.get(index, expected, read)?
            .ok_or_else(|| self.syntax.error(format!("needs {option}")))
    }

    pub(in crate::augment) fn number(
        &self,
        index: usize,
    ) -> Result<Option<f64>, AugmentationError> {
        self.get(index, NUMBER, number)
    }

    pub(in crate::augment) fn require_number(
        &self,
        index: usize,
    ) -> Result<f64, AugmentationError> {
        self.require(index, NUMBER, number)
    }

    pub(in crate::augment) fn integer(
        &self,
        index: usize,
    ) -> Result<Option<u32>, AugmentationError> {
        self.get(index, "a whole number, at least 0", number)
    }

    pub(in crate::augment) fn range(
        &self,
        index: usize,
    ) -> Result<Option<[f64; 2]>, AugmentationError> {
        self.get(index, "two numbers, such as 0.5..1", range)
    }
}

const NUMBER: &str = "a number";

fn number<T: FromStr>(text: &str) -> Option<T> {
    text.parse().ok()
}

/// Two numbers separated by two dots.
pub(in crate::augment) fn range(text: &str) -> Option<[f64; 2]> {
    let (low, high) = text.split_once("..")?;
    Some([number(low)?, number(high)?])
}

/// Width and height separated by an x, or one number for both.
pub(in crate::augment) fn size(text: &str) -> Option<[u32; 2]> {
    match text.split_once('x') {
        None => number(text).map(|side| [side; 2]),
        Some((width, height)) => Some([number(width)?, number(height)?]),
    }
}

/// Displays two numbers in the form that [`range`] parses.
pub(in crate::augment) struct Range(pub(in crate::augment) [f64; 2]);

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [low, high] = self.0;
        write!(f, "{low}..{high}")
    }
}
