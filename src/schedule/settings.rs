//! Settings of the learning rate.

use std::fmt;
use std::str::FromStr;

use serde::Serialize;
use thiserror::Error;

use crate::config::ConfigError;
use crate::optimizer::OptimizerName;

/// timm's defaults.
const DECAY_RATE: f64 = 0.1;
const PATIENCE: usize = 10;
const LR_BASE_SIZE: usize = 256;

/// The learning rate and how it changes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, clap::Args)]
#[serde(rename_all = "kebab-case")]
pub struct ScheduleSettings {
    /// Peak learning rate [default: 0.1; 0.01 for rmsprop, and 0.001 for adam, adamw and lamb]
    #[arg(long, conflicts_with = "lr_base", help_heading = "Optimisation")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lr: Option<f64>,

    /// In place of --lr: peak learning rate for --lr-base-size images per optimizer step, which is scaled to those of
    /// this run (batch size of all ranks, times --grad-accum-steps)
    #[arg(long, value_name = "LR", help_heading = "Optimisation")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lr_base: Option<f64>,

    /// Images per step that --lr-base is for [default: 256]
    #[arg(long, value_name = "N", help_heading = "Optimisation")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lr_base_size: Option<usize>,

    /// How --lr-base is scaled: with the number of images per step, or with its square root
    /// [default: linear; sqrt for adam, adamw and lamb]
    #[arg(long, value_name = "SCALE", value_enum, help_heading = "Optimisation")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lr_base_scale: Option<LrScale>,

    /// Learning rate scheduler
    #[arg(
        long,
        value_enum,
        default_value = "step",
        help_heading = "Optimisation"
    )]
    pub sched: Scheduler,

    /// Let the learning rate change with each step, or with each epoch if false [default: true for the warm-up, cosine
    /// and poly; false for step; onecycle always does]
    #[arg(long, num_args = 0..=1, default_missing_value = "true", value_name = "BOOL", help_heading = "Optimisation")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sched_on_updates: Option<bool>,

    /// Epochs, counted from 1, at whose start --sched step or multistep multiplies the learning rate by --decay-rate,
    /// such as 151,226 [default: after one half and three quarters of the epochs]
    #[arg(
        long,
        value_name = "EPOCH,…",
        conflicts_with = "decay_epochs",
        help_heading = "Optimisation"
    )]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decay_milestones: Option<Milestones>,

    /// In place of --decay-milestones: number of epochs after each of which --sched step multiplies the learning rate by
    /// --decay-rate; may have a fraction
    #[arg(long, value_name = "N", help_heading = "Optimisation")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decay_epochs: Option<f64>,

    /// What step, multistep and plateau multiply the learning rate by, and the power of poly [default: 0.1]
    #[arg(long, value_name = "RATE", help_heading = "Optimisation")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decay_rate: Option<f64>,

    /// Lowest learning rate of cosine, poly and plateau, and the last one of onecycle
    /// [default: 0; onecycle: 1/10000 of its first one]
    #[arg(long, value_name = "LR", help_heading = "Optimisation")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_lr: Option<f64>,

    /// Number of epochs in which the learning rate rises to --lr [default: 0; onecycle: three tenths of the epochs]
    #[arg(
        long,
        value_name = "N",
        default_value_t = 0,
        hide_default_value = true,
        help_heading = "Optimisation"
    )]
    pub warmup_epochs: usize,

    /// Learning rate at which the warm-up begins [default: --lr divided by the number of steps of the warm-up; onecycle:
    /// --lr divided by 25]
    #[arg(long, value_name = "LR", help_heading = "Optimisation")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub warmup_lr: Option<f64>,

    /// Start the decay after the warm-up, and not as if the warm-up had been a part of it [default: true for cosine and
    /// poly; false for step and multistep]
    #[arg(long, num_args = 0..=1, default_missing_value = "true", value_name = "BOOL", help_heading = "Optimisation")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub warmup_prefix: Option<bool>,

    /// Number of epochs at the end, out of --epochs, that cosine and poly leave at --min-lr [default: 0]
    #[arg(long, value_name = "N", help_heading = "Optimisation")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cooldown_epochs: Option<usize>,

    /// Number of epochs without improvement after which plateau multiplies the learning rate by --decay-rate
    /// [default: 10]
    #[arg(long, value_name = "N", help_heading = "Optimisation")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub patience_epochs: Option<usize>,
}

/// How the learning rate falls after the warm-up.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
#[value(rename_all = "lower")]
pub enum Scheduler {
    /// Multiply by --decay-rate at each of --decay-milestones, or after every --decay-epochs
    #[default]
    Step,
    /// Multiply by --decay-rate at each of --decay-milestones
    MultiStep,
    /// Cosine decay to --min-lr
    Cosine,
    /// Polynomial decay to --min-lr, of the power --decay-rate
    Poly,
    /// Multiply by --decay-rate when validation has not improved for --patience-epochs
    Plateau,
    /// Rise and fall along cosines, as PyTorch's OneCycleLR without its cycle of the momentum
    OneCycle,
    /// Stay at --lr
    Constant,
}

/// How a learning rate depends on the number of images per step.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum LrScale {
    /// Proportional to it
    Linear,
    /// Proportional to its square root
    Sqrt,
}

/// Epochs, from 1, at whose start the learning rate falls.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize)]
pub struct Milestones(pub Vec<usize>);

/// A text is not a list of [`Milestones`].
#[derive(Clone, Debug, Error, PartialEq)]
#[error("expected epochs separated by commas, such as 151,226, or none")]
pub struct ParseMilestonesError;

impl FromStr for Milestones {
    type Err = ParseMilestonesError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if matches!(text, "" | "none") {
            return Ok(Self::default());
        }
        let epochs = text.split(',').map(|epoch| epoch.trim().parse());
        let epochs: Result<_, _> = epochs.collect();
        epochs.map(Self).map_err(|_| ParseMilestonesError)
    }
}

impl fmt::Display for Milestones {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let epochs: Vec<String> = self.0.iter().map(usize::to_string).collect();
        match epochs.is_empty() {
            true => f.write_str("none"),
            false => f.write_str(&epochs.join(",")),
        }
    }
}

impl Milestones {
    /// Those of the authors' code: after one half and three quarters of the epochs. One that would fall on the
    /// first epoch of a short run is left out: no epoch would be trained at the peak learning rate.
    pub(crate) fn default_for(epochs: usize) -> Self {
        let mut milestones = vec![epochs / 2 + 1, epochs * 3 / 4 + 1];
        milestones.dedup();
        milestones.retain(|&first| first > 1);
        Self(milestones)
    }
}

impl Scheduler {
    /// Whether it uses a setting; true for settings that are not of a scheduler.
    pub(crate) fn uses(self, key: &str) -> bool {
        match key {
            "decay-milestones" => self.has_milestones(),
            "decay-epochs" => self == Self::Step,
            "decay-rate" => !matches!(self, Self::Cosine | Self::OneCycle | Self::Constant),
            "min-lr" => matches!(
                self,
                Self::Cosine | Self::Poly | Self::Plateau | Self::OneCycle
            ),
            "warmup-prefix" => !matches!(self, Self::Plateau | Self::OneCycle | Self::Constant),
            "cooldown-epochs" => matches!(self, Self::Cosine | Self::Poly),
            "patience-epochs" => self == Self::Plateau,
            "sched-on-updates" => self != Self::OneCycle,
            _ => true,
        }
    }

    /// Whether it depends on milestones, or may.
    pub(crate) fn has_milestones(self) -> bool {
        matches!(self, Self::Step | Self::MultiStep)
    }

    /// Whether the learning rate of an epoch depends on the number of epochs.
    pub(crate) fn follows_epochs(self) -> bool {
        matches!(self, Self::Cosine | Self::Poly | Self::OneCycle)
    }

    /// The flag with its value.
    pub(crate) fn flag(self) -> &'static str {
        match self {
            Self::Step => "--sched step",
            Self::MultiStep => "--sched multistep",
            Self::Cosine => "--sched cosine",
            Self::Poly => "--sched poly",
            Self::Plateau => "--sched plateau",
            Self::OneCycle => "--sched onecycle",
            Self::Constant => "--sched constant",
        }
    }

    /// For errors about settings that it does not use.
    fn beside(self) -> &'static str {
        match self {
            Self::Step => "with --sched step",
            Self::MultiStep => "with --sched multistep",
            Self::Cosine => "with --sched cosine",
            Self::Poly => "with --sched poly",
            Self::Plateau => "with --sched plateau",
            Self::OneCycle => "with --sched onecycle",
            Self::Constant => "with --sched constant",
        }
    }
}

impl LrScale {
    /// timm's choice for an optimizer.
    fn default_for(optimizer: OptimizerName) -> Self {
        match optimizer {
            OptimizerName::Sgd | OptimizerName::RmsProp => Self::Linear,
            OptimizerName::Adam | OptimizerName::AdamW | OptimizerName::Lamb => Self::Sqrt,
        }
    }
}

impl ScheduleSettings {
    pub(crate) fn decay_rate(&self) -> f64 {
        self.decay_rate.unwrap_or(DECAY_RATE)
    }

    pub(super) fn patience_epochs(&self) -> usize {
        self.patience_epochs.unwrap_or(PATIENCE)
    }

    /// The settings with defaults that depend on others filled in.
    pub(crate) fn resolved(mut self, epochs: usize, optimizer: OptimizerName) -> Self {
        let milestones = || Milestones::default_for(epochs);
        let has_milestones = self.sched.has_milestones() && self.decay_epochs.is_none();
        self.decay_milestones =
            has_milestones.then(|| self.decay_milestones.take().unwrap_or_else(milestones));
        if self.lr_base.is_some() {
            self.lr_base_size.get_or_insert(LR_BASE_SIZE);
            self.lr_base_scale
                .get_or_insert(LrScale::default_for(optimizer));
        } else {
            self.lr.get_or_insert(optimizer.default_lr());
        }
        self
    }

    /// The peak learning rate of a run with so many images per step.
    pub(crate) fn peak_lr(&self, optimizer: OptimizerName, images: usize) -> f64 {
        match (self.lr, self.lr_base) {
            (Some(lr), _) => lr,
            (None, None) => optimizer.default_lr(),
            (None, Some(base)) => {
                let size = self.lr_base_size.unwrap_or(LR_BASE_SIZE);
                let ratio = images as f64 / size as f64;
                let scale = self.lr_base_scale;
                match scale.unwrap_or(LrScale::default_for(optimizer)) {
                    LrScale::Linear => base * ratio,
                    LrScale::Sqrt => base * ratio.sqrt(),
                }
            }
        }
    }

    /// What follows from the settings, one line each; `lr` is the peak learning rate, for so many images per step.
    pub(crate) fn decisions(&self, lr: f64, images: usize, epochs: usize) -> Vec<String> {
        let mut decisions = Vec::new();
        if let (Some(base), Some(size)) = (self.lr_base, self.lr_base_size) {
            let scale = match self.lr_base_scale {
                Some(LrScale::Sqrt) => "the square root of ",
                _ => "",
            };
            decisions.push(format!(
                "--lr-base {base}: a peak learning rate of {lr}, in proportion to {scale}the {images} images per step, of \
                 {size}"
            ));
        }
        if let Some(cooldown) = self.cooldown_epochs.filter(|count| *count > 0) {
            let before = epochs.saturating_sub(cooldown);
            decisions.push(format!(
                "--cooldown-epochs {cooldown}: the learning rate falls until epoch {before} of {epochs}, which include the \
                 cool-down"
            ));
        }
        decisions
    }

    /// Checks the settings of a run with this many epochs and this peak learning rate.
    ///
    /// # Errors
    /// If a value is out of range, or has no effect; the message names the flag.
    pub(crate) fn check(&self, epochs: usize, peak: f64) -> Result<(), ConfigError> {
        let fail =
            |flag, expected, found: String| Err(ConfigError::out_of_range(flag, expected, found));
        for (flag, value) in [
            ("lr", self.lr),
            ("lr-base", self.lr_base),
            ("decay-rate", self.decay_rate),
            ("min-lr", self.min_lr),
            ("warmup-lr", self.warmup_lr),
        ] {
            if let Some(value) = value.filter(|value| !(value.is_finite() && *value >= 0.0)) {
                return fail(flag, "a finite number of at least 0", value.to_string());
            }
        }
        if self.lr_base_size == Some(0) {
            return fail("lr-base-size", "at least 1", "0".to_owned());
        }
        if let Some(every) = self
            .decay_epochs
            .filter(|every| !(every.is_finite() && *every > 0.0))
        {
            return fail("decay-epochs", "a finite number above 0", every.to_string());
        }
        if let Some(least) = self.min_lr.filter(|least| *least > peak) {
            return fail(
                "min-lr",
                "at most the peak learning rate",
                least.to_string(),
            );
        }
        if let Some(milestones) = &self.decay_milestones {
            self.check_milestones(milestones)?;
        }
        let (warmup, cooldown) = (self.warmup_epochs, self.cooldown_epochs.unwrap_or(0));
        if warmup >= epochs {
            return fail("warmup-epochs", "below --epochs", warmup.to_string());
        }
        if warmup + cooldown >= epochs {
            let expected = "below --epochs without those of --warmup-epochs";
            return fail("cooldown-epochs", expected, cooldown.to_string());
        }
        self.check_effects(warmup, cooldown)
    }

    fn check_milestones(&self, milestones: &Milestones) -> Result<(), ConfigError> {
        if !self.sched.has_milestones() {
            return Err(ConfigError::no_effect(
                format!("decay-milestones {milestones}"),
                self.sched.beside(),
                "use --sched step",
            ));
        }
        let first = milestones.0.first().copied();
        if first == Some(0) || !milestones.0.is_sorted() {
            return Err(ConfigError::out_of_range(
                "decay-milestones",
                "epochs, counted from 1, in ascending order",
                milestones,
            ));
        }
        Ok(())
    }

    /// Checks that settings have those that they need.
    fn check_effects(&self, warmup: usize, cooldown: usize) -> Result<(), ConfigError> {
        let fail = |flag: &str, beside, advice| Err(ConfigError::no_effect(flag, beside, advice));
        let advice = "give a learning rate with --lr-base";
        if self.lr_base.is_none() && self.lr_base_size.is_some() {
            return fail("lr-base-size", "without --lr-base", advice);
        }
        if self.lr_base.is_none() && self.lr_base_scale.is_some() {
            return fail("lr-base-scale", "without --lr-base", advice);
        }
        if warmup == 0 && self.sched != Scheduler::OneCycle {
            let (beside, advice) = ("without a warm-up", "give --warmup-epochs");
            if self.warmup_lr.is_some() {
                return fail("warmup-lr", beside, advice);
            }
            if self.warmup_prefix.is_some() {
                return fail("warmup-prefix", beside, advice);
            }
        }
        if cooldown > 0 && self.min_lr.unwrap_or(0.0) == 0.0 {
            let beside = "without --min-lr: the learning rate of these epochs would be 0";
            return fail("cooldown-epochs", beside, "give a --min-lr above 0");
        }
        Ok(())
    }
}
