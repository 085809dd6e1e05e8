//! The losses as ONNX operators: names, attributes and outputs.

use crate::{
    Loss, LossError, LossName, MaxTopkSvm, Psi5, SmoothTopkSvm, TopkHingeAlpha, TopkHingeBeta,
    TruncatedTopkEntropy,
};

/// Domain of the operators.
pub const DOMAIN: &str = "topk";

/// Version of the operators in that domain.
pub const DOMAIN_VERSION: i64 = 1;

/// A loss as an ONNX operator of the domain [`DOMAIN`], in the style of ONNX's own
/// `SoftmaxCrossEntropyLoss`.
///
/// | input | type | shape |
/// | --- | --- | --- |
/// | `scores` | `T`: float, double, float16 or bfloat16 | `[N, C]` |
/// | `labels` | int64 or int32 | `[N]` |
/// | `weights` (optional) | `T` | `[C]` |
///
/// | output | type | shape |
/// | --- | --- | --- |
/// | `loss` | `T` | `[N]` with reduction `none`, otherwise `[1]` |
/// | `grad` (optional) | `T` | `[N, C]` |
/// | `prob` (optional, [`SmoothTopkSvm`](Self::SmoothTopkSvm) only) | `T` | `[N]` |
///
/// | attribute | type | default |
/// | --- | --- | --- |
/// | `k` | int | none: required |
/// | `tau` (where [`has_tau`](Self::has_tau)) | float | 1 |
/// | `alpha` (where [`has_alpha`](Self::has_alpha)) | float | 1 |
/// | `reduction` | string: `none`, `sum` or `mean` | `mean` |
/// | `ignore_index` | int | none: no label is ignored |
///
/// `grad` is the derivative of the sum of all entries of `loss` with respect to `scores`; `prob` is p of
/// the loss's definition for each sample, unweighted, and 0 where the label is ignored. Reduction,
/// weights and the ignored label work as in [`Criterion`](crate::Criterion).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum LossOperator {
    /// [`crate::SmoothTopkSvm`].
    SmoothTopkSvm,
    /// [`crate::MaxTopkSvm`].
    MaxTopkSvm,
    /// [`crate::TopkHingeAlpha`].
    TopkHingeAlpha,
    /// [`crate::TopkHingeBeta`].
    TopkHingeBeta,
    /// [`crate::TruncatedTopkEntropy`].
    TruncatedTopkEntropy,
    /// [`crate::Psi5`].
    Psi5,
}

impl LossOperator {
    /// All operators.
    pub const ALL: [Self; 6] = [
        Self::SmoothTopkSvm,
        Self::MaxTopkSvm,
        Self::TopkHingeAlpha,
        Self::TopkHingeBeta,
        Self::TruncatedTopkEntropy,
        Self::Psi5,
    ];

    /// The operator's name in ONNX files.
    pub fn name(self) -> &'static str {
        match self {
            Self::SmoothTopkSvm => "SmoothTopkSVMLoss",
            Self::MaxTopkSvm => "MaxTopkSVMLoss",
            Self::TopkHingeAlpha => "TopkHingeAlphaLoss",
            Self::TopkHingeBeta => "TopkHingeBetaLoss",
            Self::TruncatedTopkEntropy => "TruncatedTopkEntropyLoss",
            Self::Psi5 => "Psi5Loss",
        }
    }

    /// The loss that the operator computes.
    pub fn loss_name(self) -> LossName {
        match self {
            Self::SmoothTopkSvm => LossName::SmoothTopkSvm,
            Self::MaxTopkSvm => LossName::MaxTopkSvm,
            Self::TopkHingeAlpha => LossName::TopkHingeAlpha,
            Self::TopkHingeBeta => LossName::TopkHingeBeta,
            Self::TruncatedTopkEntropy => LossName::TruncatedTopkEntropy,
            Self::Psi5 => LossName::Psi5,
        }
    }

    /// Whether the operator has the attribute `tau`.
    pub fn has_tau(self) -> bool {
        self.loss_name().has_tau()
    }

    /// Whether the operator has the attribute `alpha`.
    pub fn has_alpha(self) -> bool {
        self.loss_name().has_alpha()
    }

    /// Makes the loss with these parameters; `tau` and `alpha` are ignored if the loss does not have them.
    ///
    /// # Errors
    /// If a parameter of the loss is out of range.
    pub fn loss(self, k: usize, tau: f64, alpha: f64) -> Result<Box<dyn Loss>, LossError> {
        Ok(match self {
            Self::SmoothTopkSvm => Box::new(SmoothTopkSvm::new(k, tau, alpha)?),
            Self::MaxTopkSvm => Box::new(MaxTopkSvm::new(k, alpha)?),
            Self::TopkHingeAlpha => Box::new(TopkHingeAlpha::new(k, alpha)?),
            Self::TopkHingeBeta => Box::new(TopkHingeBeta::new(k, alpha)?),
            Self::TruncatedTopkEntropy => Box::new(TruncatedTopkEntropy::new(k)?),
            Self::Psi5 => Box::new(Psi5::new(k, alpha)?),
        })
    }

    /// A short description of the loss and its source.
    pub fn description(self) -> &'static str {
        match self {
            Self::SmoothTopkSvm => {
                "The smooth top-k SVM of Berrada, Zisserman and Kumar (ICLR 2018)"
            }
            Self::MaxTopkSvm => "The hard top-k SVM, max(0, alpha + (t - s_y)/k)",
            Self::TopkHingeAlpha => {
                "The top-k hinge loss alpha of Lapin, Hein and Schiele (NIPS 2015)"
            }
            Self::TopkHingeBeta => {
                "The top-k hinge loss beta of Lapin, Hein and Schiele (NIPS 2015)"
            }
            Self::TruncatedTopkEntropy => {
                "The truncated top-k entropy of Lapin, Hein and Schiele (CVPR 2016)"
            }
            Self::Psi5 => "The top-k calibrated hinge psi_5 of Yang and Koyejo (ICML 2020)",
        }
    }

    /// Names of the outputs.
    pub fn output_names(self) -> &'static [&'static str] {
        match self {
            Self::SmoothTopkSvm => &["loss", "grad", "prob"],
            _ => &["loss", "grad"],
        }
    }
}

impl LossName {
    /// The ONNX operator that computes the loss, if there is one.
    pub fn operator(self) -> Option<LossOperator> {
        let mut operators = LossOperator::ALL.into_iter();
        operators.find(|operator| operator.loss_name() == self)
    }
}

/// On command lines an operator has the name of its loss.
#[cfg(feature = "clap")]
impl clap::ValueEnum for LossOperator {
    fn value_variants<'a>() -> &'a [Self] {
        &Self::ALL
    }

    fn to_possible_value(&self) -> Option<clap::builder::PossibleValue> {
        self.loss_name().to_possible_value()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_operators_correspond() {
        for operator in LossOperator::ALL {
            assert_eq!(operator.loss_name().operator(), Some(operator));
        }
        assert_eq!(LossName::CrossEntropy.operator(), None);
    }
}
