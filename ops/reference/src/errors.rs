use std::fmt;

use topk_ops::{Loss, LossError, Score, SmoothTopkSvm};

use crate::Case;

/// The largest errors that are allowed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tolerance {
    /// Of the loss, relative to max(1, loss).
    pub loss: f64,
    /// Of a gradient entry, absolute.
    pub grad: f64,
}

impl Tolerance {
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

impl fmt::Display for Tolerance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:e} and {:e}", self.loss, self.grad)
    }
}

/// The result of a comparison with exact values.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Errors {
    /// Largest error of a loss, relative to max(1, loss).
    pub loss: f64,
    /// Largest error of a gradient entry, absolute.
    pub grad: f64,
    /// One entry per case that is rejected or out of tolerance: its name, and its errors or the reason.
    pub failures: Vec<String>,
}

impl Errors {
    /// Computes all cases with scores of type `T`.
    pub fn of<T: Score>(cases: &[Case], tolerance: &Tolerance) -> Self {
        let mut errors = Self::default();
        for case in cases {
            match error::<T>(case) {
                Err(error) => errors
                    .failures
                    .push(format!("{}: rejected: {error}", case.name)),
                Ok((loss, grad)) => {
                    errors.loss = errors.loss.max(loss);
                    errors.grad = errors.grad.max(grad);
                    if loss > tolerance.loss || grad > tolerance.grad {
                        errors
                            .failures
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
    fn exact_values_are_within_tolerance() {
        let errors = Errors::of::<f64>(&[case()], &Tolerance::F64);
        assert!(errors.failures.is_empty(), "{errors:?}");
    }

    #[test]
    fn a_wrong_loss_a_wrong_derivative_and_a_rejected_case_are_failures() {
        let wrong_loss = Case {
            loss: 0.7,
            ..case()
        };
        let wrong_grad = Case {
            grad: vec![-0.5, 0.5 + 1e-6],
            ..case()
        };
        let rejected = Case { y: 2, ..case() };
        let errors =
            Errors::of::<f32>(&[wrong_loss, wrong_grad, rejected, case()], &Tolerance::F32);
        assert_eq!(errors.failures.len(), 3, "{errors:?}");
        assert!((errors.loss - (0.7 - std::f64::consts::LN_2)).abs() < 1e-6);
        assert!((errors.grad - 1e-6).abs() < 1e-8);
        assert_eq!(
            errors.failures[2],
            "two: rejected: label 2 of sample 0 is not in 0..2"
        );
    }
}
