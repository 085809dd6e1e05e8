use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};
use topk_ops::{
    BalancedNoisedTopk, Criterion, CrossEntropy, DifferentiableTopkCrossEntropy, Lml, LossError,
    LossName, MaxTopkSvm, Psi5, SmoothTopkSvm, TopkHingeAlpha, TopkHingeBeta, TruncatedTopkEntropy,
};
use topk_ops_tch::TensorLoss;

use crate::annealed::Annealed;

/// The loss and the settings of losses. Only the settings that the loss has are serialised.
#[derive(Clone, Debug, PartialEq, clap::Args)]
pub(crate) struct LossSettings {
    /// Loss to minimise
    #[arg(
        id = "loss",
        long,
        value_name = "LOSS",
        value_enum,
        default_value = "svm",
        help_heading = "Loss"
    )]
    pub(crate) name: LossName,

    /// Temperature of the loss, in units of the scores; 10..0.1 anneals it from 10 in the first epoch to 0.1
    /// in the last
    #[arg(long, default_value_t = Annealed::constant(1.0), help_heading = "Loss")]
    pub(crate) tau: Annealed,

    /// Margin of the loss, in units of the scores; 0..1 increases it from 0 to 1
    #[arg(long, default_value_t = Annealed::constant(1.0), help_heading = "Loss")]
    pub(crate) alpha: Annealed,

    /// Standard deviation of the noise in balanced-noised-topk, in units of the scores
    #[arg(long, default_value_t = 0.2, help_heading = "Loss")]
    pub(crate) epsilon: f64,

    /// Number of noise samples per image in balanced-noised-topk
    #[arg(long, value_name = "N", default_value_t = 10, help_heading = "Loss")]
    pub(crate) draws: usize,

    /// Label smoothing with --loss ce: probability mass spread evenly over all classes
    #[arg(long, value_name = "P", default_value_t = 0.0, help_heading = "Loss")]
    pub(crate) label_smoothing: f64,
}

impl Serialize for LossSettings {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("loss", self.name.as_str())?;
        if let Some(tau) = self.used_tau() {
            map.serialize_entry("tau", &tau)?;
        }
        if let Some(alpha) = self.used_alpha() {
            map.serialize_entry("alpha", &alpha)?;
        }
        if self.name == LossName::BalancedNoisedTopk {
            map.serialize_entry("epsilon", &self.epsilon)?;
            map.serialize_entry("draws", &self.draws)?;
        }
        if self.name == LossName::CrossEntropy {
            map.serialize_entry("label-smoothing", &self.label_smoothing)?;
        }
        map.end()
    }
}

/// Whether a loss uses a setting; true for settings that are not of a loss.
pub(crate) fn uses(loss: LossName, key: &str) -> bool {
    match key {
        "tau" => loss.has_tau(),
        "alpha" => loss.has_alpha(),
        "epsilon" | "draws" => loss == LossName::BalancedNoisedTopk,
        "label-smoothing" => loss == LossName::CrossEntropy,
        _ => true,
    }
}

/// The loss of a run, averaged over a batch.
pub(crate) type TrainingLoss = Criterion<Box<dyn TensorLoss>>;

impl LossSettings {
    /// The temperature, if the loss has one.
    pub(crate) fn used_tau(&self) -> Option<Annealed> {
        self.name.has_tau().then_some(self.tau)
    }

    /// The margin, if the loss has one.
    pub(crate) fn used_alpha(&self) -> Option<Annealed> {
        self.name.has_alpha().then_some(self.alpha)
    }

    /// The loss in one of `epochs` epochs; `seed` is for losses that draw random numbers.
    pub(crate) fn criterion(
        &self,
        k: usize,
        epoch: usize,
        epochs: usize,
        seed: u64,
    ) -> Result<TrainingLoss, LossError> {
        let (tau, alpha) = (self.tau.at(epoch, epochs), self.alpha.at(epoch, epochs));
        Ok(Criterion::new(match self.name {
            LossName::SmoothTopkSvm => Box::new(SmoothTopkSvm::new(k, tau, alpha)?),
            LossName::CrossEntropy => Box::new(CrossEntropy),
            LossName::MaxTopkSvm => Box::new(MaxTopkSvm::new(k, alpha)?),
            LossName::TopkHingeAlpha => Box::new(TopkHingeAlpha::new(k, alpha)?),
            LossName::TopkHingeBeta => Box::new(TopkHingeBeta::new(k, alpha)?),
            LossName::TruncatedTopkEntropy => Box::new(TruncatedTopkEntropy::new(k)?),
            LossName::Psi5 => Box::new(Psi5::new(k, alpha)?),
            LossName::BalancedNoisedTopk => Box::new(BalancedNoisedTopk::new(
                k,
                self.epsilon,
                self.draws,
                alpha,
                seed,
            )?),
            LossName::Lml => Box::new(Lml::new(k)?),
            LossName::DifferentiableTopkCrossEntropy => {
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

    fn settings(name: LossName) -> LossSettings {
        LossSettings {
            name,
            tau: Annealed::constant(1.0),
            alpha: Annealed::constant(1.0),
            epsilon: 0.2,
            draws: 10,
            label_smoothing: 0.0,
        }
    }

    #[test]
    fn only_settings_of_the_loss_are_serialised() {
        for (name, written) in [
            (
                LossName::CrossEntropy,
                "loss = \"ce\"\nlabel-smoothing = 0.0\n",
            ),
            (LossName::Lml, "loss = \"lml\"\n"),
            (
                LossName::SmoothTopkSvm,
                "loss = \"svm\"\ntau = 1.0\nalpha = 1.0\n",
            ),
            (
                LossName::BalancedNoisedTopk,
                "loss = \"balanced-noised-topk\"\nalpha = 1.0\nepsilon = 0.2\ndraws = 10\n",
            ),
        ] {
            assert_eq!(toml::to_string(&settings(name)).unwrap(), written);
        }
    }

    #[test]
    fn every_loss_has_a_negative_gradient_at_the_label() {
        for name in LossName::ALL {
            for k in [1, 5] {
                let mut grad = [0.0f32; 7];
                let scores = [0.5, -1.0, 2.0, 0.0, 0.1, 0.2, 0.3];
                let criterion = settings(name).criterion(k, 1, 1, 0).unwrap();
                let mut value = [0.0];
                criterion
                    .forward_backward(&scores, &[1], &mut value, &mut grad)
                    .unwrap();
                assert!(grad[1] < 0.0, "{name:?} wants the label's score higher");
            }
        }
    }
}
