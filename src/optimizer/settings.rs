//! Settings of the optimizer.

use std::fmt;
use std::str::FromStr;

use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};
use thiserror::Error;
use topk_libtorch::Algorithm;

use crate::config::ConfigError;

/// `--freeze` of everything but the classifier.
pub(crate) const BACKBONE: &str = "backbone";

/// PyTorch's default for all optimizers with two averages.
const BETAS: Betas = Betas([0.9, 0.999]);
/// Decay of RMSprop's average: timm's, while PyTorch's default is 0.99.
const ALPHA: f64 = 0.9;
/// Norm of all gradients above which LAMB divides them, as timm's.
const LAMB_MAX_NORM: f64 = 1.0;

/// The optimizer and its settings. Only the settings that the optimizer has are serialised.
#[derive(Clone, Debug, PartialEq, clap::Args)]
pub struct OptimizerSettings {
    /// Optimizer
    #[arg(
        id = "opt",
        long,
        value_name = "NAME",
        value_enum,
        default_value = "sgd",
        help_heading = "Optimisation"
    )]
    pub name: OptimizerName,

    /// Added to the denominator of adam, adamw, rmsprop and lamb [default: 1e-8; lamb: 1e-6]
    #[arg(long, value_name = "EPS", help_heading = "Optimisation")]
    pub opt_eps: Option<f64>,

    /// Decay of the averages of adam, adamw and lamb, of the gradient and of its square [default: 0.9,0.999]
    #[arg(long, value_name = "B1,B2", help_heading = "Optimisation")]
    pub opt_betas: Option<Betas>,

    /// Momentum of sgd and rmsprop; 0 for none
    #[arg(long, default_value_t = 0.9, help_heading = "Optimisation")]
    pub momentum: f64,

    /// Use Nesterov's momentum with sgd, if --momentum is above 0; --nesterov=false for plain momentum
    #[arg(long, num_args = 0..=1, default_value_t = true, default_missing_value = "true", action = clap::ArgAction::Set, help_heading = "Optimisation")]
    pub nesterov: bool,

    /// Weight decay, applied to all trainable parameters; see --filter-bias-and-bn
    #[arg(long, default_value_t = 1e-4, help_heading = "Optimisation")]
    pub weight_decay: f64,

    /// No weight decay for biases, parameters of normalisation layers, and class and position embeddings, as timm
    #[arg(long, num_args = 0..=1, default_value_t = false, default_missing_value = "true", action = clap::ArgAction::Set, help_heading = "Optimisation")]
    pub filter_bias_and_bn: bool,

    /// Learning rate of each group of layers as a fraction of the next one's, such as 0.75; the last layer has --lr
    #[arg(long, value_name = "FACTOR", help_heading = "Optimisation")]
    pub layer_decay: Option<f64>,

    /// Peak learning rate of the last layer [default: --lr]
    #[arg(long, value_name = "LR", help_heading = "Optimisation")]
    pub head_lr: Option<f64>,

    /// Layers that are not trained: backbone for all but the last, or beginnings of parameter names, such as
    /// conv1,bn1,layer1. Batch normalisation in them uses its running statistics
    #[arg(
        long,
        value_name = "LAYER,…",
        value_delimiter = ',',
        help_heading = "Optimisation"
    )]
    pub freeze: Vec<String>,

    /// Epoch, counted from 1, from which the layers of --freeze are trained too [default: never]
    #[arg(long, value_name = "EPOCH", help_heading = "Optimisation")]
    pub unfreeze_epoch: Option<usize>,

    /// Clip the gradients at this value; see --clip-mode
    #[arg(long, value_name = "VALUE", help_heading = "Optimisation")]
    pub clip_grad: Option<f64>,

    /// What --clip-grad limits
    #[arg(
        long,
        value_name = "MODE",
        value_enum,
        default_value = "norm",
        help_heading = "Optimisation"
    )]
    pub clip_mode: ClipMode,
}

/// An optimizer, under timm's name.
#[derive(Clone, Copy, Debug, Eq, PartialEq, clap::ValueEnum)]
pub enum OptimizerName {
    /// PyTorch's SGD
    Sgd,
    /// PyTorch's Adam, whose weight decay is added to the gradient
    Adam,
    /// PyTorch's AdamW
    #[value(name = "adamw")]
    AdamW,
    /// PyTorch's RMSprop with timm's alpha of 0.9
    #[value(name = "rmsprop")]
    RmsProp,
    /// timm's LAMB, which limits the norm of the gradients to 1
    Lamb,
}

/// What `--clip-grad` limits, under timm's name.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum ClipMode {
    /// The norm of all gradients together
    Norm,
    /// Each element of the gradients
    Value,
    /// The norm of the gradient of each output channel as a fraction of that of its weights (adaptive gradient
    /// clipping); not of the last layer
    Agc,
}

/// Decay of two averages.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Betas(pub [f64; 2]);

/// A text is not [`Betas`].
#[derive(Clone, Debug, Error, PartialEq)]
#[error("expected two numbers of at least 0 and below 1, separated by a comma, such as 0.9,0.999")]
pub struct ParseBetasError;

impl FromStr for Betas {
    type Err = ParseBetasError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let numbers = text.split(',').map(|number| number.trim().parse());
        let numbers: Vec<f64> = numbers
            .collect::<Result<_, _>>()
            .map_err(|_| ParseBetasError)?;
        let betas: [f64; 2] = numbers.try_into().map_err(|_| ParseBetasError)?;
        match betas.iter().all(|beta| (0.0..1.0).contains(beta)) {
            true => Ok(Self(betas)),
            false => Err(ParseBetasError),
        }
    }
}

impl fmt::Display for Betas {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [first, second] = self.0;
        write!(f, "{first},{second}")
    }
}

impl Serialize for Betas {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl OptimizerName {
    /// Its name on the command line.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Sgd => "sgd",
            Self::Adam => "adam",
            Self::AdamW => "adamw",
            Self::RmsProp => "rmsprop",
            Self::Lamb => "lamb",
        }
    }

    /// The learning rate if none is given: the paper's for SGD, otherwise PyTorch's and timm's defaults.
    pub(crate) fn default_lr(self) -> f64 {
        match self {
            Self::Sgd => 0.1,
            Self::RmsProp => 0.01,
            Self::Adam | Self::AdamW | Self::Lamb => 0.001,
        }
    }

    fn default_eps(self) -> f64 {
        match self {
            Self::Lamb => 1e-6,
            _ => 1e-8,
        }
    }

    fn has_betas(self) -> bool {
        matches!(self, Self::Adam | Self::AdamW | Self::Lamb)
    }

    /// Whether the optimizer uses a setting; true for settings that are not of an optimizer.
    pub(crate) fn uses(self, key: &str) -> bool {
        match key {
            "momentum" => matches!(self, Self::Sgd | Self::RmsProp),
            "nesterov" => self == Self::Sgd,
            "opt-eps" => self != Self::Sgd,
            "opt-betas" => self.has_betas(),
            _ => true,
        }
    }
}

impl Serialize for OptimizerSettings {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("opt", self.name.as_str())?;
        if let Some(eps) = self.opt_eps.filter(|_| self.name.uses("opt-eps")) {
            map.serialize_entry("opt-eps", &eps)?;
        }
        if let Some(betas) = self.opt_betas.filter(|_| self.name.has_betas()) {
            map.serialize_entry("opt-betas", &betas)?;
        }
        if self.name.uses("momentum") {
            map.serialize_entry("momentum", &self.momentum)?;
        }
        if self.name.uses("nesterov") {
            map.serialize_entry("nesterov", &self.nesterov)?;
        }
        map.serialize_entry("weight-decay", &self.weight_decay)?;
        if self.filter_bias_and_bn {
            map.serialize_entry("filter-bias-and-bn", &true)?;
        }
        if let Some(decay) = self.layer_decay {
            map.serialize_entry("layer-decay", &decay)?;
        }
        if let Some(lr) = self.head_lr {
            map.serialize_entry("head-lr", &lr)?;
        }
        if !self.freeze.is_empty() {
            map.serialize_entry("freeze", &self.freeze)?;
        }
        if let Some(epoch) = self.unfreeze_epoch {
            map.serialize_entry("unfreeze-epoch", &epoch)?;
        }
        if let Some(value) = self.clip_grad {
            map.serialize_entry("clip-grad", &value)?;
            if self.clip_mode != ClipMode::Norm {
                map.serialize_entry("clip-mode", &self.clip_mode)?;
            }
        }
        map.end()
    }
}

impl OptimizerSettings {
    /// The settings with defaults that depend on others filled in.
    pub(crate) fn resolved(mut self) -> Self {
        self.nesterov = self.uses_nesterov();
        if self.name.uses("opt-eps") {
            self.opt_eps.get_or_insert(self.name.default_eps());
        }
        if self.name.has_betas() {
            self.opt_betas.get_or_insert(BETAS);
        }
        self
    }

    /// Whether SGD uses Nesterov's momentum.
    pub(crate) fn uses_nesterov(&self) -> bool {
        self.nesterov && self.momentum > 0.0
    }

    /// How steps are computed.
    pub(crate) fn algorithm(&self) -> Algorithm {
        let eps = self.opt_eps.unwrap_or(self.name.default_eps());
        let Betas(betas) = self.opt_betas.unwrap_or(BETAS);
        let momentum = self.momentum;
        match self.name {
            OptimizerName::Sgd => Algorithm::Sgd {
                momentum,
                nesterov: self.uses_nesterov(),
            },
            OptimizerName::Adam | OptimizerName::AdamW => Algorithm::Adam {
                betas,
                eps,
                decoupled: self.name == OptimizerName::AdamW,
            },
            OptimizerName::RmsProp => Algorithm::RmsProp {
                alpha: ALPHA,
                eps,
                momentum,
            },
            OptimizerName::Lamb => Algorithm::Lamb {
                betas,
                eps,
                max_norm: LAMB_MAX_NORM,
            },
        }
    }

    /// Checks the settings of a run with this many epochs.
    ///
    /// # Errors
    /// If a value is out of range, or has no effect; the message names the flag.
    pub(crate) fn check(&self) -> Result<(), ConfigError> {
        let fail =
            |flag, expected, found: f64| Err(ConfigError::out_of_range(flag, expected, found));
        for (flag, value) in [
            ("weight-decay", Some(self.weight_decay)),
            ("opt-eps", self.opt_eps),
            ("head-lr", self.head_lr),
        ] {
            if let Some(value) = value.filter(|value| !(value.is_finite() && *value >= 0.0)) {
                return fail(flag, "a finite number of at least 0", value);
            }
        }
        if !(0.0..1.0).contains(&self.momentum) {
            return fail("momentum", "at least 0 and below 1", self.momentum);
        }
        if let Some(decay) = self
            .layer_decay
            .filter(|decay| !(*decay > 0.0 && *decay <= 1.0))
        {
            return fail("layer-decay", "above 0 and at most 1", decay);
        }
        match self.clip_grad {
            Some(value) if !(value.is_finite() && value > 0.0) => {
                return fail("clip-grad", "a finite number above 0", value);
            }
            None if self.clip_mode != ClipMode::Norm => {
                return Err(ConfigError::no_effect(
                    "clip-mode",
                    "without --clip-grad",
                    "give the limit with --clip-grad",
                ));
            }
            _ => {}
        }
        match self.unfreeze_epoch {
            Some(epoch @ 0..2) => {
                let expected = "at least 2, the first epoch being 1";
                fail("unfreeze-epoch", expected, epoch as f64)
            }
            Some(_) if self.freeze.is_empty() => Err(ConfigError::no_effect(
                "unfreeze-epoch",
                "without --freeze",
                "name the layers with --freeze",
            )),
            _ => Ok(()),
        }
    }

    /// What follows from the settings in a run with this many epochs, one line each.
    pub(crate) fn decisions(&self, epochs: usize) -> Vec<String> {
        let unreached = self.unfreeze_epoch.filter(|epoch| *epoch > epochs);
        let unreached = unreached
            .map(|epoch| format!("--unfreeze-epoch {epoch}: not reached in --epochs {epochs}"));
        let lamb = (self.name == OptimizerName::Lamb).then(|| {
            format!("--opt lamb limits the norm of all gradients to {LAMB_MAX_NORM}, as timm's")
        });
        unreached.into_iter().chain(lamb).collect()
    }
}
