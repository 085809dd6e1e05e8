//! The largest drop of accuracy that a comparison allows.

use std::fmt;

use serde::Serialize;
use thiserror::Error;

use crate::compare::Comparison;

/// A drop cannot be checked.
#[derive(Debug, Eq, Error, PartialEq)]
#[non_exhaustive]
pub enum GateError {
    /// They were evaluated on different images.
    #[error(
        "{0} images count for only one of the models, so that a drop of accuracy cannot be checked: evaluate the same \
         images with both, and finish partial results with --resume"
    )]
    Images(usize),
    /// The accuracy is not among those that are compared.
    #[error("the first results have no k above 1: evaluate with --topk, e.g. --topk 5")]
    NoTopk,
}

/// A limit for the drop of an accuracy.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Gate {
    /// The k.
    pub k: usize,
    /// Accuracy of the first, 0 to 1.
    pub before: f64,
    /// Accuracy of the second.
    pub after: f64,
    /// The drop from the first to the second in percentage points; negative if the second is better.
    pub drop: f64,
    /// The largest allowed drop in percentage points.
    pub allowed: f64,
    /// Whether the drop is at most this large.
    pub passed: bool,
}

impl fmt::Display for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (k, allowed) = (self.k, self.allowed);
        let [before, after] = [self.before, self.after].map(|accuracy| 100.0 * accuracy);
        if self.drop > 0.0 {
            write!(f, "top-{k} accuracy drops by {:.2} points", self.drop)?;
        } else {
            write!(f, "top-{k} accuracy does not drop")?;
        }
        let compared = if self.passed { "at most" } else { "more than" };
        write!(
            f,
            " ({before:.2} % to {after:.2} %), {compared} the allowed {allowed}"
        )
    }
}

impl Comparison {
    /// Checks that an accuracy drops by at most `allowed` percentage points from the first model to the second, and adds
    /// the check to [`gates`](Self::gates). It is the accuracies themselves that count, not the bounds of an interval.
    /// A drop of exactly this size passes.
    ///
    /// # Errors
    /// If the models were not evaluated on the same images.
    ///
    /// # Panics
    /// If k is not among those of [`topk`](Self::topk).
    pub fn check_drop(&mut self, k: usize, allowed: f64) -> Result<Gate, GateError> {
        let alone = self.only_in_before + self.only_in_after;
        if alone > 0 {
            return Err(GateError::Images(alone));
        }
        let paired = self.topk.iter().find(|paired| paired.k == k);
        let paired = paired.expect("k is among those that are compared");
        let images = self.images as f64;
        let lost = paired.only_before as f64 - paired.only_after as f64;
        let gate = Gate {
            k,
            before: paired.before,
            after: paired.after,
            drop: 100.0 * lost / images,
            allowed,
            // Products of numbers of images, because quotients round. What remains is the rounding of `allowed`.
            passed: 100.0 * lost <= allowed * images * (1.0 + 1e-12),
        };
        self.gates.push(gate);
        Ok(gate)
    }

    /// The same for the largest k that is compared.
    ///
    /// # Errors
    /// If it is 1, or the models were not evaluated on the same images.
    pub fn check_largest_k(&mut self, allowed: f64) -> Result<Gate, GateError> {
        match self.topk.last() {
            Some(paired) if paired.k > 1 => self.check_drop(paired.k, allowed),
            _ => Err(GateError::NoTopk),
        }
    }
}
