//! Weights of the classes in the loss.

use std::collections::HashMap;
use std::convert::Infallible;
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde::{Serialize, Serializer};
use thiserror::Error;
use topk_files::{excerpt, read_limited};

/// Largest file of weights that is read.
const MAX_BYTES: u64 = 1 << 26;

/// Where the weights of the classes come from.
#[derive(Clone, Debug, PartialEq)]
pub enum ClassWeights {
    /// In inverse proportion to the number of training images, as scikit-learn's `balanced`.
    Balanced,
    /// A file.
    File(PathBuf),
}

/// The weights of the classes cannot be used.
#[derive(Debug, Error)]
pub enum ClassWeightsError {
    /// The file cannot be read.
    #[error("--class-weights: cannot read {}: {error}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's error.
        error: std::io::Error,
    },
    /// The file is not text, or too large.
    #[error(
        "--class-weights: {} is not a text in UTF-8 of at most {MAX_BYTES} bytes",
        path.display()
    )]
    NotText {
        /// The file.
        path: PathBuf,
    },
    /// A line is invalid.
    #[error(
        "{}, line {line}: found `{found}`, expected a class and its weight, a finite number of at least 0, or \
         a weight alone in each line",
        path.display()
    )]
    Line {
        /// The file.
        path: PathBuf,
        /// Number of the line, from 1.
        line: usize,
        /// The line.
        found: String,
    },
    /// The data does not have a class of the file.
    #[error("{}, line {line}: the training images have no class `{class}`", path.display())]
    Unknown {
        /// The file.
        path: PathBuf,
        /// Number of the line, from 1.
        line: usize,
        /// The class.
        class: String,
    },
    /// A class has two weights.
    #[error("{}, line {line}: the class `{class}` has a weight already; remove one", path.display())]
    Twice {
        /// The file.
        path: PathBuf,
        /// Number of the line, from 1.
        line: usize,
        /// The class.
        class: String,
    },
    /// A class has no weight.
    #[error("{} has no weight for the class `{class}`: give one for each of the {classes} classes", path.display())]
    Missing {
        /// The file.
        path: PathBuf,
        /// The first such class.
        class: String,
        /// Number of classes.
        classes: usize,
    },
    /// There is not one weight per class.
    #[error(
        "{} has {weights} weights for {classes} classes: give one per line in the order of the classes, or \
         the name of the class before each",
        path.display()
    )]
    Count {
        /// The file.
        path: PathBuf,
        /// Number of weights.
        weights: usize,
        /// Number of classes.
        classes: usize,
    },
    /// No image would count.
    #[error(
        "--class-weights: the weights of all classes with training images are 0, so nothing would be learned"
    )]
    Zero,
}

impl ClassWeights {
    /// One weight per class, of classes with these names and numbers of training images.
    ///
    /// # Errors
    /// If the file cannot be read or does not have one weight per class, or if all weights are 0.
    pub(crate) fn resolve(
        &self,
        names: &[String],
        counts: &[usize],
    ) -> Result<Vec<f64>, ClassWeightsError> {
        let weights = match self {
            Self::Balanced => balanced(counts),
            Self::File(path) => {
                let bytes = read_limited(path, MAX_BYTES).map_err(|error| {
                    let path = path.clone();
                    ClassWeightsError::Read { path, error }
                })?;
                let text = bytes.and_then(|bytes| String::from_utf8(bytes).ok());
                let text = text.ok_or_else(|| ClassWeightsError::NotText { path: path.clone() })?;
                parse(&text, path, names)?
            }
        };
        let mut counted = weights.iter().zip(counts);
        match counted.any(|(&weight, &count)| weight > 0.0 && count > 0) {
            true => Ok(weights),
            false => Err(ClassWeightsError::Zero),
        }
    }
}

/// n/(C · count), so that each class counts alike and the mean over the n images is 1; 0 for a class without images.
fn balanced(counts: &[usize]) -> Vec<f64> {
    let images: usize = counts.iter().sum();
    let share = images as f64 / counts.len() as f64;
    let weight = |&count: &usize| match count {
        0 => 0.0,
        count => share / count as f64,
    };
    counts.iter().map(weight).collect()
}

/// Weights in the order of the classes, from lines with a weight each, or with a class and its weight.
fn parse(text: &str, path: &Path, names: &[String]) -> Result<Vec<f64>, ClassWeightsError> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let lines = (1..).zip(text.lines().map(str::trim));
    let lines: Vec<(usize, &str)> = lines.filter(|(_, line)| !line.is_empty()).collect();
    let weight_of = |text: &str| {
        let weight: Option<f64> = text.trim().parse().ok();
        weight.filter(|weight| weight.is_finite() && *weight >= 0.0)
    };
    let path_buf = || path.to_owned();
    let invalid = |line: usize, text: &str| ClassWeightsError::Line {
        path: path_buf(),
        line,
        found: excerpt(text),
    };
    if lines.iter().all(|(_, line)| weight_of(line).is_some()) {
        let weights: Vec<f64> = lines
            .iter()
            .filter_map(|(_, line)| weight_of(line))
            .collect();
        return match weights.len() == names.len() {
            true => Ok(weights),
            false => Err(ClassWeightsError::Count {
                path: path_buf(),
                weights: weights.len(),
                classes: names.len(),
            }),
        };
    }
    let indices: HashMap<&str, usize> = names.iter().map(String::as_str).zip(0..).collect();
    let mut weights: Vec<Option<f64>> = vec![None; names.len()];
    for (number, line) in lines {
        // Names may have spaces and commas in them.
        let parts = line.rsplit_once(['\t', ',', ' ']);
        let (name, weight) = parts
            .and_then(|(name, weight)| Some((name.trim(), weight_of(weight)?)))
            .ok_or_else(|| invalid(number, line))?;
        let index = indices
            .get(name)
            .ok_or_else(|| ClassWeightsError::Unknown {
                path: path_buf(),
                line: number,
                class: excerpt(name),
            })?;
        if weights[*index].replace(weight).is_some() {
            return Err(ClassWeightsError::Twice {
                path: path_buf(),
                line: number,
                class: excerpt(name),
            });
        }
    }
    let named = weights.iter().zip(names);
    let complete = named.map(|(weight, name)| {
        weight.ok_or_else(|| ClassWeightsError::Missing {
            path: path_buf(),
            class: excerpt(name),
            classes: names.len(),
        })
    });
    complete.collect()
}

impl FromStr for ClassWeights {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(match text {
            "balanced" => Self::Balanced,
            path => Self::File(path.into()),
        })
    }
}

impl fmt::Display for ClassWeights {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Balanced => f.write_str("balanced"),
            Self::File(path) => path.display().fmt(f),
        }
    }
}

impl Serialize for ClassWeights {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names() -> Vec<String> {
        ["great white shark", "rose", "tench, Tinca tinca"]
            .map(str::to_owned)
            .into()
    }

    fn parsed(text: &str) -> Result<Vec<f64>, String> {
        parse(text, Path::new("w.txt"), &names()).map_err(|error| error.to_string())
    }

    #[test]
    fn balanced_weights_are_those_of_scikit_learn() {
        // compute_class_weight("balanced", classes=[0, 1, 2], y=[0] * 6 + [1] * 3 + [2] * 1)
        let expected = [10.0 / 18.0, 10.0 / 9.0, 10.0 / 3.0];
        let found = ClassWeights::Balanced
            .resolve(&names(), &[6, 3, 1])
            .unwrap();
        for (found, expected) in found.iter().zip(expected) {
            assert!((found - expected).abs() < 1e-15);
        }
        let of_missing = ClassWeights::Balanced
            .resolve(&names(), &[6, 0, 3])
            .unwrap();
        assert_eq!(of_missing, [0.5, 0.0, 1.0]);
    }

    #[test]
    fn files_have_weights_in_order_or_with_names() {
        assert_eq!(parsed("1\n0.5\n\n2e1\n"), Ok(vec![1.0, 0.5, 20.0]));
        let text = "\u{feff}rose,0.5\r\ngreat white shark 1\ntench, Tinca tinca\t20\n";
        assert_eq!(parsed(text), Ok(vec![1.0, 0.5, 20.0]));
    }

    #[test]
    fn bad_files_are_errors_that_name_the_line() {
        for (text, message) in [
            (
                "1\n2",
                "w.txt has 2 weights for 3 classes: give one per line in the order of the classes, or the name of the \
                 class before each",
            ),
            (
                "rose -1",
                "w.txt, line 1: found `rose -1`, expected a class and its weight, a finite number of at least 0, or a \
                 weight alone in each line",
            ),
            (
                "rose 1\ndaisy 1",
                "w.txt, line 2: the training images have no class `daisy`",
            ),
            (
                "rose 1\nrose 2",
                "w.txt, line 2: the class `rose` has a weight already; remove one",
            ),
            (
                "rose 1",
                "w.txt has no weight for the class `great white shark`: give one for each of the 3 classes",
            ),
        ] {
            assert_eq!(parsed(text), Err(message.to_owned()));
        }
        assert!(matches!(balanced(&[0, 0])[..], [0.0, 0.0]));
        let nothing = ClassWeights::Balanced.resolve(&names(), &[0, 0, 0]);
        assert!(matches!(nothing, Err(ClassWeightsError::Zero)));
    }
}
