//! The losses as ONNX operators: names, attributes and outputs.

use crate::{
    DfTopk, LdrKl, Loss, LossError, LossName, MaxTopkSvm, Psi5, SmoothTopkSvm, TopkHingeAlpha,
    TopkHingeBeta, TruncatedTopkEntropy,
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
/// | `k` (where [`has_k`](Self::has_k)) | int | none: required |
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
    /// [`crate::LdrKl`].
    LdrKl,
    /// [`crate::DfTopk`].
    DfTopk,
}

impl LossOperator {
    /// All operators.
    pub const ALL: [Self; 8] = [
        Self::SmoothTopkSvm,
        Self::MaxTopkSvm,
        Self::TopkHingeAlpha,
        Self::TopkHingeBeta,
        Self::TruncatedTopkEntropy,
        Self::Psi5,
        Self::LdrKl,
        Self::DfTopk,
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
            Self::LdrKl => "LDRKLLoss",
            Self::DfTopk => "DFTopkLoss",
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
            Self::LdrKl => LossName::LdrKl,
            Self::DfTopk => LossName::DfTopk,
        }
    }

    /// Whether the operator has the attribute `k`.
    pub fn has_k(self) -> bool {
        self.loss_name().has_k()
    }

    /// Whether the operator has the attribute `tau`.
    pub fn has_tau(self) -> bool {
        self.loss_name().has_tau()
    }

    /// Whether the operator has the attribute `alpha`.
    pub fn has_alpha(self) -> bool {
        self.loss_name().has_alpha()
    }

    /// Whether the operator has the output `prob`.
    pub fn has_prob(self) -> bool {
        self == Self::SmoothTopkSvm
    }

    /// The operator's loss with these parameters; those that the loss does not have are ignored.
    ///
    /// # Errors
    /// If a parameter of the loss is out of range.
    pub fn loss(self, k: usize, tau: f64, alpha: f64) -> Result<OperatorLoss, LossError> {
        Ok(match self {
            Self::SmoothTopkSvm => SmoothTopkSvm::new(k, tau, alpha)?.into(),
            Self::MaxTopkSvm => MaxTopkSvm::new(k, alpha)?.into(),
            Self::TopkHingeAlpha => TopkHingeAlpha::new(k, alpha)?.into(),
            Self::TopkHingeBeta => TopkHingeBeta::new(k, alpha)?.into(),
            Self::TruncatedTopkEntropy => TruncatedTopkEntropy::new(k)?.into(),
            Self::Psi5 => Psi5::new(k, alpha)?.into(),
            Self::LdrKl => LdrKl::new(tau, alpha)?.into(),
            Self::DfTopk => DfTopk::new(k, tau)?.into(),
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
            Self::LdrKl => "The LDR-KL loss of Zhu, Ying and Yang (ICML 2023)",
            Self::DfTopk => "The log-likelihood under the top-k operator DFTopK (arXiv 2510.11472)",
        }
    }

    /// Names of the outputs.
    pub fn output_names(self) -> &'static [&'static str] {
        match self.has_prob() {
            true => &["loss", "grad", "prob"],
            false => &["loss", "grad"],
        }
    }
}

/// The loss of a [`LossOperator`], with its parameters.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum OperatorLoss {
    /// The smooth top-k SVM.
    SmoothTopkSvm(SmoothTopkSvm),
    /// The hard top-k SVM.
    MaxTopkSvm(MaxTopkSvm),
    /// The top-k hinge loss α.
    TopkHingeAlpha(TopkHingeAlpha),
    /// The top-k hinge loss β.
    TopkHingeBeta(TopkHingeBeta),
    /// The truncated top-k entropy.
    TruncatedTopkEntropy(TruncatedTopkEntropy),
    /// The hinge loss ψ₅.
    Psi5(Psi5),
    /// The LDR-KL loss.
    LdrKl(LdrKl),
    /// The log-likelihood under DFTopK.
    DfTopk(DfTopk),
}

impl OperatorLoss {
    /// The operator that computes the loss.
    pub fn operator(&self) -> LossOperator {
        match self {
            Self::SmoothTopkSvm(_) => LossOperator::SmoothTopkSvm,
            Self::MaxTopkSvm(_) => LossOperator::MaxTopkSvm,
            Self::TopkHingeAlpha(_) => LossOperator::TopkHingeAlpha,
            Self::TopkHingeBeta(_) => LossOperator::TopkHingeBeta,
            Self::TruncatedTopkEntropy(_) => LossOperator::TruncatedTopkEntropy,
            Self::Psi5(_) => LossOperator::Psi5,
            Self::LdrKl(_) => LossOperator::LdrKl,
            Self::DfTopk(_) => LossOperator::DfTopk,
        }
    }

    /// Number of highest scores among which the label should be, if the loss has one.
    pub fn k(&self) -> Option<usize> {
        match self {
            Self::SmoothTopkSvm(loss) => Some(loss.k()),
            Self::MaxTopkSvm(loss) => Some(loss.k()),
            Self::TopkHingeAlpha(loss) => Some(loss.k()),
            Self::TopkHingeBeta(loss) => Some(loss.k()),
            Self::TruncatedTopkEntropy(loss) => Some(loss.k()),
            Self::Psi5(loss) => Some(loss.k()),
            Self::LdrKl(_) => None,
            Self::DfTopk(loss) => Some(loss.k()),
        }
    }

    /// Temperature, if the loss has one.
    pub fn tau(&self) -> Option<f64> {
        match self {
            Self::SmoothTopkSvm(loss) => Some(loss.tau()),
            Self::LdrKl(loss) => Some(loss.tau()),
            Self::DfTopk(loss) => Some(loss.tau()),
            Self::MaxTopkSvm(_)
            | Self::TopkHingeAlpha(_)
            | Self::TopkHingeBeta(_)
            | Self::TruncatedTopkEntropy(_)
            | Self::Psi5(_) => None,
        }
    }

    /// Margin, if the loss has one.
    pub fn alpha(&self) -> Option<f64> {
        match self {
            Self::SmoothTopkSvm(loss) => Some(loss.alpha()),
            Self::MaxTopkSvm(loss) => Some(loss.alpha()),
            Self::TopkHingeAlpha(loss) => Some(loss.alpha()),
            Self::TopkHingeBeta(loss) => Some(loss.alpha()),
            Self::TruncatedTopkEntropy(_) | Self::DfTopk(_) => None,
            Self::Psi5(loss) => Some(loss.alpha()),
            Self::LdrKl(loss) => Some(loss.alpha()),
        }
    }

    /// The loss, to compute it.
    pub fn as_loss(&self) -> &dyn Loss {
        match self {
            Self::SmoothTopkSvm(loss) => loss,
            Self::MaxTopkSvm(loss) => loss,
            Self::TopkHingeAlpha(loss) => loss,
            Self::TopkHingeBeta(loss) => loss,
            Self::TruncatedTopkEntropy(loss) => loss,
            Self::Psi5(loss) => loss,
            Self::LdrKl(loss) => loss,
            Self::DfTopk(loss) => loss,
        }
    }
}

macro_rules! from_loss {
    ($($loss:ident),*) => {
        $(
            impl From<$loss> for OperatorLoss {
                fn from(loss: $loss) -> Self {
                    Self::$loss(loss)
                }
            }
        )*
    };
}

from_loss!(
    SmoothTopkSvm,
    MaxTopkSvm,
    TopkHingeAlpha,
    TopkHingeBeta,
    TruncatedTopkEntropy,
    Psi5,
    LdrKl,
    DfTopk
);

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

    #[test]
    fn losses_have_the_parameters_of_their_operators() {
        for operator in LossOperator::ALL {
            let loss = operator.loss(3, 0.5, 2.0).unwrap();
            assert_eq!(loss.operator(), operator);
            assert_eq!(loss.k(), operator.has_k().then_some(3));
            assert_eq!(loss.tau(), operator.has_tau().then_some(0.5));
            assert_eq!(loss.alpha(), operator.has_alpha().then_some(2.0));
        }
    }
}
