//! The training, validation and test images of a run: splits, label noise and preprocessing.

mod augment_settings;
mod sampling;
mod settings;
mod split;
mod transforms;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tch::{Device, TchError};
use thiserror::Error;
use topk_data::{
    DataError, Format, ImageSet, LabelNoise, LabelNoiseError, Options, Split, SplitError, long_tail,
};
use topk_image::NormalizationTable;
use topk_image::augment::{Augmentation, AugmentationError};
use topk_labels::Classes;
use topk_preprocessing::{ImageMode, Normalization, Resize};

use crate::config::Config;
use crate::data_record::{DataRecord, Listed};
use crate::images::{ImageOptions, Images, Preparation, PreparationError, Source};
use crate::order::{Order, Shuffle};
use crate::trainer::Images as GivenImages;
use sampling::{limit_validation, order, overfit};
use split::{check_split, imbalance_decision, split, split_decisions};
use transforms::Transforms;

pub use augment_settings::{AugmentSettings, EraseMode, TrainCropMode, TrainInterpolation};
pub use settings::SamplingSettings;
pub(crate) use transforms::default_augmentation;

/// Number of classes in a group within which label noise redraws labels, as in the paper.
const NOISE_GROUP: u32 = 5;

/// The data set of a run cannot be used.
#[derive(Debug, Error)]
#[non_exhaustive]
pub(crate) enum DatasetError {
    /// A data set cannot be read.
    #[error(transparent)]
    Data(#[from] DataError),
    /// The training images cannot be split.
    #[error("{0}{advice}", advice = split_advice(.0))]
    Split(SplitError),
    /// Label noise cannot be applied.
    #[error("--noise: {0}")]
    Noise(LabelNoiseError),
    /// Preprocessing settings are out of range.
    #[error(transparent)]
    Preparation(#[from] PreparationError),
    /// The default augmentation is invalid.
    #[error(transparent)]
    Augmentation(#[from] AugmentationError),
    /// The device cannot augment like that.
    #[error(
        "--augment-on-device crops and flips to {height}x{width} pixels only, but --augment is {augmentation}: omit \
         --augment-on-device, or use an --augment such as crop:4,flip"
    )]
    AugmentOnDevice {
        /// The augmentation.
        augmentation: String,
        /// Height of the network's input.
        height: u32,
        /// Its width.
        width: u32,
    },
    /// The tensors of the data loader cannot be made.
    #[error("libtorch: {0}")]
    Tch(#[from] TchError),
    /// An image has no label.
    #[error("the image {image} of {set} has no label; training needs a label for each image")]
    Unlabelled {
        /// The data set.
        set: String,
        /// The image.
        image: String,
    },
    /// Images that are not in shards cannot be shuffled by shard.
    #[error(
        "--shuffle shards: {set} has no shards (WebDataset, Parquet and tar files have); use --shuffle full"
    )]
    NoShards {
        /// The data set.
        set: String,
    },
    /// The data set is empty.
    #[error("{set} has no images")]
    Empty {
        /// The data set.
        set: String,
    },
    /// A part of the split has no images.
    #[error(
        "none of the {images} images of {set} are left for {part}: choose a smaller --train-size or \
         --val-size, or give --val-data"
    )]
    NoneLeft {
        /// `training` or `validation`.
        part: &'static str,
        /// Number of images.
        images: usize,
        /// The data set.
        set: String,
    },
    /// No image can be held out.
    #[error(
        "no image of {set} can be held out for validation, because each class has only one: give validation \
         images with --val-data (--val-size cannot hold out the only image of a class), or add images"
    )]
    OneEach {
        /// The data set.
        set: String,
    },
    /// Two parts have different classes.
    #[error(
        "{other} has images of the class `{class}`, which the training images of {one} do not have; training, \
         validation and test images must have the same classes"
    )]
    Classes {
        /// The training images.
        one: String,
        /// The validation or test images.
        other: String,
        /// The class.
        class: String,
    },
}

/// What to do about a split that is not possible.
fn split_advice(error: &SplitError) -> &'static str {
    match error {
        SplitError::TooFew { .. } => ": choose a smaller --train-size or --val-size",
        SplitError::Class { .. } | SplitError::AllClasses { .. } => {
            ": choose a smaller --val-size, or give --val-data"
        }
        SplitError::Subset { .. } => ": choose a larger --train-size",
        _ => "",
    }
}

impl From<SplitError> for DatasetError {
    fn from(error: SplitError) -> Self {
        Self::Split(error)
    }
}

impl From<LabelNoiseError> for DatasetError {
    fn from(error: LabelNoiseError) -> Self {
        Self::Noise(error)
    }
}

/// The images of a run.
#[derive(Debug)]
pub(crate) struct Dataset {
    pub(crate) training: Arc<Images>,
    pub(crate) validation: Arc<Images>,
    /// Opened at the start, so that a missing test set is reported early; read only at the end.
    pub(crate) test: Option<ImageSet>,
    pub(crate) class_names: Vec<String>,
    /// Channels, height and width of the network's input.
    pub(crate) shape: [usize; 3],
    /// What images are converted to.
    pub(crate) mode: ImageMode,
    pub(crate) normalization: Normalization,
    /// How test images are resized.
    pub(crate) test_resize: Resize,
    /// Shorter side to which validation images are resized, if that is how they are resized.
    pub(crate) val_resize: Option<u32>,
    /// Augmentation of training images.
    pub(crate) augmentation: Augmentation,
    /// Whether the images are CIFAR's.
    pub(crate) is_cifar: bool,
    pub(crate) description: String,
    /// What was decided about the data, and what was left out: one line each.
    pub(crate) decisions: Vec<String>,
    /// What is compared when a run is resumed.
    pub(crate) record: DataRecord,
    /// Number of training images per class, by their noisy labels.
    pub(crate) class_counts: Vec<usize>,
    /// Number of training labels that the noise has changed.
    pub(crate) changed_labels: usize,
    /// How training images are shuffled.
    pub(crate) shuffle: Shuffle,
}

impl Dataset {
    /// Opens the data sets, draws splits and label noise, and prepares the loaders.
    pub(crate) fn load(
        config: &Config,
        path: &Path,
        images: Option<GivenImages>,
        device: Device,
    ) -> Result<Self, DatasetError> {
        let (mut set, given) = match images {
            Some(images) => (
                images.training,
                Some(Others {
                    validation: images.validation,
                    test: images.test,
                    decisions: Vec::new(),
                }),
            ),
            None => (open(path, config, config.format, Split::Train)?, None),
        };
        if *set.classes() == Classes::Imagenet {
            // Some classes of ImageNet are a data set of their own.
            set.keep_present_classes();
        }
        let clean = labels(&set)?;
        let noisy = noisy_labels(config, &clean, set.classes().len())?;
        let Others {
            validation: val_set,
            test,
            mut decisions,
        } = match given {
            Some(others) => others,
            None => Others::open(config, path, &set)?,
        }
        .with_classes_of(&set)?;
        let mut split = split(&set, config, val_set.is_some())?;
        check_split(&set, &split, val_set.is_some())?;
        for (part, set) in [
            ("training", Some(&set)),
            ("validation", val_set.as_ref()),
            ("test", test.as_ref()),
        ] {
            let lines = set.map(|set| set.warnings().lines()).unwrap_or_default();
            decisions.extend(lines.iter().map(|line| format!("{part} images: {line}")));
        }
        decisions.extend(split_decisions(&set, &split, config, val_set.is_some()));
        if let Some(factor) = config.imbalance_factor {
            let all = split.train.len();
            split.train = long_tail(&split.train, &clean, set.classes().len(), factor);
            decisions.push(imbalance_decision(&set, &split, factor, all));
        }
        let val_set = val_set.filter(|_| config.sampling.overfit_batches.is_none());
        decisions.extend(overfit(&mut split, config));
        let is_cifar = is_cifar(&set);
        let transforms = Transforms::new(config, is_cifar)?;
        decisions.extend(transforms.decisions(config));
        let classes = set.classes().len();
        let class_names: Vec<String> = (0..classes as u32)
            .map(|class| set.classes().name(class).into_owned())
            .collect();
        let description = set.description().to_string();
        let train_labels = select(&noisy, &split.train);
        let mut class_counts = vec![0; classes];
        for &label in &train_labels {
            class_counts[label as usize] += 1;
        }
        let changed = |&&index: &&usize| clean[index] != noisy[index];
        let changed_labels = split.train.iter().filter(changed).count();
        let held_out = match &val_set {
            Some(val_set) => listed(val_set, 0..val_set.len()),
            None => listed(&set, split.validation.iter().copied()),
        };
        let trained = listed(&set, split.train.iter().copied());
        let record = DataRecord::new(&class_names, trained, held_out);
        let (shuffle, order, lines) = order(config, &set, &split.train, &train_labels)?;
        decisions.extend(lines);
        let set = Arc::new(set);
        let mut validation = match val_set {
            Some(val_set) => Source {
                indices: (0..val_set.len()).collect(),
                labels: labels(&val_set)?.into_iter().map(i64::from).collect(),
                set: Arc::new(val_set),
            },
            // What is trained on is to be learned, noise included.
            None if config.sampling.overfit_batches.is_some() => Source {
                labels: train_labels.clone(),
                indices: split.validation,
                set: Arc::clone(&set),
            },
            // Validation labels stay clean, as in the authors' code.
            None => Source {
                labels: select(&clean, &split.validation),
                indices: split.validation,
                set: Arc::clone(&set),
            },
        };
        decisions.extend(limit_validation(
            &mut validation.indices,
            &mut validation.labels,
            config,
        ));
        let training = Source {
            set,
            indices: split.train,
            labels: train_labels,
        };
        let loader = |preparation, order| -> Result<ImageOptions, DatasetError> {
            let table = NormalizationTable::new(&transforms.normalization).in_mode(transforms.mode);
            Ok(ImageOptions {
                order,
                shape: transforms.shape,
                mode: transforms.mode,
                delivery: transforms.delivery(config, device, &preparation, &table)?,
                table,
                preparation,
                on_bad: config.on_bad_image,
                seed: config.seed,
            })
        };
        let training = Images::new(training, loader(transforms.training(config), order)?)?;
        let evaluation = Preparation::Evaluate(transforms.evaluation);
        let in_order = Order::Full(validation.indices.len());
        let validation = Images::new(validation, loader(evaluation, in_order)?)?;
        if device.is_cuda() && transforms.augmentation.erasing.is_some() {
            decisions.push(
                "training images are normalised on the CPU and travel to the GPU as f32, because random-erasing changes \
                 normalised values"
                    .to_owned(),
            );
        }
        Ok(Self {
            training: Arc::new(training),
            validation: Arc::new(validation),
            test,
            class_names,
            shape: transforms.shape,
            mode: transforms.mode,
            normalization: transforms.normalization,
            test_resize: match config.test_resize {
                Some(side) => Resize::ShorterSide(side),
                None => transforms.resize,
            },
            val_resize: match transforms.resize {
                Resize::ShorterSide(side) => Some(side),
                _ => None,
            },
            augmentation: transforms.augmentation,
            is_cifar,
            description,
            decisions,
            record,
            class_counts,
            changed_labels,
            shuffle,
        })
    }

    /// Name of a data set in the metadata of models: the last component of its path.
    pub(crate) fn name(path: &Path) -> String {
        let name = path.file_name().unwrap_or(path.as_os_str());
        name.to_string_lossy().into_owned()
    }
}

/// The training labels after label noise.
fn noisy_labels(config: &Config, clean: &[u32], classes: usize) -> Result<Vec<u32>, DatasetError> {
    let noise = LabelNoise {
        group: NOISE_GROUP,
        probability: config.noise,
    };
    Ok(match config.noise {
        0.0 => clean.to_vec(),
        _ => noise.apply(clean, classes, config.seed)?,
    })
}

/// Validation and test images that are not taken from the training images.
struct Others {
    validation: Option<ImageSet>,
    test: Option<ImageSet>,
    decisions: Vec<String>,
}

impl Others {
    /// --val-data and --test-data, or the splits val and test of --data. Without a test set, the split val is
    /// the test set, and validation images are held out of the training images, as in the paper.
    fn open(config: &Config, path: &Path, set: &ImageSet) -> Result<Self, DatasetError> {
        let mut decisions = Vec::new();
        let given = |path: &Option<PathBuf>| {
            let path = path.as_ref();
            path.map(|path| open(path, config, None, Split::Evaluation))
                .transpose()
        };
        let (given_val, given_test) = (given(&config.val_data)?, given(&config.test_data)?);
        let test = match given_test {
            Some(test) => Some(test),
            None => open_split(config, path, set, Split::Test, &mut decisions)?,
        };
        let val = open_split(config, path, set, Split::Val, &mut decisions)?;
        let (validation, test) = match (given_val, test, val) {
            (Some(given), Some(test), val) => {
                if val.is_some() {
                    decisions.push("the split val is not used, because of --val-data".to_owned());
                }
                (Some(given), Some(test))
            }
            (given, None, val) => {
                if val.is_some() {
                    let held_out = match given {
                        Some(_) => "",
                        None => "; validation images are held out of the training images",
                    };
                    decisions.push(format!("the split val is the test set{held_out}"));
                }
                (given, val)
            }
            (None, Some(test), Some(_)) if config.val_size.is_some() => {
                decisions.push("the split val is not used, because of --val-size".to_owned());
                (None, Some(test))
            }
            (None, Some(test), val) => (val, Some(test)),
        };
        Ok(Self {
            validation,
            test,
            decisions,
        })
    }

    /// The same images with the classes of the training images.
    fn with_classes_of(mut self, set: &ImageSet) -> Result<Self, DatasetError> {
        for other in [&mut self.validation, &mut self.test].into_iter().flatten() {
            let classes = other.use_classes(set.classes());
            classes.map_err(|class| DatasetError::Classes {
                one: name(set),
                other: name(other),
                class,
            })?;
        }
        Ok(self)
    }
}

/// A split of --data beside that of the training images, if there is one.
fn open_split(
    config: &Config,
    path: &Path,
    set: &ImageSet,
    split: Split,
    decisions: &mut Vec<String>,
) -> Result<Option<ImageSet>, DatasetError> {
    let options = Options {
        format: config.format,
        class_map: config.class_map.clone(),
        split,
        require_split: true,
        // Compared with the training images.
        allow_empty_classes: true,
        ..Options::default()
    };
    let mut unusable = |reason: &str| {
        decisions.push(format!("the split {split} is not used: {reason}"));
        Ok(None)
    };
    match ImageSet::open(path, &options) {
        // A folder named like the split may have been passed for training.
        Ok(found) if is_same(&found, set) => Ok(None),
        Ok(found) if found.samples().iter().all(|sample| sample.label.is_some()) => Ok(Some(found)),
        // The published test sets of many data sets have no labels.
        Ok(_) => unusable("it has images without a label"),
        Err(DataError::NoImages { .. } | DataError::Unrecognised { .. }) => {
            unusable("it has no images in this format")
        }
        Err(DataError::NoSplit { .. }) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Whether two sets have the same images.
fn is_same(one: &ImageSet, other: &ImageSet) -> bool {
    let names = |set: &ImageSet| {
        set.samples()
            .iter()
            .map(|sample| sample.name.clone())
            .collect::<Vec<_>>()
    };
    one.description().path == other.description().path && names(one) == names(other)
}

/// Names and labels of the images with these indices, which are labelled.
fn listed(set: &ImageSet, indices: impl Iterator<Item = usize>) -> Listed<'_> {
    let samples = indices.map(|index| &set.samples()[index]);
    samples
        .filter_map(|sample| Some((sample.name.as_str(), sample.label?)))
        .collect()
}

/// The labels of the images with these indices.
fn select(labels: &[u32], indices: &[usize]) -> Vec<i64> {
    indices.iter().map(|&index| labels[index].into()).collect()
}

fn is_cifar(set: &ImageSet) -> bool {
    matches!(set.format(), Format::Cifar10 | Format::Cifar100)
}

fn name(set: &ImageSet) -> String {
    set.description().path.display().to_string()
}

fn open(
    path: &Path,
    config: &Config,
    format: Option<Format>,
    split: Split,
) -> Result<ImageSet, DatasetError> {
    let options = Options {
        format,
        class_map: config.class_map.clone(),
        split,
        // Those of other sets are compared with the training images.
        allow_empty_classes: split != Split::Train,
        ..Options::default()
    };
    let set = ImageSet::open(path, &options)?;
    match set.is_empty() {
        true => Err(DatasetError::Empty { set: name(&set) }),
        false => Ok(set),
    }
}

fn labels(set: &ImageSet) -> Result<Vec<u32>, DatasetError> {
    let label = |sample: &topk_data::Sample| {
        sample.label.ok_or_else(|| DatasetError::Unlabelled {
            set: name(set),
            image: sample.name.clone(),
        })
    };
    set.samples().iter().map(label).collect()
}
