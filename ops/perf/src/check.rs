use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use thiserror::Error;
use topk_ops::{Loss, LossError, Score, SmoothTopkSvm};

/// One sample, with the exact loss and gradient.
#[derive(Clone, Debug, Deserialize)]
pub struct Case {
    /// What it is about.
    pub name: String,
    /// The k of the loss.
    pub k: usize,
    /// Temperature.
    pub tau: f64,
    /// Margin.
    pub alpha: f64,
    /// The label.
    pub y: i64,
    /// The scores, each of them an `f32`.
    pub scores: Vec<f64>,
    /// The loss.
    pub loss: f64,
    /// Its derivatives with respect to the scores.
    pub grad: Vec<f64>,
}

/// Cases cannot be read.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ReadError {
    /// The file cannot be read.
    #[error("cannot read {}: {error}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system says.
        error: io::Error,
    },
    /// A line is not a case.
    #[error("{}, line {line}, is not a case: {error}", path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// Number of the line, from 1.
        line: usize,
        /// What is wrong.
        error: serde_json::Error,
    },
    /// There is nothing to check.
    #[error("{} holds no cases", .0.display())]
    Empty(PathBuf),
}

/// Reads a file of one JSON object a line, each with the fields of a [`Case`]; other fields are
/// ignored.
///
/// # Errors
/// If the file cannot be read, a line is no case, or there is none.
pub fn read_cases(path: &Path) -> Result<Vec<Case>, ReadError> {
    let text = fs::read_to_string(path).map_err(|error| ReadError::Io {
        path: path.to_owned(),
        error,
    })?;
    let cases = text
        .lines()
        .zip(1..)
        .map(|(text, line)| {
            serde_json::from_str(text).map_err(|error| ReadError::Line {
                path: path.to_owned(),
                line,
                error,
            })
        })
        .collect::<Result<Vec<Case>, _>>()?;
    if cases.is_empty() {
        return Err(ReadError::Empty(path.to_owned()));
    }
    Ok(cases)
}

/// Largest errors that are allowed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bars {
    /// Of the loss, relative to max(1, loss).
    pub loss: f64,
    /// Of a gradient entry, absolute.
    pub grad: f64,
}

impl Bars {
    /// For `f32` scores.
    pub const F32: Self = Self {
        loss: 2e-7,
        grad: 1e-7,
    };
    /// For `f64` scores.
    pub const F64: Self = Self {
        loss: 1e-12,
        grad: 1e-12,
    };
}

impl fmt::Display for Bars {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:e} and {:e}", self.loss, self.grad)
    }
}

/// What a comparison with exact values found.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Errors {
    /// Largest error of a loss, relative to max(1, loss).
    pub loss: f64,
    /// Largest error of a gradient entry, absolute.
    pub grad: f64,
    /// Each case that is outside the bars or refused: its name, and by how much or why.
    pub outside: Vec<String>,
}

impl Errors {
    /// Computes all cases with scores of type `T`.
    pub fn of<T: Score>(cases: &[Case], bars: &Bars) -> Self {
        let mut errors = Self::default();
        for case in cases {
            match error::<T>(case) {
                Err(error) => errors
                    .outside
                    .push(format!("{}: refused: {error}", case.name)),
                Ok((loss, grad)) => {
                    errors.loss = errors.loss.max(loss);
                    errors.grad = errors.grad.max(grad);
                    if loss > bars.loss || grad > bars.grad {
                        errors
                            .outside
                            .push(format!("{}: {loss:.1e} and {grad:.1e}", case.name));
                    }
                }
            }
        }
        errors
    }
}

/// Errors of the loss and of the gradient; infinite where a result is NaN.
fn error<T: Score>(case: &Case) -> Result<(f64, f64), LossError> {
    let scores: Vec<T> = case
        .scores
        .iter()
        .map(|&score| T::from_f64(score))
        .collect();
    let mut value = [T::from_f64(f64::NAN)];
    let mut grad = vec![T::from_f64(f64::NAN); scores.len()];
    SmoothTopkSvm::new(case.k, case.tau, case.alpha)?.forward_backward(
        &scores,
        &[case.y],
        &mut value,
        &mut grad,
    )?;
    let distance = |found: T, expected: f64| {
        let distance = (found.into() - expected).abs();
        if distance.is_nan() {
            f64::INFINITY
        } else {
            distance
        }
    };
    let loss = distance(value[0], case.loss) / case.loss.max(1.0);
    let pairs = grad.into_iter().zip(&case.grad);
    let grad = pairs.fold(0.0, |max, (found, &expected)| {
        f64::max(max, distance(found, expected))
    });
    Ok((loss, grad))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn case() -> Case {
        // k = 1, τ = 1, α = 0 and two equal scores: ln 2, with derivatives ∓½.
        Case {
            name: "two".to_owned(),
            k: 1,
            tau: 1.0,
            alpha: 0.0,
            y: 0,
            scores: vec![0.0; 2],
            loss: std::f64::consts::LN_2,
            grad: vec![-0.5, 0.5],
        }
    }

    #[test]
    fn exact_values_are_inside() {
        let errors = Errors::of::<f64>(&[case()], &Bars::F64);
        assert!(errors.outside.is_empty(), "{errors:?}");
    }

    #[test]
    fn a_wrong_loss_a_wrong_derivative_and_a_refused_case_are_outside() {
        let wrong_loss = Case {
            loss: 0.7,
            ..case()
        };
        let wrong_grad = Case {
            grad: vec![-0.5, 0.5 + 1e-6],
            ..case()
        };
        let refused = Case { y: 2, ..case() };
        let errors = Errors::of::<f32>(&[wrong_loss, wrong_grad, refused, case()], &Bars::F32);
        assert_eq!(errors.outside.len(), 3, "{errors:?}");
        assert!((errors.loss - (0.7 - std::f64::consts::LN_2)).abs() < 1e-6);
        assert!((errors.grad - 1e-6).abs() < 1e-8);
        assert_eq!(
            errors.outside[2],
            "two: refused: label 2 of sample 0 is not in 0..2"
        );
    }
}
