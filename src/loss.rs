use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::Parser;
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};
use serde_json::{Map, Value};
use topk_ops::{
    BalancedNoisedTopk, BinaryCrossEntropy, Criterion, CrossEntropy, DfTopk,
    DifferentiableTopkCrossEntropy, LapSum, LdrKl, Lml, LossError, LossName, MaxTopkSvm, Psi5,
    SmoothTopkSvm, TopkHingeAlpha, TopkHingeBeta, TruncatedTopkEntropy,
};
use topk_ops_tch::TensorLoss;

use crate::annealed::Annealed;
use crate::class_weights::ClassWeights;
use crate::config::ConfigError;
use crate::teacher::Distillation;

/// The loss and the settings of losses. Only the settings that the loss has are serialised.
#[derive(Clone, Debug, PartialEq, clap::Args)]
pub struct LossSettings {
    /// Loss to minimise
    #[arg(
        id = "loss",
        long,
        value_name = "LOSS",
        value_enum,
        default_value = "svm",
        help_heading = "Loss"
    )]
    pub name: LossName,

    /// Temperature of the loss, in units of the scores; 10..0.1 anneals it from 10 in the first epoch to 0.1
    /// in the last
    #[arg(long, default_value_t = Annealed::constant(1.0), help_heading = "Loss")]
    pub tau: Annealed,

    /// Margin of the loss, in units of the scores; 0..1 increases it from 0 to 1
    #[arg(long, default_value_t = Annealed::constant(1.0), help_heading = "Loss")]
    pub alpha: Annealed,

    /// Standard deviation of the noise in balanced-noised-topk, in units of the scores
    #[arg(long, default_value_t = 0.2, help_heading = "Loss")]
    pub epsilon: f64,

    /// Number of noise samples per image in balanced-noised-topk
    #[arg(long, value_name = "N", default_value_t = 10, help_heading = "Loss")]
    pub draws: usize,

    /// Largest margin in balanced-noised-topk, that of the rarest class: makes the margins proportional to the number
    /// of training images of a class to the power of -1/4, in place of --alpha
    #[arg(long, value_name = "MARGIN", help_heading = "Loss")]
    pub max_margin: Option<f64>,

    /// Label smoothing: probability with which a label is replaced by a random class, over which the loss is averaged
    #[arg(
        long,
        visible_alias = "smoothing",
        value_name = "P",
        default_value_t = 0.0,
        help_heading = "Loss"
    )]
    pub label_smoothing: f64,

    /// Weights of the classes in the loss: balanced (in inverse proportion to their training images), or a file with
    /// one weight per line in the order of the classes, or a class and its weight
    #[arg(long, value_name = "balanced|FILE", help_heading = "Loss")]
    pub class_weights: Option<ClassWeights>,

    /// Sum the classes' losses in bce, in place of their mean
    #[arg(long, num_args = 0..=1, default_value_t = false, default_missing_value = "true", action = clap::ArgAction::Set, help_heading = "Loss")]
    pub bce_sum: bool,

    /// In bce, make targets (smoothed or mixed) above this 1 and all others 0
    #[arg(long, value_name = "P", help_heading = "Loss")]
    pub bce_target_thresh: Option<f64>,

    /// Distillation: an ONNX model of the same classes, written by topk-export or a run, whose scores the network imitates
    #[arg(long, value_name = "FILE", help_heading = "Loss")]
    pub teacher: Option<PathBuf>,

    /// Weight of the divergence from the scores of --teacher in the loss, from 0 to 1; the labels have the rest
    #[arg(
        long,
        value_name = "WEIGHT",
        default_value_t = 0.5,
        help_heading = "Loss"
    )]
    pub distillation_alpha: f64,

    /// Temperature by which the scores of both are divided for that divergence, which is multiplied by its square
    #[arg(long, value_name = "TAU", default_value_t = 1.0, help_heading = "Loss")]
    pub distillation_tau: f64,

    /// What follows from --class-weights and --max-margin for the training images.
    #[arg(skip)]
    pub(crate) of_classes: OfClasses,
}

#[derive(clap::Parser)]
#[command(no_binary_name = true)]
struct Settings {
    #[command(flatten)]
    loss: LossSettings,
}

/// What a loss needs to know of each class.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct OfClasses {
    /// The weight of each class.
    pub(crate) weights: Option<Vec<f64>>,
    /// The number of training images of each class.
    pub(crate) counts: Option<Vec<u64>>,
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
            if let Some(margin) = self.max_margin {
                map.serialize_entry("max-margin", &margin)?;
            }
        }
        // The logs of other losses without it are those of earlier versions.
        if self.name == LossName::CrossEntropy || self.label_smoothing > 0.0 {
            map.serialize_entry("label-smoothing", &self.label_smoothing)?;
        }
        if let Some(weights) = &self.class_weights {
            map.serialize_entry("class-weights", weights)?;
        }
        if self.name == LossName::BinaryCrossEntropy {
            map.serialize_entry("bce-sum", &self.bce_sum)?;
            if let Some(threshold) = self.bce_target_thresh {
                map.serialize_entry("bce-target-thresh", &threshold)?;
            }
        }
        if let Some(teacher) = &self.teacher {
            map.serialize_entry("teacher", teacher)?;
            map.serialize_entry("distillation-alpha", &self.distillation_alpha)?;
            map.serialize_entry("distillation-tau", &self.distillation_tau)?;
        }
        map.end()
    }
}

/// Whether a loss uses a setting; true for settings that are not of a loss.
pub(crate) fn uses(loss: LossName, key: &str) -> bool {
    match key {
        "tau" => loss.has_tau(),
        "alpha" => loss.has_alpha(),
        "epsilon" | "draws" | "max-margin" => loss == LossName::BalancedNoisedTopk,
        "bce-sum" | "bce-target-thresh" => loss == LossName::BinaryCrossEntropy,
        _ => true,
    }
}

/// Whether label smoothing computes the loss of each class as label on its own; see
/// [`Criterion::with_label_smoothing`].
fn is_slow(loss: LossName) -> bool {
    match loss {
        LossName::SmoothTopkSvm
        | LossName::MaxTopkSvm
        | LossName::TopkHingeAlpha
        | LossName::TopkHingeBeta
        | LossName::TruncatedTopkEntropy
        | LossName::BalancedNoisedTopk
        | LossName::DifferentiableTopkCrossEntropy => true,
        LossName::CrossEntropy
        | LossName::Psi5
        | LossName::Lml
        | LossName::LapSum
        | LossName::DfTopk
        | LossName::LdrKl
        | LossName::BinaryCrossEntropy => false,
    }
}

/// The loss of a run, averaged over a batch.
pub(crate) type TrainingLoss = Criterion<Box<dyn TensorLoss>>;

impl LossSettings {
    /// Checks what does not depend on the data.
    ///
    /// # Errors
    /// If a value is out of range, or two settings cannot be used together; the message names the flag.
    pub(crate) fn check(&self) -> Result<(), ConfigError> {
        let fail =
            |flag, expected, found: String| Err(ConfigError::out_of_range(flag, expected, found));
        if self.draws == 0 {
            return fail("draws", "at least 1", "0".to_owned());
        }
        for (flag, value) in [
            ("epsilon", self.epsilon),
            ("max-margin", self.max_margin.unwrap_or_default()),
        ] {
            if !(value.is_finite() && value >= 0.0) {
                return fail(flag, "a finite number of at least 0", value.to_string());
            }
        }
        if !(0.0..=1.0).contains(&self.distillation_alpha) {
            let found = self.distillation_alpha.to_string();
            return fail("distillation-alpha", "from 0 to 1", found);
        }
        if !(self.distillation_tau.is_finite() && self.distillation_tau > 0.0) {
            let found = self.distillation_tau.to_string();
            return fail("distillation-tau", "a finite number above 0", found);
        }
        for (flag, value) in [
            ("label-smoothing", self.label_smoothing),
            (
                "bce-target-thresh",
                self.bce_target_thresh.unwrap_or_default(),
            ),
        ] {
            if !(0.0..1.0).contains(&value) {
                return fail(flag, "at least 0 and below 1", value.to_string());
            }
        }
        if let (Some(threshold), Some(weights)) =
            (self.used_bce_target_thresh(), &self.class_weights)
        {
            // Targets above the threshold may be those of several classes, with different weights.
            let found = format!("--class-weights {weights} --bce-target-thresh {threshold}");
            return fail("class-weights", "used without --bce-target-thresh", found);
        }
        Ok(())
    }

    /// The settings that are not at their default, other than the loss, its temperature and its margin, by their flags.
    pub(crate) fn further(&self) -> BTreeMap<String, Value> {
        let default = Settings::try_parse_from([""; 0]).map(|default| default.loss);
        let map = |settings: &Self| match serde_json::to_value(settings) {
            Ok(Value::Object(map)) => map,
            _ => Map::new(),
        };
        let default = default.map(|default| Self {
            name: self.name,
            ..default
        });
        let default = default.as_ref().map(map).unwrap_or_default();
        let further = map(self).into_iter().filter(|(key, value)| {
            !["loss", "tau", "alpha"].contains(&key.as_str()) && default.get(key) != Some(value)
        });
        further.collect()
    }

    /// How the scores of --teacher enter the loss.
    pub(crate) fn distillation(&self) -> Distillation {
        Distillation {
            alpha: self.distillation_alpha,
            tau: self.distillation_tau,
        }
    }

    /// The threshold of targets, if the loss has it.
    pub(crate) fn used_bce_target_thresh(&self) -> Option<f64> {
        let threshold = self.bce_target_thresh;
        threshold.filter(|_| self.name == LossName::BinaryCrossEntropy)
    }

    /// Lines about what label smoothing costs.
    pub(crate) fn decision(&self, classes: usize) -> Option<String> {
        (self.label_smoothing > 0.0 && is_slow(self.name)).then(|| {
            format!(
                "--label-smoothing {}: --loss {} is computed for each of the {classes} classes as label, which takes {classes} \
                 times as long as without",
                self.label_smoothing, self.name
            )
        })
    }

    /// The temperature, if the loss has one.
    pub(crate) fn used_tau(&self) -> Option<Annealed> {
        self.name.has_tau().then_some(self.tau)
    }

    /// The margin, if the loss has one.
    pub(crate) fn used_alpha(&self) -> Option<Annealed> {
        self.name.has_alpha().then_some(self.alpha)
    }

    /// The loss of training in one of `epochs` epochs, with class weights and label smoothing; `seed` is for losses that
    /// draw random numbers.
    pub(crate) fn criterion(
        &self,
        k: usize,
        epoch: usize,
        epochs: usize,
        seed: u64,
    ) -> Result<TrainingLoss, LossError> {
        let plain = self.plain_criterion(k, epoch, epochs, seed)?;
        let criterion = plain.with_label_smoothing(self.label_smoothing)?;
        match &self.of_classes.weights {
            Some(weights) => criterion.with_weight(weights.clone()),
            None => Ok(criterion),
        }
    }

    /// The same loss without class weights and label smoothing.
    pub(crate) fn plain_criterion(
        &self,
        k: usize,
        epoch: usize,
        epochs: usize,
        seed: u64,
    ) -> Result<TrainingLoss, LossError> {
        let (tau, alpha) = (self.tau.at(epoch, epochs), self.alpha.at(epoch, epochs));
        let loss: Box<dyn TensorLoss> = match self.name {
            LossName::SmoothTopkSvm => Box::new(SmoothTopkSvm::new(k, tau, alpha)?),
            LossName::CrossEntropy => Box::new(CrossEntropy),
            LossName::MaxTopkSvm => Box::new(MaxTopkSvm::new(k, alpha)?),
            LossName::TopkHingeAlpha => Box::new(TopkHingeAlpha::new(k, alpha)?),
            LossName::TopkHingeBeta => Box::new(TopkHingeBeta::new(k, alpha)?),
            LossName::TruncatedTopkEntropy => Box::new(TruncatedTopkEntropy::new(k)?),
            LossName::Psi5 => Box::new(Psi5::new(k, alpha)?),
            LossName::BalancedNoisedTopk => {
                let loss = BalancedNoisedTopk::new(k, self.epsilon, self.draws, alpha, seed)?;
                Box::new(match (self.max_margin, &self.of_classes.counts) {
                    (Some(margin), Some(counts)) => loss.with_class_counts(counts, margin)?,
                    _ => loss,
                })
            }
            LossName::Lml => Box::new(Lml::new(k)?),
            LossName::DifferentiableTopkCrossEntropy => {
                let mut weights = vec![0.0; k];
                if let Some(first) = weights.first_mut() {
                    *first = 0.5;
                    weights[k - 1] += 0.5;
                }
                Box::new(DifferentiableTopkCrossEntropy::new(weights, tau)?)
            }
            LossName::LapSum => Box::new(LapSum::new(k, tau)?),
            LossName::DfTopk => Box::new(DfTopk::new(k, tau)?),
            LossName::LdrKl => Box::new(LdrKl::new(tau, alpha)?),
            LossName::BinaryCrossEntropy => Box::new(match self.bce_sum {
                true => BinaryCrossEntropy::sum(),
                false => BinaryCrossEntropy::mean(),
            }),
        };
        Ok(Criterion::new(loss))
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
            max_margin: None,
            label_smoothing: 0.0,
            class_weights: None,
            bce_sum: false,
            bce_target_thresh: None,
            teacher: None,
            distillation_alpha: 0.5,
            distillation_tau: 1.0,
            of_classes: OfClasses::default(),
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
    fn further_settings_are_those_that_were_given() {
        let words = "--loss=bce --smoothing=0.1 --bce-sum --class-weights=balanced --epsilon=3";
        let given = Settings::try_parse_from(words.split(' ')).unwrap().loss;
        let expected = [
            ("bce-sum", Value::Bool(true)),
            ("class-weights", "balanced".into()),
            ("label-smoothing", 0.1.into()),
        ];
        let expected = expected.map(|(key, value)| (key.to_owned(), value));
        assert_eq!(given.further(), BTreeMap::from(expected));
        assert!(settings(LossName::CrossEntropy).further().is_empty());
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
