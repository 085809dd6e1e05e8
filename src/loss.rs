use serde::Serialize;
use topk_ops::{
    BalancedNoisedTopk, Criterion, CrossEntropy, DifferentiableTopkCrossEntropy, Lml, LossError,
    MaxTopkSvm, Psi5, SmoothTopkSvm, TopkHingeAlpha, TopkHingeBeta, TruncatedTopkEntropy,
};
use topk_ops_tch::TensorLoss;

/// A loss to train with.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum LossName {
    /// Smooth top-k SVM, with --tau and --alpha
    #[value(alias = "smooth-topk-svm")]
    Svm,
    /// Cross-entropy
    #[value(alias = "cross-entropy")]
    Ce,
    /// Hard top-k SVM, with --alpha
    MaxTopkSvm,
    /// Top-k hinge loss α, with --alpha
    TopkHingeAlpha,
    /// Top-k hinge loss β, with --alpha
    TopkHingeBeta,
    /// Truncated top-k entropy
    TruncatedTopkEntropy,
    /// Top-k calibrated hinge ψ₅, with --alpha
    #[value(name = "psi5")]
    Psi5,
    /// Noised balanced top-k, with --alpha, --epsilon and --draws
    BalancedNoisedTopk,
    /// Limited multi-label projection
    Lml,
    /// Differentiable top-k cross-entropy, for top-1 and top-k in equal parts, with --tau
    #[value(name = "differentiable-topk-ce")]
    #[serde(rename = "differentiable-topk-ce")]
    DifferentiableTopkCe,
}

/// The numbers of a loss.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct LossNumbers {
    pub(crate) k: usize,
    pub(crate) tau: f64,
    pub(crate) alpha: f64,
    pub(crate) epsilon: f64,
    pub(crate) draws: usize,
    /// Of what the loss draws.
    pub(crate) seed: u64,
}

/// The loss that a run trains with: the mean over a batch.
pub(crate) type TrainingLoss = Criterion<Box<dyn TensorLoss>>;

impl LossName {
    /// The name on the command line, in files and in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Svm => "svm",
            Self::Ce => "ce",
            Self::MaxTopkSvm => "max-topk-svm",
            Self::TopkHingeAlpha => "topk-hinge-alpha",
            Self::TopkHingeBeta => "topk-hinge-beta",
            Self::TruncatedTopkEntropy => "truncated-topk-entropy",
            Self::Psi5 => "psi5",
            Self::BalancedNoisedTopk => "balanced-noised-topk",
            Self::Lml => "lml",
            Self::DifferentiableTopkCe => "differentiable-topk-ce",
        }
    }

    /// Whether the loss has a temperature.
    pub(crate) fn has_tau(self) -> bool {
        matches!(self, Self::Svm | Self::DifferentiableTopkCe)
    }

    /// Whether the loss has a margin.
    pub(crate) fn has_alpha(self) -> bool {
        match self {
            Self::Svm
            | Self::MaxTopkSvm
            | Self::TopkHingeAlpha
            | Self::TopkHingeBeta
            | Self::Psi5
            | Self::BalancedNoisedTopk => true,
            Self::Ce | Self::TruncatedTopkEntropy | Self::Lml | Self::DifferentiableTopkCe => false,
        }
    }

    /// Whether the loss draws noise.
    pub(crate) fn is_noised(self) -> bool {
        self == Self::BalancedNoisedTopk
    }

    pub(crate) fn criterion(self, numbers: LossNumbers) -> Result<TrainingLoss, LossError> {
        let LossNumbers {
            k,
            tau,
            alpha,
            epsilon,
            draws,
            seed,
        } = numbers;
        Ok(Criterion::new(match self {
            Self::Svm => Box::new(SmoothTopkSvm::new(k, tau, alpha)?),
            Self::Ce => Box::new(CrossEntropy),
            Self::MaxTopkSvm => Box::new(MaxTopkSvm::new(k, alpha)?),
            Self::TopkHingeAlpha => Box::new(TopkHingeAlpha::new(k, alpha)?),
            Self::TopkHingeBeta => Box::new(TopkHingeBeta::new(k, alpha)?),
            Self::TruncatedTopkEntropy => Box::new(TruncatedTopkEntropy::new(k)?),
            Self::Psi5 => Box::new(Psi5::new(k, alpha)?),
            Self::BalancedNoisedTopk => {
                Box::new(BalancedNoisedTopk::new(k, epsilon, draws, alpha, seed)?)
            }
            Self::Lml => Box::new(Lml::new(k)?),
            Self::DifferentiableTopkCe => {
                let mut weights = vec![0.0; k];
                if let Some(first) = weights.first_mut() {
                    *first = 0.5;
                    weights[k - 1] += 0.5;
                }
                Box::new(DifferentiableTopkCrossEntropy::new(weights, tau)?)
            }
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::ValueEnum;

    #[test]
    fn names_are_those_of_the_command_line_and_of_files() {
        for &loss in LossName::value_variants() {
            let value = loss.to_possible_value().unwrap();
            assert_eq!(value.get_name(), loss.name());
            assert_eq!(serde_json::to_value(loss).unwrap(), loss.name());
        }
    }

    #[test]
    fn every_loss_can_be_made_for_every_k() {
        for &loss in LossName::value_variants() {
            for k in [1, 5] {
                let numbers = LossNumbers {
                    k,
                    tau: 1.0,
                    alpha: 1.0,
                    epsilon: 0.2,
                    draws: 10,
                    seed: 0,
                };
                let mut grad = [0.0f32; 7];
                let scores = [0.5, -1.0, 2.0, 0.0, 0.1, 0.2, 0.3];
                let criterion = loss.criterion(numbers).unwrap();
                let mut value = [0.0];
                criterion
                    .forward_backward(&scores, &[1], &mut value, &mut grad)
                    .unwrap();
                assert!(grad[1] < 0.0, "{loss:?} wants the label's score higher");
            }
        }
    }
}
