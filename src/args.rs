//! The command line of `topk-train`, as typed; [`Args::config`] makes decisions of it.

use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use clap::{Parser, ValueEnum};
use topk_models::Classifier;
use topk_native::Device;

use crate::config::{Config, DataSet, LossKind};
use crate::schedule::Schedule;

/// Train an image classifier for top-k accuracy.
///
/// Leaves in the folder --out: log.jsonl, and the checkpoints with the best top-1 (best1) and top-k
/// (bestk) accuracy on the validation images, each as safetensors and as ONNX.
#[derive(Clone, Debug, Parser)]
#[command(
    name = "topk-train",
    version,
    max_term_width = 100,
    args_override_self = true
)]
pub struct Args {
    /// Print the names of all networks, with their parameters and multiply-adds, and do nothing else
    #[arg(long, exclusive = true)]
    list_models: bool,

    /// Data set
    #[arg(long, value_enum, required_unless_present = "list_models")]
    data: Option<DataSet>,

    /// Folder of the data set
    #[arg(long, value_name = "DIR", required_unless_present = "list_models")]
    root: Option<PathBuf>,

    /// Network, such as basic-32 or resnet18-cifar: --list-models has all
    #[arg(long, value_name = "NAME", default_value = "basic-32")]
    model: String,

    /// Weights to start from: a checkpoint, or a safetensors or PyTorch file (.pth, .pt) from elsewhere
    #[arg(long, value_name = "FILE")]
    weights: Option<PathBuf>,

    /// What becomes of the last layer in --weights
    #[arg(long, value_enum, default_value = "keep", requires = "weights")]
    head: Classifier,

    /// Loss: smooth top-k SVM or cross-entropy
    #[arg(long, value_enum, default_value = "svm")]
    loss: LossName,

    /// The k of top-k, for the loss and for the accuracy
    #[arg(long, value_name = "K", default_value_t = 5)]
    topk: usize,

    /// Temperature of the svm loss, in units of the scores
    #[arg(long, default_value_t = 1.0)]
    tau: f64,

    /// Margin of the svm loss, in units of the scores
    #[arg(long, default_value_t = 1.0)]
    alpha: f64,

    /// Probability that a training label is replaced by a random one of its group of five classes
    #[arg(long, value_name = "P", default_value_t = 0.0)]
    noise: f64,

    /// Training images held out for validation [default: a tenth]
    #[arg(long, value_name = "N")]
    val_size: Option<usize>,

    /// Do not crop and flip the training images at random
    #[arg(long)]
    no_augment: bool,

    /// Passes over the training images
    #[arg(long, value_name = "N", default_value_t = 300)]
    epochs: usize,

    /// Training images in a step
    #[arg(long, value_name = "N", default_value_t = 64)]
    batch_size: usize,

    /// Images evaluated at once
    #[arg(long, value_name = "N", default_value_t = 256)]
    test_batch_size: usize,

    /// Learning rate at the start
    #[arg(long, default_value_t = 0.1)]
    lr: f64,

    /// Epochs, from 1, at whose start the learning rate is divided by ten, such as 151,226
    /// [default: after half and three quarters of the epochs]
    #[arg(long, value_name = "EPOCH,…", value_delimiter = ',')]
    lr_schedule: Option<Vec<usize>>,

    /// Nesterov momentum
    #[arg(long, default_value_t = 0.9)]
    momentum: f64,

    /// Weight decay, of all trainable parameters
    #[arg(long, default_value_t = 1e-4)]
    weight_decay: f64,

    /// Seed of initial weights, label noise, order and augmentation
    #[arg(long, default_value_t = 0)]
    seed: u64,

    /// Where to compute: auto, cpu, cuda or cuda:N
    #[arg(long, default_value_t)]
    device: Device,

    /// Threads [default: one a processor]
    #[arg(long, value_name = "N")]
    threads: Option<usize>,

    /// Folder to write to; made if it does not exist
    #[arg(long, value_name = "DIR", required_unless_present = "list_models")]
    out: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum LossName {
    Svm,
    Ce,
}

impl Args {
    /// Whether only the networks are to be listed.
    pub fn list_models(&self) -> bool {
        self.list_models
    }

    /// The run that the arguments ask for.
    ///
    /// # Errors
    /// If a value is out of its range, or missing.
    pub fn config(self) -> Result<Config> {
        ensure!(self.topk >= 1, "--topk must be at least 1, got 0");
        for (flag, value) in [
            ("--epochs", Some(self.epochs)),
            ("--batch-size", Some(self.batch_size)),
            ("--test-batch-size", Some(self.test_batch_size)),
            ("--threads", self.threads),
        ] {
            ensure!(value != Some(0), "{flag} must be at least 1, got 0");
        }
        for (flag, value) in [
            ("--lr", self.lr),
            ("--momentum", self.momentum),
            ("--weight-decay", self.weight_decay),
        ] {
            ensure!(
                value.is_finite() && value >= 0.0,
                "{flag} must be a finite number of at least 0, got {value}"
            );
        }
        // libtorch defines Nesterov momentum only so.
        ensure!(self.momentum > 0.0, "--momentum must be above 0, got 0");
        Ok(Config {
            data: self.data.context("--data is needed to train")?,
            root: self.root.context("--root is needed to train")?,
            model: self.model,
            weights: self.weights,
            head: self.head,
            loss: match self.loss {
                LossName::Svm => LossKind::Svm {
                    tau: self.tau,
                    alpha: self.alpha,
                },
                LossName::Ce => LossKind::CrossEntropy,
            },
            topk: self.topk,
            noise: self.noise,
            val_size: self.val_size,
            augment: !self.no_augment,
            epochs: self.epochs,
            batch_size: self.batch_size,
            test_batch_size: self.test_batch_size,
            lr: self.lr,
            schedule: match self.lr_schedule {
                Some(milestones) => Schedule::new(milestones),
                None => Schedule::halves(self.epochs),
            },
            momentum: self.momentum,
            weight_decay: self.weight_decay,
            seed: self.seed,
            device: self.device,
            threads: self.threads,
            out: self.out.context("--out is needed to train")?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    fn parse(extra: &str) -> Args {
        let required = "topk-train --data cifar100 --root DIR --out OUT ";
        Args::parse_from((required.to_owned() + extra).split_whitespace())
    }

    #[test]
    fn flags_are_well_formed() {
        Args::command().debug_assert();
    }

    #[test]
    fn models_are_listed_without_a_data_set() {
        let parse = |flags: &str| Args::try_parse_from(flags.split(' '));
        assert!(parse("topk-train --list-models").unwrap().list_models());
        assert!(!self::parse("").list_models());
        assert!(parse("topk-train").is_err());
        assert!(parse("topk-train --list-models --topk 5").is_err());
    }

    #[test]
    fn defaults_are_the_seed_codes() {
        let config = parse("").config().unwrap();
        assert_eq!(
            config.loss,
            LossKind::Svm {
                tau: 1.0,
                alpha: 1.0
            }
        );
        assert_eq!(config.schedule, Schedule::new([151, 226]));
        assert_eq!(
            (config.topk, config.epochs, config.batch_size),
            (5, 300, 64)
        );
        assert_eq!(
            (config.lr, config.momentum, config.weight_decay),
            (0.1, 0.9, 1e-4)
        );
    }

    #[test]
    fn values_out_of_range_are_named() {
        for (flags, message) in [
            ("--topk 0", "--topk must be at least 1, got 0"),
            ("--epochs 0", "--epochs must be at least 1, got 0"),
            (
                "--lr nan",
                "--lr must be a finite number of at least 0, got NaN",
            ),
            ("--momentum 0", "--momentum must be above 0, got 0"),
        ] {
            assert_eq!(parse(flags).config().unwrap_err().to_string(), message);
        }
    }
}
