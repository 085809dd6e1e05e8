//! Settings of the checkpoints beside the best ones.

use serde::Serialize;

use crate::config::Config;
use crate::layers::at_least_one;

/// Which checkpoints are kept beside those of the best epochs.
#[derive(Clone, Debug, PartialEq, Serialize, clap::Args)]
#[serde(rename_all = "kebab-case")]
pub struct CheckpointSettings {
    /// Also keep the checkpoint of the last validated epoch, last.safetensors, and export and test it at the end
    #[arg(long, num_args = 0..=1, default_value_t = false, default_missing_value = "true", action = clap::ArgAction::Set, hide_default_value = true, help_heading = "Checkpoints")]
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub save_last: bool,

    /// Keep the checkpoints of the N epochs with the best --eval-metric, checkpoint-EPOCH.safetensors
    #[arg(long, value_name = "N", value_parser = at_least_one, help_heading = "Checkpoints")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub checkpoint_hist: Option<usize>,

    /// Keep the checkpoint of every Nth epoch, checkpoint-EPOCH.safetensors; these epochs are validated too
    #[arg(long, value_name = "N", value_parser = at_least_one, help_heading = "Checkpoints")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub checkpoint_interval: Option<usize>,
}

impl Config {
    /// Whether the checkpoint of an epoch, from 1, is kept because of its number.
    pub(crate) fn is_checkpoint_epoch(&self, epoch: usize) -> bool {
        let interval = self.checkpoints.checkpoint_interval;
        interval.is_some_and(|interval| epoch.is_multiple_of(interval))
    }
}
