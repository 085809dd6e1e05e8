//! Settings of which images are trained on, how often and in which order.

use serde::Serialize;

use crate::config::{Config, ConfigError, ErrorPolicy};
use crate::layers::at_least_one;
use crate::order::{Sampler, Shuffle};

/// Which images an epoch has.
#[derive(Clone, Debug, PartialEq, Serialize, clap::Args)]
#[serde(rename_all = "kebab-case")]
pub struct SamplingSettings {
    /// Which training images an epoch has; an epoch of images drawn with replacement has as many images as there are
    #[arg(long, value_enum, default_value = "shuffle", help_heading = "Data")]
    #[serde(skip_serializing_if = "Sampler::is_default")]
    pub sampler: Sampler,

    /// Repeated augmentation: use each image this many times in a row and correspondingly fewer images per epoch, such
    /// as 3; 0 for none
    #[arg(
        long,
        value_name = "N",
        conflicts_with = "sampler",
        help_heading = "Data"
    )]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub aug_repeats: Option<f64>,

    /// For debugging: train on at most N batches per epoch, and validate on as many images as N batches of
    /// --validation-batch-size have
    #[arg(long, value_name = "N", value_parser = at_least_one, help_heading = "Data")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit_batches: Option<usize>,

    /// For debugging: train on the same N batches in each epoch, and validate on their images
    #[arg(
        long,
        value_name = "N",
        value_parser = at_least_one,
        conflicts_with_all = ["sampler", "aug_repeats", "limit_batches", "shuffle", "val_data"],
        help_heading = "Data"
    )]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub overfit_batches: Option<usize>,
}

impl SamplingSettings {
    /// How often each image is repeated, if images are.
    pub(crate) fn repeats(&self) -> Option<f64> {
        self.aug_repeats.filter(|&repeats| repeats != 0.0)
    }

    /// Checks what does not depend on the data.
    ///
    /// # Errors
    /// If a value is out of range or contradicts another setting; the message names the flag.
    pub(crate) fn check(&self, config: &Config) -> Result<(), ConfigError> {
        let fail = |flag, expected, found| Err(ConfigError::out_of_range(flag, expected, found));
        if let Some(repeats) = self.repeats()
            && !(1.0..=1e6).contains(&repeats)
        {
            let expected = "0, or from 1 to 1000000";
            return fail("aug-repeats", expected, repeats.to_string());
        }
        if config.shuffle == Some(Shuffle::Shards) {
            let expected = "used without --shuffle shards, which reads each image of a shard once";
            if !self.sampler.is_default() {
                let found = format!("--sampler {} --shuffle shards", self.sampler);
                return fail("sampler", expected, found);
            }
            if let Some(repeats) = self.repeats() {
                let found = format!("--aug-repeats {repeats} --shuffle shards");
                return fail("aug-repeats", expected, found);
            }
        }
        // Images that cannot be read would be validated, too.
        if let (Some(batches), ErrorPolicy::Skip) = (self.overfit_batches, config.on_bad_image) {
            let found = format!("--overfit-batches {batches} --on-bad-image skip");
            return fail("overfit-batches", "used with --on-bad-image fail", found);
        }
        Ok(())
    }
}
