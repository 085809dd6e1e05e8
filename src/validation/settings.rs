//! Settings of validation, and of what follows from its results.

use serde::Serialize;

use super::metric::{Ks, Metric};
use crate::config::{Config, ConfigError};
use crate::layers::at_least_one;

/// How often and what is validated, and when that ends a run.
#[derive(Clone, Debug, PartialEq, Serialize, clap::Args)]
#[serde(rename_all = "kebab-case")]
pub struct ValidationSettings {
    /// Validate, and write checkpoints, after every N epochs and after the last one
    #[arg(
        long,
        value_name = "N",
        default_value_t = 1,
        value_parser = at_least_one,
        help_heading = "Validation"
    )]
    pub val_interval: usize,

    /// Further k of which the validation accuracy is logged, such as 1,3,10, beside 1 and --topk
    #[arg(long, value_name = "K,…", help_heading = "Validation")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub val_topk: Option<Ks>,

    /// With --model-ema-decay: also validate the raw weights; the best epochs are those of the average
    #[arg(long, num_args = 0..=1, default_value_t = false, default_missing_value = "true", action = clap::ArgAction::Set, hide_default_value = true, help_heading = "Validation")]
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub val_raw: bool,

    /// Validation result of which --patience and --checkpoint-hist take the best: loss, top1, or top-k accuracy for
    /// any k, such as top5; loss and further k get a best checkpoint of their own [default: that of --topk]
    #[arg(long, value_name = "METRIC", help_heading = "Validation")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub eval_metric: Option<Metric>,

    /// Stop early, when --eval-metric has not become better in N validations in a row
    #[arg(long, value_name = "N", value_parser = at_least_one, help_heading = "Validation")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub patience: Option<usize>,

    /// By how much --eval-metric must be better to count for --patience, in percentage points or units of the loss
    /// [default: 0]
    #[arg(long, value_name = "X", help_heading = "Validation")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_delta: Option<f64>,
}

impl Config {
    /// The metric by which epochs are compared.
    pub(crate) fn eval_metric(&self) -> Metric {
        let metric = self.validation.eval_metric;
        metric.unwrap_or_else(|| Metric::Top(self.topk()))
    }

    /// The k of validation accuracies beside 1 and that of the loss.
    pub(crate) fn further_ks(&self) -> Vec<usize> {
        let mut ks = match &self.validation.val_topk {
            Some(ks) => ks.0.clone(),
            None => Vec::new(),
        };
        if let Metric::Top(k) = self.eval_metric() {
            ks.push(k);
        }
        ks.retain(|&k| k != 1 && k != self.topk());
        ks.sort_unstable();
        ks.dedup();
        ks
    }

    /// The first setting, as its flag, whose k is larger than a number of classes.
    pub(crate) fn first_k_above(&self, classes: usize) -> Option<String> {
        let ks = self.validation.val_topk.iter().flat_map(|ks| &ks.0);
        let of_metric = match self.validation.eval_metric {
            Some(Metric::Top(k)) => Some((k, format!("eval-metric top{k}"))),
            _ => None,
        };
        let mut settings = std::iter::once((self.topk(), format!("topk {}", self.topk())))
            .chain(ks.map(|&k| (k, format!("val-topk {k}"))))
            .chain(of_metric);
        settings.find_map(|(k, setting)| (k > classes).then_some(setting))
    }

    /// Whether an epoch, from 1, is validated: as in timm, every so many epochs and at the end; and if it is to have a
    /// checkpoint.
    pub(crate) fn validates(&self, epoch: usize) -> bool {
        epoch.is_multiple_of(self.validation.val_interval)
            || epoch == self.epochs
            || self.is_checkpoint_epoch(epoch)
    }

    /// What is decided about which epochs are validated, as lines.
    pub(crate) fn validation_decisions(&self) -> Vec<String> {
        let every = self.validation.val_interval;
        let mut lines = Vec::new();
        if every > self.epochs {
            lines.push(format!(
                "--val-interval {every}: only the last of {} epochs is validated",
                self.epochs
            ));
        }
        if let Some(kept) = self.checkpoints.checkpoint_interval
            && !kept.is_multiple_of(every)
        {
            lines.push(format!(
                "--checkpoint-interval {kept}: these epochs are validated beside those of --val-interval {every}"
            ));
        }
        lines
    }

    /// By how much a validation must be better to count for --patience.
    pub(crate) fn min_delta(&self) -> f64 {
        self.validation.min_delta.unwrap_or_default()
    }
}

impl ValidationSettings {
    /// Whether more is of interest than the accuracies for 1 and the k of the loss.
    pub(crate) fn has_further_results(&self) -> bool {
        self.val_topk.is_some() || self.val_raw || self.eval_metric.is_some()
    }

    /// Checks everything that does not depend on the data.
    ///
    /// # Errors
    /// If a setting is out of range or has no effect; the message names the flag.
    pub(crate) fn check(&self, config: &Config) -> Result<(), ConfigError> {
        if let Some(delta) = self.min_delta {
            if !(delta.is_finite() && delta >= 0.0) {
                return Err(ConfigError::out_of_range(
                    "min-delta",
                    "a finite number of at least 0",
                    delta,
                ));
            }
            if self.patience.is_none() {
                return Err(ConfigError::no_effect(
                    format!("min-delta {delta}"),
                    "without --patience",
                    "give the number of validations with --patience",
                ));
            }
        }
        if self.val_raw && config.model_ema_decay.is_none() {
            return Err(ConfigError::no_effect(
                "val-raw",
                "without --model-ema-decay: the raw weights are those that are validated",
                "give --model-ema-decay",
            ));
        }
        Ok(())
    }
}
