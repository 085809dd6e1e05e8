use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;
use topk_ops::{Loss, LossError, SmoothTopkSvm};

use crate::reference::{self, Real};

/// The algorithms that are compared.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Algorithm {
    /// [`reference::summation`].
    Summation,
    /// [`reference::log_summation`].
    LogSummation,
    /// [`reference::divide_and_conquer`].
    DivideAndConquer,
    /// [`SmoothTopkSvm`], what all others are compared with.
    Fused,
}

impl Algorithm {
    /// All of them.
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

    /// Loss of every sample and, with `grad`, its derivatives.
    ///
    /// # Errors
    /// If the algorithm cannot compute this loss for so few classes, or a shape, label or score is
    /// not usable.
    pub fn compute<T: Real>(
        self,
        svm: &SmoothTopkSvm,
        scores: &[T],
        labels: &[i64],
        values: &mut [T],
        grad: Option<&mut [T]>,
    ) -> Result<(), LossError> {
        match (self, grad) {
            (Self::Summation, grad) => reference::summation(svm, scores, labels, values, grad),
            (Self::LogSummation, grad) => {
                reference::log_summation(svm, scores, labels, values, grad)
            }
            (Self::DivideAndConquer, grad) => {
                reference::divide_and_conquer(svm, scores, labels, values, grad)
            }
            (Self::Fused, None) => svm.forward(scores, labels, values),
            (Self::Fused, Some(grad)) => svm.forward_backward(scores, labels, values, grad),
        }
    }

    /// How many seconds a sample takes, forward and backward, to an order of magnitude.
    pub(crate) fn guess_seconds(self, classes: usize, k: usize) -> f64 {
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

/// There is no such algorithm.
#[derive(Clone, Copy, Debug, Error, PartialEq)]
#[error("not one of summation, log-summation, divide-and-conquer, fused")]
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
