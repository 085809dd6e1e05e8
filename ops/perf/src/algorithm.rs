use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;
use topk_ops::{Loss, LossError, SmoothTopkSvm};
use topk_reference::algorithms::{self, Real};

/// The algorithms that are compared.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Algorithm {
    /// [`algorithms::summation`].
    Summation,
    /// [`algorithms::log_summation`].
    LogSummation,
    /// [`algorithms::divide_and_conquer`].
    DivideAndConquer,
    /// [`SmoothTopkSvm`], with which the others are compared.
    Fused,
}

impl Algorithm {
    /// All algorithms.
    pub const ALL: [Self; 4] = [
        Self::Summation,
        Self::LogSummation,
        Self::DivideAndConquer,
        Self::Fused,
    ];

    /// The name on the command line and in files.
    pub fn name(self) -> &'static str {
        match self {
            Self::Summation => "summation",
            Self::LogSummation => "log-summation",
            Self::DivideAndConquer => "divide-and-conquer",
            Self::Fused => "fused",
        }
    }

    /// Computes the loss of every sample and, with `grad`, its derivatives.
    ///
    /// # Errors
    /// If there are too few classes for the algorithm, or a shape, label or score is invalid.
    pub fn compute<T: Real>(
        self,
        svm: &SmoothTopkSvm,
        scores: &[T],
        labels: &[i64],
        values: &mut [T],
        grad: Option<&mut [T]>,
    ) -> Result<(), LossError> {
        match (self, grad) {
            (Self::Summation, grad) => algorithms::summation(svm, scores, labels, values, grad),
            (Self::LogSummation, grad) => {
                algorithms::log_summation(svm, scores, labels, values, grad)
            }
            (Self::DivideAndConquer, grad) => {
                algorithms::divide_and_conquer(svm, scores, labels, values, grad)
            }
            (Self::Fused, None) => svm.forward(scores, labels, values),
            (Self::Fused, Some(grad)) => svm.forward_backward(scores, labels, values, grad),
        }
    }

    /// Time per sample, forward and backward, in seconds, to an order of magnitude.
    pub(crate) fn estimate_seconds(self, classes: usize, k: usize) -> f64 {
        let (n, k) = (classes as f64, k as f64);
        match self {
            Self::Summation | Self::Fused => 1e-8 * n * k,
            Self::LogSummation => 1e-7 * n * k,
            Self::DivideAndConquer => 1e-7 * n * k + 1e-8 * n * k * k,
        }
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A text is not the name of an algorithm.
#[derive(Clone, Copy, Debug, Error, PartialEq)]
#[error("expected summation, log-summation, divide-and-conquer or fused")]
pub struct UnknownAlgorithm;

impl FromStr for Algorithm {
    type Err = UnknownAlgorithm;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|algorithm| algorithm.name() == name)
            .ok_or(UnknownAlgorithm)
    }
}
