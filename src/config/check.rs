//! What settings must be, as far as that does not depend on the data.

use std::fmt::Display;

use thiserror::Error;
use topk_models::Classifier;
use topk_ops::LossName;
use topk_preprocessing::ImageMode;

use super::{Config, ErrorPolicy};
use crate::machine::{AmpDtype, Machine};

/// A setting cannot be used.
#[derive(Clone, Debug, Error, PartialEq)]
pub(crate) enum ConfigError {
    /// It is out of range.
    #[error("--{flag} must be {expected}, got {found}")]
    Range {
        /// The flag.
        flag: &'static str,
        /// The range.
        expected: &'static str,
        /// The value.
        found: String,
    },
    /// It contradicts another setting.
    #[error("--{flag} has no effect {beside}: remove it, or {advice}")]
    NoEffect {
        /// The flag and its value.
        flag: String,
        /// The other setting.
        beside: &'static str,
        /// The alternative.
        advice: &'static str,
    },
}

impl ConfigError {
    /// The error that this flag must be what is expected, got what was found.
    pub(crate) fn out_of_range(
        flag: &'static str,
        expected: &'static str,
        found: impl Display,
    ) -> Self {
        Self::Range {
            flag,
            expected,
            found: found.to_string(),
        }
    }

    /// The error that this flag, with its value, has no effect beside another setting.
    pub(crate) fn no_effect(
        flag: impl Display,
        beside: &'static str,
        advice: &'static str,
    ) -> Self {
        Self::NoEffect {
            flag: flag.to_string(),
            beside,
            advice,
        }
    }

    /// The error that --data is missing.
    pub(crate) fn no_data() -> Self {
        Self::out_of_range("data", "given", "nothing")
    }
}

impl Config {
    /// Checks everything that does not depend on the data.
    ///
    /// # Errors
    /// If a value is out of range; the message names the flag.
    pub(crate) fn check(&self) -> Result<(), ConfigError> {
        let fail =
            |flag, expected, found: String| Err(ConfigError::out_of_range(flag, expected, found));
        for (flag, value) in [
            ("topk", self.topk),
            ("epochs", Some(self.epochs)),
            ("batch-size", Some(self.batch_size)),
            ("global-batch-size", self.global_batch_size),
            ("grad-accum-steps", Some(self.grad_accum_steps)),
            ("validation-batch-size", Some(self.validation_batch_size)),
            ("workers", self.workers),
            ("log-interval", Some(self.machine.log_interval)),
            ("train-size", self.train_size),
            ("val-size", self.val_size),
            (
                "input-size",
                self.input_size.iter().flatten().copied().min(),
            ),
            ("train-resize", self.train_resize.map(|side| side as usize)),
            ("val-resize", self.val_resize.map(|side| side as usize)),
            ("test-resize", self.test_resize.map(|side| side as usize)),
        ] {
            if value == Some(0) {
                return fail(flag, "at least 1", "0".to_owned());
            }
        }
        if let Some(decay) = self.model_ema_decay
            && !(0.0..1.0).contains(&decay)
        {
            let expected = "at least 0 and below 1";
            return fail("model-ema-decay", expected, decay.to_string());
        }
        if let (Some(warmup), None) = (self.model_ema_warmup, self.model_ema_decay) {
            let expected = "used with --model-ema-decay";
            return fail("model-ema-warmup", expected, format!("{warmup} without it"));
        }
        if let Some(factor) = self.imbalance_factor
            && !(factor.is_finite() && factor >= 1.0)
        {
            let expected = "a finite number of at least 1";
            return fail("imbalance-factor", expected, factor.to_string());
        }
        if !(0.0..=1.0).contains(&self.noise) {
            return fail("noise", "from 0 to 1", self.noise.to_string());
        }
        self.loss.check()?;
        if self.classifier == Classifier::New && self.checkpoint.is_none() {
            return Err(ConfigError::no_effect(
                "classifier new",
                "without --checkpoint",
                "give the file of weights with --checkpoint",
            ));
        }
        self.check_channels()?;
        self.sampling.check(self)?;
        self.augmenting.check()?;
        self.validation.check(self)?;
        self.check_machine()?;
        self.optimizer.check()?;
        self.schedule.check(self.epochs, self.peak_lr())?;
        if self.data.is_none() {
            return Err(ConfigError::no_data());
        }
        Ok(())
    }

    /// Checks the number of channels.
    fn check_channels(&self) -> Result<(), ConfigError> {
        let fail = |flag, expected, found| Err(ConfigError::out_of_range(flag, expected, found));
        if let (Some(channels), Some(of_size)) = (self.in_chans, self.channels_of_size())
            && channels != of_size
        {
            let found = format!("{channels} with --input-size of {of_size} channels");
            return fail("in-chans", "the channels of --input-size", found);
        }
        if let Some(channels) = self.input_channels()
            && ImageMode::of_channels(channels).is_none()
        {
            let expected = "1 (grey) or 3 (red, green and blue), which are what image files are decoded to (for images of \
                            other channels, train in PyTorch with the losses of the Python package topk)";
            return fail("in-chans", expected, channels.to_string());
        }
        if !self.image_mode().is_rgb() && self.machine.augment_on_device {
            let found = "--in-chans 1 --augment-on-device".to_owned();
            return fail("augment-on-device", "used with --in-chans 3", found);
        }
        Ok(())
    }

    /// Checks that so many ranks can train with these settings, those [of a run](Self::for_ranks).
    ///
    /// # Errors
    /// If they cannot; the message names the flag.
    pub(crate) fn check_ranks(&self, ranks: usize) -> Result<(), ConfigError> {
        let fail = |flag, expected, found| Err(ConfigError::out_of_range(flag, expected, found));
        if ranks == 1 {
            return Ok(());
        }
        if self.machine.cuda_graphs {
            let found = format!("--cuda-graphs with {ranks} ranks");
            return fail("cuda-graphs", "used with one rank", found);
        }
        if let (Some(mix), ErrorPolicy::Skip) = (&self.mix, self.on_bad_image) {
            let expected = "used with --on-bad-image fail if there are several ranks, which mix each other's images";
            let found = format!("--mix {mix} --on-bad-image skip with {ranks} ranks");
            return fail("mix", expected, found);
        }
        if self.batch_size < ranks {
            let found = format!("{} for {ranks} ranks", self.batch_size);
            return fail("global-batch-size", "at least the number of ranks", found);
        }
        Ok(())
    }

    fn check_machine(&self) -> Result<(), ConfigError> {
        let Machine {
            amp,
            amp_dtype,
            deterministic,
            cudnn_benchmark,
            ..
        } = self.machine;
        if amp_dtype == AmpDtype::Float16 && !amp {
            return Err(ConfigError::no_effect(
                "amp-dtype float16",
                "without --amp",
                "give --amp too",
            ));
        }
        if self.machine.cuda_graphs {
            let fail =
                |expected, found| Err(ConfigError::out_of_range("cuda-graphs", expected, found));
            if let Some(mix) = &self.mix {
                return fail("used without --mix", format!("--mix {mix}"));
            }
            if self.grad_accum_steps > 1 {
                let steps = self.grad_accum_steps;
                let found = format!("--grad-accum-steps {steps}");
                return fail("used with --grad-accum-steps 1", found);
            }
            if let Some(weights) = &self.loss.class_weights {
                let found = format!("--class-weights {weights}");
                return fail("used without --class-weights", found);
            }
            if let Some(teacher) = &self.loss.teacher {
                let found = format!("--teacher {}", teacher.display());
                return fail(
                    "used without --teacher, which runs outside of the graph",
                    found,
                );
            }
            if self.loss.name == LossName::BalancedNoisedTopk {
                let found = format!("--loss {}", self.loss.name.as_str());
                return fail("used with a loss without random numbers", found);
            }
        }
        if deterministic && cudnn_benchmark == Some(true) {
            return Err(ConfigError::no_effect(
                "cudnn-benchmark",
                "with --deterministic, which must not choose algorithms by their time",
                "omit --deterministic",
            ));
        }
        Ok(())
    }
}
