use std::fmt::{self, Display, Formatter};
use std::str::FromStr;

use thiserror::Error;

/// Name of a loss, as it is written on command lines and in files.
///
/// With the feature `clap` it is a `clap::ValueEnum`.
///
/// ```
/// use topk_ops::LossName;
///
/// let name: LossName = "svm".parse()?;
/// assert_eq!(name, LossName::SmoothTopkSvm);
/// assert_eq!(name.to_string(), "svm");
/// # Ok::<(), topk_ops::UnknownLossName>(())
/// ```
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[cfg_attr(feature = "clap", derive(clap::ValueEnum))]
pub enum LossName {
    /// Smooth top-k SVM (tau, alpha)
    #[cfg_attr(feature = "clap", value(name = "svm", alias = "smooth-topk-svm"))]
    SmoothTopkSvm,
    /// Cross-entropy
    #[cfg_attr(feature = "clap", value(name = "ce", alias = "cross-entropy"))]
    CrossEntropy,
    /// Hard top-k SVM (alpha)
    #[cfg_attr(feature = "clap", value(name = "max-topk-svm"))]
    MaxTopkSvm,
    /// Top-k hinge loss α (alpha)
    #[cfg_attr(feature = "clap", value(name = "topk-hinge-alpha"))]
    TopkHingeAlpha,
    /// Top-k hinge loss β (alpha)
    #[cfg_attr(feature = "clap", value(name = "topk-hinge-beta"))]
    TopkHingeBeta,
    /// Truncated top-k entropy
    #[cfg_attr(feature = "clap", value(name = "truncated-topk-entropy"))]
    TruncatedTopkEntropy,
    /// Top-k calibrated hinge ψ₅ (alpha)
    #[cfg_attr(feature = "clap", value(name = "psi5"))]
    Psi5,
    /// Balanced noised top-k (alpha, epsilon, draws)
    #[cfg_attr(feature = "clap", value(name = "balanced-noised-topk"))]
    BalancedNoisedTopk,
    /// Limited multi-label projection
    #[cfg_attr(feature = "clap", value(name = "lml"))]
    Lml,
    /// Differentiable top-k cross-entropy, for top-1 and top-k in equal parts (tau)
    #[cfg_attr(feature = "clap", value(name = "differentiable-topk-ce"))]
    DifferentiableTopkCrossEntropy,
    /// LapSum's soft top-k selection (tau)
    #[cfg_attr(feature = "clap", value(name = "lapsum"))]
    LapSum,
    /// DFTopK's sigmoids around the k-th highest score (tau)
    #[cfg_attr(feature = "clap", value(name = "dftopk"))]
    DfTopk,
    /// LDR-KL, the smooth multi-class SVM less a constant (tau, alpha)
    #[cfg_attr(feature = "clap", value(name = "ldr-kl"))]
    LdrKl,
    /// Binary cross-entropy of each class
    #[cfg_attr(feature = "clap", value(name = "bce", alias = "binary-cross-entropy"))]
    BinaryCrossEntropy,
}

/// A text is not the name of a loss.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
#[error("unknown loss {name:?}: expected one of {}", LossName::ALL.map(LossName::as_str).join(", "))]
pub struct UnknownLossName {
    /// The text.
    pub name: String,
}

impl LossName {
    /// All losses.
    pub const ALL: [Self; 14] = [
        Self::SmoothTopkSvm,
        Self::CrossEntropy,
        Self::MaxTopkSvm,
        Self::TopkHingeAlpha,
        Self::TopkHingeBeta,
        Self::TruncatedTopkEntropy,
        Self::Psi5,
        Self::BalancedNoisedTopk,
        Self::Lml,
        Self::DifferentiableTopkCrossEntropy,
        Self::LapSum,
        Self::DfTopk,
        Self::LdrKl,
        Self::BinaryCrossEntropy,
    ];

    /// The name on command lines and in files.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::SmoothTopkSvm => "svm",
            Self::CrossEntropy => "ce",
            Self::MaxTopkSvm => "max-topk-svm",
            Self::TopkHingeAlpha => "topk-hinge-alpha",
            Self::TopkHingeBeta => "topk-hinge-beta",
            Self::TruncatedTopkEntropy => "truncated-topk-entropy",
            Self::Psi5 => "psi5",
            Self::BalancedNoisedTopk => "balanced-noised-topk",
            Self::Lml => "lml",
            Self::DifferentiableTopkCrossEntropy => "differentiable-topk-ce",
            Self::LapSum => "lapsum",
            Self::DfTopk => "dftopk",
            Self::LdrKl => "ldr-kl",
            Self::BinaryCrossEntropy => "bce",
        }
    }

    /// Whether the loss has a temperature `tau`.
    pub fn has_tau(self) -> bool {
        match self {
            Self::SmoothTopkSvm
            | Self::DifferentiableTopkCrossEntropy
            | Self::LapSum
            | Self::DfTopk
            | Self::LdrKl => true,
            Self::CrossEntropy
            | Self::MaxTopkSvm
            | Self::TopkHingeAlpha
            | Self::TopkHingeBeta
            | Self::TruncatedTopkEntropy
            | Self::Psi5
            | Self::BalancedNoisedTopk
            | Self::Lml
            | Self::BinaryCrossEntropy => false,
        }
    }

    /// Whether the loss has a margin `alpha`.
    pub fn has_alpha(self) -> bool {
        match self {
            Self::SmoothTopkSvm
            | Self::MaxTopkSvm
            | Self::TopkHingeAlpha
            | Self::TopkHingeBeta
            | Self::Psi5
            | Self::BalancedNoisedTopk
            | Self::LdrKl => true,
            Self::CrossEntropy
            | Self::TruncatedTopkEntropy
            | Self::Lml
            | Self::DifferentiableTopkCrossEntropy
            | Self::LapSum
            | Self::DfTopk
            | Self::BinaryCrossEntropy => false,
        }
    }

    /// Whether the loss depends on k.
    pub fn has_k(self) -> bool {
        !matches!(
            self,
            Self::CrossEntropy | Self::LdrKl | Self::BinaryCrossEntropy
        )
    }
}

impl Display for LossName {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for LossName {
    type Err = UnknownLossName;

    fn from_str(name: &str) -> Result<Self, UnknownLossName> {
        let mut all = Self::ALL.into_iter();
        all.find(|loss| loss.as_str() == name)
            .ok_or_else(|| UnknownLossName {
                name: name.to_owned(),
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_parse_to_their_losses() {
        for loss in LossName::ALL {
            assert_eq!(loss.as_str().parse(), Ok(loss));
        }
        assert_eq!(
            "hinge".parse::<LossName>().unwrap_err().to_string(),
            "unknown loss \"hinge\": expected one of svm, ce, max-topk-svm, topk-hinge-alpha, \
             topk-hinge-beta, truncated-topk-entropy, psi5, balanced-noised-topk, lml, \
             differentiable-topk-ce, lapsum, dftopk, ldr-kl, bce"
        );
    }

    #[cfg(feature = "clap")]
    #[test]
    fn command_lines_use_the_same_names() {
        use clap::ValueEnum;

        assert_eq!(LossName::value_variants(), LossName::ALL);
        for loss in LossName::ALL {
            let value = loss.to_possible_value().unwrap();
            assert_eq!(value.get_name(), loss.as_str());
        }
    }
}
