mod check;

use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::ValueEnum;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use serde_json::Value;
use toml::Table;
use topk_data::Format;
use topk_image::augment::{Augmentation, Mixing};
use topk_models::Classifier;
use topk_native::Device;
use topk_preprocessing::{Crops, ImageMode};

use crate::batching::{Batching, LastBatch};
use crate::checkpoints::CheckpointSettings;
use crate::dataset::{AugmentSettings, SamplingSettings};
use crate::layers::{Settings, at_least_one};
use crate::logging::LoggingSettings;
use crate::loss::LossSettings;
use crate::machine::Machine;
use crate::optimizer::OptimizerSettings;
use crate::order::Shuffle;
use crate::recipe;
use crate::schedule::{Milestones, ScheduleSettings};
use crate::trainer::Images;
use crate::validation::ValidationSettings;

pub(crate) use check::ConfigError;

/// The k of the paper.
pub(crate) const TOPK: usize = 5;

/// All settings of a run.
///
/// The flags of `topk-train`, the keys of a recipe and the keys of the configuration in a run's log are the
/// fields of this struct in kebab-case; what is deserialised has the same keys.
///
/// ```no_run
/// let mut config: topk_train::Config = serde_json::from_str(r#"{"loss": "ce", "lr": 0.2}"#)?;
/// config.epochs = 30;
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, clap::Args)]
#[serde(rename_all = "kebab-case")]
pub struct Config {
    /// Data set: CIFAR-10 or CIFAR-100 (folder or .tar.gz), class folders, ImageNet's tar file, WebDataset
    /// shards, parquet files, a folder with the parts train and val or test, or a .csv or .json file with path, label
    /// and optionally split of each image
    #[arg(long, value_name = "PATH", help_heading = "Data")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data: Option<PathBuf>,

    /// Format of --data [default: detected]
    #[arg(long, help_heading = "Data")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub format: Option<Format>,

    /// timm's class map: one class per line (folder name, label or WordNet ID), optionally followed by its index;
    /// images of other classes are left out [default: classes in the order of their names]
    #[arg(long, value_name = "FILE", help_heading = "Data")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub class_map: Option<PathBuf>,

    /// Validation images [default: held out from the training images]
    #[arg(
        long,
        value_name = "PATH",
        conflicts_with = "val_size",
        help_heading = "Data"
    )]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub val_data: Option<PathBuf>,

    /// Test images [default: the test part of --data, if it has one]
    #[arg(long, value_name = "PATH", help_heading = "Data")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub test_data: Option<PathBuf>,

    /// Number of training images: the same number per class where the classes have it, otherwise in proportion
    /// to their images (CIFAR: drawn regardless of class) [default: all that are not held out]
    #[arg(long, value_name = "N", help_heading = "Data")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub train_size: Option<usize>,

    /// Number of training images held out for validation: the same number per class where the classes have it,
    /// otherwise in proportion to their images (CIFAR: drawn regardless of class) [default: a tenth of each
    /// class; CIFAR: a tenth of the images; ImageNet: 50 per class]
    #[arg(long, value_name = "N", help_heading = "Data")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub val_size: Option<usize>,

    /// Label noise: probability of replacing a training label by a random one from its group of five classes
    #[arg(long, value_name = "P", default_value_t = 0.0, help_heading = "Data")]
    pub noise: f64,

    /// Train on a long-tailed part of the training images: the first class has FACTOR times the images of the last,
    /// and those between fall exponentially, as in CIFAR-100-LT
    #[arg(long, value_name = "FACTOR", help_heading = "Data")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub imbalance_factor: Option<f64>,

    /// Size of the network's input: one number for height and width, height and width, or channels, height and width
    /// [default: 32 for CIFAR, 224 otherwise]
    #[arg(
        long,
        value_name = "PIXELS",
        num_args = 1..=3,
        value_delimiter = ',',
        action = clap::ArgAction::Set,
        help_heading = "Data"
    )]
    #[serde(
        skip_serializing_if = "Option::is_none",
        serialize_with = "one_or_several"
    )]
    pub input_size: Option<Vec<usize>>,

    /// Channels of the network's input: 3 for red, green and blue, or 1, for which images are converted to grey
    /// [default: that of --input-size, or 3]
    #[arg(long, value_name = "N", help_heading = "Data")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub in_chans: Option<usize>,

    /// Resize the shorter side of training images to this before augmentation
    #[arg(long, value_name = "PIXELS", help_heading = "Data")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub train_resize: Option<u32>,

    /// Resize the shorter side of validation images to this before the centre crop
    /// [default: 8/7 of --input-size; CIFAR: no resizing]
    #[arg(long, value_name = "PIXELS", help_heading = "Data")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub val_resize: Option<u32>,

    /// The same for test images; also recorded in the exported models [default: --val-resize]
    #[arg(long, value_name = "PIXELS", help_heading = "Data")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub test_resize: Option<u32>,

    /// Crops per image in the final test, whose scores are averaged
    #[arg(
        long,
        value_name = "CROPS",
        value_enum,
        default_value = "center",
        help_heading = "Data"
    )]
    pub test_crops: Crops,

    /// Random augmentations for training images, such as crop:4,flip or
    /// resized-crop:224,flip,rand-augment:2:9; none to disable
    /// [default: crop:4,flip for CIFAR, else resized-crop:SIZE,flip]
    #[arg(long, help_heading = "Data")]
    #[serde(
        skip_serializing_if = "Option::is_none",
        serialize_with = "optional_text"
    )]
    pub augment: Option<Augmentation>,

    /// Augmentation in timm's words.
    #[command(flatten)]
    #[serde(flatten)]
    pub augmenting: AugmentSettings,

    /// Mix the images of each batch: mixup:ALPHA, cutmix:ALPHA, or both separated by a comma
    #[arg(long, help_heading = "Data")]
    #[serde(
        skip_serializing_if = "Option::is_none",
        serialize_with = "optional_text"
    )]
    pub mix: Option<Mixing>,

    /// How training images are shuffled: full mixes all, shards reads each shard once per epoch
    /// [default: full; shards for data on a server]
    #[arg(long, value_enum, help_heading = "Data")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shuffle: Option<Shuffle>,

    /// Number of images that --shuffle shards mixes with each other [default: 4096]
    #[arg(long, value_name = "N", help_heading = "Data", value_parser = at_least_one)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shuffle_buffer: Option<usize>,

    /// Which images an epoch has.
    #[command(flatten)]
    #[serde(flatten)]
    pub sampling: SamplingSettings,

    /// What to do with images that cannot be read
    #[arg(long, value_enum, default_value = "fail", help_heading = "Data")]
    pub on_bad_image: ErrorPolicy,

    /// Network, such as densenet-40-40 or resnet18; see --list-models
    /// [default: that of --checkpoint; without one, densenet-40-40 for CIFAR and resnet18 otherwise]
    #[arg(long, value_name = "NAME", help_heading = "Network")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,

    /// Start from the weights in this file: a checkpoint of topk-train, safetensors, or PyTorch (.pth, .pt)
    #[arg(long, value_name = "FILE", help_heading = "Network")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub checkpoint: Option<PathBuf>,

    /// What to do with the weights of the last layer in --checkpoint
    #[arg(long, value_enum, default_value = "keep", help_heading = "Network")]
    #[serde(skip_serializing_if = "is_kept")]
    pub classifier: Classifier,

    /// Loss and its settings.
    #[command(flatten)]
    #[serde(flatten)]
    pub loss: LossSettings,

    /// The k of the loss and of the top-k accuracy [default: 5; less if there are fewer than 6 classes]
    #[arg(long, value_name = "K", help_heading = "Loss")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub topk: Option<usize>,

    /// Number of epochs
    #[arg(
        long,
        value_name = "N",
        default_value_t = 300,
        help_heading = "Optimisation"
    )]
    pub epochs: usize,

    /// Training batch size; with several ranks, that of each
    // That of all ranks together once a run begins; see `Config::for_ranks`.
    #[arg(
        long,
        value_name = "N",
        default_value_t = 64,
        help_heading = "Optimisation"
    )]
    pub batch_size: usize,

    /// Training batch size of all ranks together, in place of --batch-size
    #[arg(
        long,
        value_name = "N",
        conflicts_with = "batch_size",
        help_heading = "Optimisation"
    )]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub global_batch_size: Option<usize>,

    /// Several ranks: compute the statistics of batch normalisation over the images of all ranks, not of each
    #[arg(long, num_args = 0..=1, default_value_t = false, default_missing_value = "true", action = clap::ArgAction::Set, help_heading = "Optimisation")]
    pub sync_bn: bool,

    /// Leave out the last batch of each epoch if it is smaller [default: it counts, and a single image joins
    /// the batch before]
    #[arg(long, num_args = 0..=1, default_value_t = false, default_missing_value = "true", action = clap::ArgAction::Set, hide_default_value = true, help_heading = "Optimisation")]
    pub drop_last: bool,

    /// Number of batches whose gradients are averaged per optimizer step
    #[arg(
        long,
        value_name = "N",
        default_value_t = 1,
        help_heading = "Optimisation"
    )]
    pub grad_accum_steps: usize,

    /// Validation batch size
    #[arg(
        long,
        value_name = "N",
        default_value_t = 256,
        help_heading = "Optimisation"
    )]
    pub validation_batch_size: usize,

    /// Learning rate and schedule.
    #[command(flatten)]
    #[serde(flatten)]
    pub schedule: ScheduleSettings,

    /// Optimizer and its settings.
    #[command(flatten)]
    #[serde(flatten)]
    pub optimizer: OptimizerSettings,

    /// Keep an exponential moving average (EMA) of the weights with this decay, such as 0.999; it is what is
    /// validated and saved
    #[arg(long, value_name = "DECAY", help_heading = "Optimisation")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model_ema_decay: Option<f64>,

    /// Let the decay of --model-ema-decay rise from 0, as 1 - STEP^(-2/3), so that the average forgets the initial
    /// weights [default: true]
    #[arg(long, num_args = 0..=1, default_missing_value = "true", value_name = "BOOL", help_heading = "Optimisation")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model_ema_warmup: Option<bool>,

    /// What to do when the loss or a gradient of a step is not finite
    #[arg(
        long,
        value_enum,
        default_value = "fail",
        help_heading = "Optimisation"
    )]
    pub on_nan: ErrorPolicy,

    /// What is validated, and when that ends the run.
    #[command(flatten)]
    #[serde(flatten)]
    pub validation: ValidationSettings,

    /// Which checkpoints are kept.
    #[command(flatten)]
    #[serde(flatten)]
    pub checkpoints: CheckpointSettings,

    /// What the run reports.
    #[command(flatten)]
    #[serde(flatten)]
    pub logging: LoggingSettings,

    /// How the run is computed.
    #[command(flatten)]
    #[serde(flatten)]
    pub machine: Machine,

    /// Device: auto, cpu, cuda or cuda:N
    #[arg(long, default_value_t, help_heading = "Machine")]
    #[serde(serialize_with = "text")]
    pub device: Device,

    /// Number of threads for loading images and for computing on the CPU [default: one per core]
    #[arg(long, value_name = "N", help_heading = "Machine")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub workers: Option<usize>,

    /// Random seed for initial weights, label noise, shuffling and augmentation
    #[arg(long, default_value_t = 0, help_heading = "Optimisation")]
    pub seed: u32,

    /// What was decided about the settings, one line each.
    #[arg(skip)]
    #[serde(skip)]
    pub decisions: Vec<String>,
}

/// What to do with an image or a step that cannot be used.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum ErrorPolicy {
    /// Stop with an error
    Fail,
    /// Skip it and count it in the log
    Skip,
}

impl Default for Config {
    /// The defaults of the command line.
    fn default() -> Self {
        let settings = Settings::combine(Vec::new());
        settings.expect("the defaults are valid").config
    }
}

impl<'de> Deserialize<'de> for Config {
    /// From the keys and values of a recipe, which are the flags of `topk-train`; the others have their defaults.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let table = Table::deserialize(deserializer)?;
        let settings = recipe::settings("the settings", table);
        let combined = settings.and_then(|settings| Settings::combine(vec![settings]));
        Ok(combined.map_err(de::Error::custom)?.config)
    }
}

impl Config {
    /// A line about milestones after the last epoch.
    pub(crate) fn unreached_milestones(&self) -> Option<String> {
        let milestones = self
            .schedule
            .decay_milestones
            .iter()
            .flat_map(|milestones| &milestones.0);
        let beyond: Vec<usize> = milestones
            .copied()
            .filter(|&first| first > self.epochs)
            .collect();
        (!beyond.is_empty()).then(|| {
            let (beyond, epochs) = (Milestones(beyond), self.epochs);
            format!("--decay-milestones {beyond}: not reached in --epochs {epochs}")
        })
    }

    /// The settings with defaults that depend on other settings filled in.
    pub(crate) fn resolved(mut self) -> Self {
        self.schedule = self.schedule.resolved(self.epochs, self.optimizer.name);
        self.optimizer = self.optimizer.resolved();
        if self.model_ema_decay.is_some() {
            self.model_ema_warmup.get_or_insert(true);
        }
        self.machine = self.machine.resolved();
        self
    }

    /// The settings of a run on the given images, whose data set they name.
    pub(crate) fn with_images(mut self, images: &Images) -> Result<Self, ConfigError> {
        for (flag, path) in [
            ("data", &self.data),
            ("val-data", &self.val_data),
            ("test-data", &self.test_data),
        ] {
            if let Some(path) = path {
                return Err(ConfigError::out_of_range(
                    flag,
                    "absent, because the images are given",
                    path.display().to_string(),
                ));
            }
        }
        self.data = Some(images.training.description().path);
        Ok(self)
    }

    /// The settings of a run with so many ranks: the batch size is that of all ranks together, which decides the weights.
    pub(crate) fn for_ranks(mut self, ranks: usize) -> Self {
        let given = self.batch_size.saturating_mul(ranks);
        self.batch_size = self.global_batch_size.take().unwrap_or(given);
        self
    }

    /// The network; empty until it is known from the data.
    pub(crate) fn model(&self) -> &str {
        self.model.as_deref().unwrap_or_default()
    }

    /// The k of the loss and of the top-k accuracy; that of the paper until it is known from the data.
    pub(crate) fn topk(&self) -> usize {
        self.topk.unwrap_or(TOPK)
    }

    /// The channels in --input-size, if they are given.
    pub(crate) fn channels_of_size(&self) -> Option<usize> {
        match self.input_size.as_deref() {
            Some(&[channels, _, _]) => Some(channels),
            _ => None,
        }
    }

    /// Channels of the network's input, if they are given.
    pub(crate) fn input_channels(&self) -> Option<usize> {
        self.in_chans.or(self.channels_of_size())
    }

    /// The mode that images are converted to, as in timm: grey for a network of one channel.
    pub(crate) fn image_mode(&self) -> ImageMode {
        let mode = self.input_channels().and_then(ImageMode::of_channels);
        mode.unwrap_or_default()
    }

    /// Height and width of the network's input, if they are given.
    pub(crate) fn input_sides(&self) -> Option<[usize; 2]> {
        match self.input_size.as_deref()? {
            [side] => Some([*side; 2]),
            [.., height, width] => Some([*height, *width]),
            [] => None,
        }
    }

    /// Number of images of all ranks per optimizer step.
    pub(crate) fn images_per_step(&self) -> usize {
        self.batch_size.saturating_mul(self.grad_accum_steps)
    }

    /// The peak learning rate.
    pub(crate) fn peak_lr(&self) -> f64 {
        let images = self.images_per_step();
        self.schedule.peak_lr(self.optimizer.name, images)
    }

    /// The settings of the optimizer and the learning rate, with its peak, by the names of their flags.
    pub(crate) fn optimization(&self) -> BTreeMap<String, Value> {
        let parts = [
            serde_json::to_value(&self.optimizer),
            serde_json::to_value(&self.schedule),
        ];
        let parts = parts.into_iter().map(|part| match part {
            Ok(Value::Object(map)) => map,
            other => unreachable!("settings are an object: {other:?}"),
        });
        let mut all: BTreeMap<String, Value> = parts.flatten().collect();
        all.insert("lr".to_owned(), self.peak_lr().into());
        all
    }

    /// The settings of the training images, which have this augmentation, by the names of their flags.
    pub(crate) fn data_settings(&self, augmentation: &Augmentation) -> BTreeMap<String, Value> {
        let SamplingSettings {
            sampler,
            aug_repeats: _,
            limit_batches,
            overfit_batches,
        } = self.sampling;
        let mut all = BTreeMap::from([
            ("augment".to_owned(), augmentation.to_string().into()),
            ("sampler".to_owned(), sampler.to_string().into()),
        ]);
        let optional = [
            ("mix", self.mix.map(|mix| mix.to_string().into())),
            ("train-resize", self.train_resize.map(Value::from)),
            ("aug-repeats", self.sampling.repeats().map(Value::from)),
            ("imbalance-factor", self.imbalance_factor.map(Value::from)),
            ("limit-batches", limit_batches.map(Value::from)),
            ("overfit-batches", overfit_batches.map(Value::from)),
        ];
        let given = optional.into_iter();
        all.extend(given.filter_map(|(key, value)| Some((key.to_owned(), value?))));
        all
    }

    /// How the training images are divided into batches.
    pub(crate) fn batching(&self) -> Batching {
        Batching {
            size: self.batch_size,
            last: match self.drop_last {
                true => LastBatch::Dropped,
                false => LastBatch::NeverSingle,
            },
            limit: self.sampling.limit_batches,
        }
    }

    /// The settings as the keys and values of a recipe.
    pub(crate) fn to_map(&self) -> serde_json::Map<String, Value> {
        match serde_json::to_value(self) {
            Ok(Value::Object(map)) => map,
            other => unreachable!("a struct of plain fields is an object: {other:?}"),
        }
    }
}

fn is_kept(classifier: &Classifier) -> bool {
    *classifier == Classifier::Keep
}

/// A single value as a number.
fn one_or_several<S: Serializer>(
    values: &Option<Vec<usize>>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match values.as_deref() {
        Some([value]) => value.serialize(serializer),
        values => values.serialize(serializer),
    }
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
