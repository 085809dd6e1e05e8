use std::path::PathBuf;

use clap::ValueEnum;
use serde::{Serialize, Serializer};
use thiserror::Error;
use topk_data::Format;
use topk_image::augment::{Augmentation, Mixing};
use topk_models::Classifier;
use topk_native::Device;
use topk_ops::LossName;

use crate::loss::LossSettings;
use crate::schedule::{Schedule, ScheduleKind};

/// Everything that decides a run.
///
/// It is at once the flags of `topk-train`, the keys of a recipe, and what a run's log begins with:
/// under the same names.
#[derive(Clone, Debug, PartialEq, Serialize, clap::Args)]
#[serde(rename_all = "kebab-case")]
pub struct Config {
    /// Data set: CIFAR-10 or CIFAR-100 as folder or .tar.gz, class folders, ImageNet's tar file of tar
    /// files, WebDataset shards or parquet files, or a folder with such parts (train and test or val)
    #[arg(long, value_name = "PATH", help_heading = "Data")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data: Option<PathBuf>,

    /// Its format [default: what is found]
    #[arg(long, help_heading = "Data")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub format: Option<Format>,

    /// Validation images, instead of a part of the training images
    #[arg(
        long,
        value_name = "PATH",
        conflicts_with = "val_size",
        help_heading = "Data"
    )]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub val_data: Option<PathBuf>,

    /// Test images [default: those in --data, if there are any]
    #[arg(long, value_name = "PATH", help_heading = "Data")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub test_data: Option<PathBuf>,

    /// Train on so many images, in classes as many of each [default: all that are left]
    #[arg(long, value_name = "N", help_heading = "Data")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub train_size: Option<usize>,

    /// Training images held out for validation, in classes as many of each [default: a tenth; 50 a class
    /// of ImageNet]
    #[arg(long, value_name = "N", help_heading = "Data")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub val_size: Option<usize>,

    /// Probability that a training label is replaced by a random one of its group of five classes
    #[arg(long, value_name = "P", default_value_t = 0.0, help_heading = "Data")]
    pub noise: f64,

    /// Height and width of the network's input [default: that of CIFAR's images, 224 for others]
    #[arg(long, value_name = "PIXELS", help_heading = "Data")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image_size: Option<usize>,

    /// Resize the shorter side of training images to this before they are augmented
    #[arg(long, value_name = "PIXELS", help_heading = "Data")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub train_resize: Option<u32>,

    /// Resize the shorter side of validation images to this before the centre is cropped
    /// [default: 8/7 of --image-size; CIFAR's images stay as they are]
    #[arg(long, value_name = "PIXELS", help_heading = "Data")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub val_resize: Option<u32>,

    /// The same for test images, and for whoever is served the models, which say so
    /// [default: that of validation images]
    #[arg(long, value_name = "PIXELS", help_heading = "Data")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub test_resize: Option<u32>,

    /// Average ten crops of each test image at the end: the corners and the centre, and mirrored
    #[arg(long, num_args = 0..=1, default_value_t = false, default_missing_value = "true", action = clap::ArgAction::Set, help_heading = "Data")]
    pub ten_crops: bool,

    /// What is done at random to training images, such as crop:4,flip or
    /// resized-crop:224,flip,rand-augment:2:9; none for nothing [default: crop:4,flip for CIFAR, else a
    /// resized crop and flip]
    #[arg(long, help_heading = "Data")]
    #[serde(
        skip_serializing_if = "Option::is_none",
        serialize_with = "optional_text"
    )]
    pub augment: Option<Augmentation>,

    /// Mix the images of a batch: mixup:0.2, cutmix:1, or both with a comma between them
    #[arg(long, help_heading = "Data")]
    #[serde(
        skip_serializing_if = "Option::is_none",
        serialize_with = "optional_text"
    )]
    pub mix: Option<Mixing>,

    /// What becomes of training images that cannot be read
    #[arg(long, value_enum, default_value = "stop", help_heading = "Data")]
    pub on_bad_image: OnBad,

    /// Network, such as densenet-40-40 or resnet18: --list-models has all
    #[arg(
        long,
        value_name = "NAME",
        default_value = "densenet-40-40",
        help_heading = "Network"
    )]
    pub model: String,

    /// Weights to start from: a checkpoint, or a safetensors or PyTorch file (.pth, .pt) from elsewhere
    #[arg(long, value_name = "FILE", help_heading = "Network")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weights: Option<PathBuf>,

    /// What becomes of the last layer in --weights
    #[arg(
        long,
        value_enum,
        default_value = "keep",
        requires = "weights",
        help_heading = "Network"
    )]
    #[serde(skip_serializing_if = "is_kept")]
    pub head: Classifier,

    /// The loss, with its settings
    #[command(flatten)]
    #[serde(flatten)]
    pub loss: LossSettings,

    /// The k of top-k, for the loss and for the accuracy
    #[arg(long, value_name = "K", default_value_t = 5, help_heading = "Loss")]
    pub topk: usize,

    /// Passes over the training images
    #[arg(
        long,
        value_name = "N",
        default_value_t = 300,
        help_heading = "Optimisation"
    )]
    pub epochs: usize,

    /// Training images in a batch
    #[arg(
        long,
        value_name = "N",
        default_value_t = 64,
        help_heading = "Optimisation"
    )]
    pub batch_size: usize,

    /// Batches whose gradients are averaged for a step
    #[arg(
        long,
        value_name = "N",
        default_value_t = 1,
        help_heading = "Optimisation"
    )]
    pub accumulate: usize,

    /// Images evaluated at once
    #[arg(
        long,
        value_name = "N",
        default_value_t = 256,
        help_heading = "Optimisation"
    )]
    pub test_batch_size: usize,

    /// Largest learning rate
    #[arg(long, default_value_t = 0.1, help_heading = "Optimisation")]
    pub lr: f64,

    /// How the learning rate falls
    #[arg(
        long,
        value_enum,
        default_value = "step",
        help_heading = "Optimisation"
    )]
    pub schedule: ScheduleKind,

    /// Epochs, from 1, at whose start the learning rate is divided by ten, such as 151,226
    /// [default: after half and three quarters of the epochs]
    #[arg(
        long,
        value_name = "EPOCH,…",
        value_delimiter = ',',
        help_heading = "Optimisation"
    )]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub milestones: Option<Vec<usize>>,

    /// Epochs in which the learning rate rises to --lr in equal steps
    #[arg(
        long,
        value_name = "N",
        default_value_t = 0,
        help_heading = "Optimisation"
    )]
    pub warmup_epochs: usize,

    /// Nesterov momentum
    #[arg(long, default_value_t = 0.9, help_heading = "Optimisation")]
    pub momentum: f64,

    /// Weight decay, of all trainable parameters
    #[arg(long, default_value_t = 1e-4, help_heading = "Optimisation")]
    pub weight_decay: f64,

    /// Scale gradients down to this Euclidean norm
    #[arg(long, value_name = "NORM", help_heading = "Optimisation")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clip_norm: Option<f64>,

    /// Average the weights of all steps with this decay, such as 0.999: the average is then what is
    /// validated and kept
    #[arg(long, value_name = "DECAY", help_heading = "Optimisation")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ema: Option<f64>,

    /// What becomes of a step whose loss or gradient is not finite
    #[arg(
        long,
        value_enum,
        default_value = "stop",
        help_heading = "Optimisation"
    )]
    pub on_nan: OnBad,

    /// Compute convolutions and products of matrices in bfloat16
    #[arg(long, num_args = 0..=1, default_value_t = false, default_missing_value = "true", action = clap::ArgAction::Set, help_heading = "Machine")]
    pub amp: bool,

    /// Lay out the channels of a pixel side by side in memory
    #[arg(long, num_args = 0..=1, default_value_t = false, default_missing_value = "true", action = clap::ArgAction::Set, help_heading = "Machine")]
    pub channels_last: bool,

    /// Where to compute: auto, cpu, cuda or cuda:N
    #[arg(long, default_value_t, help_heading = "Machine")]
    #[serde(serialize_with = "text")]
    pub device: Device,

    /// Threads [default: one a processor]
    #[arg(long, value_name = "N", help_heading = "Machine")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub threads: Option<usize>,

    /// Seed of initial weights, label noise, order and augmentation
    #[arg(long, default_value_t = 0, help_heading = "Optimisation")]
    pub seed: u32,
}

/// What becomes of something that cannot be used.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum OnBad {
    /// The run stops, and says what is wrong
    Stop,
    /// It is left out, and counted
    Skip,
}

/// A value that no run can have.
#[derive(Clone, Debug, Error, PartialEq)]
#[error("--{flag} must be {expected}, got {found}")]
pub struct ConfigError {
    flag: &'static str,
    expected: &'static str,
    found: String,
}

impl ConfigError {
    pub(crate) fn no_data() -> Self {
        Self {
            flag: "data",
            expected: "given",
            found: "nothing".to_owned(),
        }
    }
}

impl Config {
    /// Checks what does not depend on the data.
    ///
    /// # Errors
    /// If a value is out of its range; the message names its flag.
    pub fn check(&self) -> Result<(), ConfigError> {
        let fail = |flag, expected, found: String| {
            Err(ConfigError {
                flag,
                expected,
                found,
            })
        };
        for (flag, value) in [
            ("topk", Some(self.topk)),
            ("epochs", Some(self.epochs)),
            ("batch-size", Some(self.batch_size)),
            ("accumulate", Some(self.accumulate)),
            ("test-batch-size", Some(self.test_batch_size)),
            ("draws", Some(self.loss.draws)),
            ("threads", self.threads),
            ("train-size", self.train_size),
            ("val-size", self.val_size),
            ("image-size", self.image_size),
        ] {
            if value == Some(0) {
                return fail(flag, "at least 1", "0".to_owned());
            }
        }
        for (flag, value) in [
            ("lr", self.lr),
            ("weight-decay", self.weight_decay),
            ("epsilon", self.loss.epsilon),
        ] {
            if !(value.is_finite() && value >= 0.0) {
                return fail(flag, "a finite number of at least 0", value.to_string());
            }
        }
        for (flag, value) in [
            ("momentum", self.momentum),
            ("label-smoothing", self.loss.label_smoothing),
            ("ema", self.ema.unwrap_or_default()),
        ] {
            if !(0.0..1.0).contains(&value) {
                return fail(flag, "at least 0 and below 1", value.to_string());
            }
        }
        if let Some(norm) = self.clip_norm
            && !(norm.is_finite() && norm > 0.0)
        {
            return fail("clip-norm", "a finite number above 0", norm.to_string());
        }
        if !(0.0..=1.0).contains(&self.noise) {
            return fail("noise", "from 0 to 1", self.noise.to_string());
        }
        if self.loss.label_smoothing > 0.0 && self.loss.name != LossName::CrossEntropy {
            return fail(
                "label-smoothing",
                "0 with this --loss",
                self.loss.label_smoothing.to_string(),
            );
        }
        if self.warmup_epochs >= self.epochs {
            let found = self.warmup_epochs.to_string();
            return fail("warmup-epochs", "below --epochs", found);
        }
        if self.data.is_none() {
            return Err(ConfigError::no_data());
        }
        Ok(())
    }

    /// With what is decided by other settings filled in.
    pub fn resolved(mut self) -> Self {
        let milestones = || Schedule::halves(self.epochs);
        self.milestones = match self.schedule {
            ScheduleKind::Step => Some(self.milestones.take().unwrap_or_else(milestones)),
            ScheduleKind::Cosine => None,
        };
        self
    }

    /// The settings, as a recipe has them.
    pub(crate) fn to_map(&self) -> serde_json::Map<String, serde_json::Value> {
        match serde_json::to_value(self) {
            Ok(serde_json::Value::Object(map)) => map,
            other => unreachable!("a struct of plain fields is an object: {other:?}"),
        }
    }
}

fn is_kept(head: &Classifier) -> bool {
    *head == Classifier::Keep
}

fn text<S: Serializer>(value: &impl ToString, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&value.to_string())
}

fn optional_text<S: Serializer>(
    value: &Option<impl ToString>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match value {
        Some(value) => serializer.serialize_str(&value.to_string()),
        None => serializer.serialize_none(),
    }
}
