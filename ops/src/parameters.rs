//! Checks of the parameters of losses.

use crate::LossError;

pub(crate) fn check_k(k: usize) -> Result<usize, LossError> {
    if k == 0 { Err(LossError::ZeroK) } else { Ok(k) }
}

pub(crate) fn check_alpha(alpha: f64) -> Result<f64, LossError> {
    if is_finite_nonnegative(alpha) {
        Ok(alpha)
    } else {
        Err(LossError::Alpha(alpha))
    }
}

pub(crate) fn check_tau(tau: f64) -> Result<f64, LossError> {
    if tau > 0.0 && tau.is_finite() {
        Ok(tau)
    } else {
        Err(LossError::Tau(tau))
    }
}

/// k + 1, the least number of classes of most losses. For the largest `usize` this is itself, which no batch has
/// either.
pub(crate) fn more_than(k: usize) -> usize {
    k.saturating_add(1)
}

pub(crate) fn check_min_classes(needed: usize, classes: usize) -> Result<(), LossError> {
    if classes < needed {
        Err(LossError::TooFewClasses { needed, classes })
    } else {
        Ok(())
    }
}

pub(crate) fn is_finite_nonnegative(number: f64) -> bool {
    number >= 0.0 && number.is_finite()
}

/// The first number that is negative or not finite, with its index.
pub(crate) fn first_negative_or_not_finite(numbers: &[f64]) -> Option<(usize, f64)> {
    let mut numbers = numbers.iter().copied().enumerate();
    numbers.find(|&(_, number)| !is_finite_nonnegative(number))
}
