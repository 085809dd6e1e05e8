use std::path::Path;
use std::sync::Arc;

use thiserror::Error;
use topk_data::{
    ClassHoldout, DataError, Format, Holdout, ImageSet, LabelNoise, LabelNoiseError, Options,
    SPLIT_SEED, Split, SplitError, holdout,
};
use topk_image::NormalizationTable;
use topk_image::augment::{Augmentation, AugmentationError};
use topk_labels::Classes;
use topk_preprocessing::{Interpolation, Normalization, Preprocessing};

use crate::config::Config;
use crate::images::{Images, Preparation, PreparationError, Source, Wanted};

/// Classes whose labels noise exchanges: the paper's groups of five.
const NOISE_GROUP: u32 = 5;

/// Images of each class of ImageNet that the paper holds out.
const IMAGENET_HOLDOUT: usize = 50;

/// Why there is no data to train on.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum TrainingDataError {
    /// A data set cannot be read.
    #[error(transparent)]
    Data(#[from] DataError),
    /// It cannot be split as is wanted.
    #[error("{error} (--train-size and --val-size say how many)")]
    Split {
        /// What is wrong.
        #[from]
        error: SplitError,
    },
    /// Its labels cannot be exchanged.
    #[error("--noise: {0}")]
    Noise(#[from] LabelNoiseError),
    /// Numbers of the preparation of images are out of range.
    #[error(transparent)]
    Preparation(#[from] PreparationError),
    /// They are not written as they should be.
    #[error(transparent)]
    Augmentation(#[from] AugmentationError),
    /// An image has no label.
    #[error("the image {image} of {set} has no label: all images need one")]
    Unlabelled {
        /// The data set.
        set: String,
        /// The image.
        image: String,
    },
    /// There are no images.
    #[error("{set} has no images")]
    Empty {
        /// The data set.
        set: String,
    },
    /// A part of the split has no images.
    #[error(
        "no images are left for {part} of the {images} of {set}: choose a smaller --train-size or \
         --val-size, or give --val-data"
    )]
    NoneLeft {
        /// Training or validation.
        part: &'static str,
        /// Number of images.
        images: usize,
        /// The data set.
        set: String,
    },
    /// Two parts have other classes.
    #[error("{one} and {other} have other classes: they do not belong together")]
    Classes {
        /// The training images.
        one: String,
        /// The validation or test images.
        other: String,
    },
}

/// The images of a run.
#[derive(Debug)]
pub(crate) struct Data {
    pub(crate) training: Arc<Images>,
    pub(crate) validation: Arc<Images>,
    /// Listed at the start, so that a run cannot fail for want of it; looked at only at the end.
    pub(crate) test: Option<ImageSet>,
    pub(crate) class_names: Vec<String>,
    /// Channels, height and width of what the network gets.
    pub(crate) shape: [usize; 3],
    pub(crate) normalization: Normalization,
    /// Shorter side to which test images are resized, if they are.
    pub(crate) test_resize: Option<u32>,
    /// What is done to training images.
    pub(crate) augmentation: Augmentation,
    pub(crate) description: String,
    /// Images of each class that are trained on, by their noisy labels.
    pub(crate) class_counts: Vec<usize>,
    /// Training labels that the noise has changed.
    pub(crate) changed_labels: usize,
}

impl Data {
    pub(crate) fn load(config: &Config, path: &Path) -> Result<Self, TrainingDataError> {
        let set = open(path, config.format, Split::Train)?;
        let clean = labels(&set)?;
        let classes = set.classes().len();
        let noise = LabelNoise {
            group: NOISE_GROUP,
            probability: config.noise,
        };
        let noisy = match config.noise {
            0.0 => clean.clone(),
            _ => noise.apply(&clean, classes, config.seed)?,
        };
        let val_set = match &config.val_data {
            Some(path) => Some(open(path, None, Split::Test)?),
            None => None,
        };
        let split = split(&set, config, val_set.is_some())?;
        for (part, empty) in [
            ("training", split.train.is_empty()),
            (
                "validation",
                split.validation.is_empty() && val_set.is_none(),
            ),
        ] {
            if empty {
                return Err(TrainingDataError::NoneLeft {
                    part,
                    images: set.len(),
                    set: name(&set),
                });
            }
        }
        let test = match &config.test_data {
            Some(path) => Some(open(path, None, Split::Test)?),
            None => match open(path, config.format, Split::Test) {
                // What has no parts would be its own test set.
                Ok(test) if !is_cifar(&set) && name(&test) == name(&set) => None,
                Ok(test) => Some(test),
                Err(TrainingDataError::Data(DataError::NoSplit { .. })) => None,
                Err(error) => return Err(error),
            },
        };
        for other in val_set.iter().chain(&test) {
            if other.classes() != set.classes() {
                return Err(TrainingDataError::Classes {
                    one: name(&set),
                    other: name(other),
                });
            }
        }

        let cifar = is_cifar(&set).then_some([3, 32, 32]);
        let shape = match (config.image_size, cifar) {
            (Some(side), _) => [3, side, side],
            (None, Some(shape)) => shape,
            (None, None) => [3, 224, 224],
        };
        let side = shape[1] as u32;
        let as_it_is = cifar == Some(shape) && config.val_resize.is_none();
        let val_resize =
            (!as_it_is).then(|| config.val_resize.unwrap_or_else(|| (side * 8).div_ceil(7)));
        let preprocessing =
            val_resize.map(|shorter_side| Preprocessing::torchvision(shorter_side, side));
        let normalization = match cifar {
            Some(_) => Normalization::CIFAR100,
            None => Normalization::IMAGENET,
        };
        let augmentation = match &config.augment {
            Some(augmentation) => augmentation.clone(),
            None if as_it_is => "crop:4,flip".parse()?,
            None => format!("resized-crop:{side},flip").parse()?,
        };
        let resize = config.train_resize.map(|shorter_side| Preprocessing {
            resize: topk_preprocessing::Resize::ShorterSide(shorter_side),
            interpolation: Interpolation::Bilinear,
            crop: topk_preprocessing::Crop::None,
            pillow: augmentation.pillow,
            fast: false,
        });
        let wanted = |preparation| Wanted {
            shape,
            table: NormalizationTable::new(&normalization),
            preparation,
            on_bad: config.on_bad_image,
            seed: config.seed,
        };
        // An augmentation of nothing is an evaluation, but for its order.
        let training = wanted(Preparation::Augment {
            resize: match augmentation.steps.is_empty() {
                true => preprocessing.or(resize),
                false => resize,
            },
            augmentation: augmentation.clone(),
            mixing: config.mix,
        });
        let set = Arc::new(set);
        let pick = |indices: &[usize], labels: &[u32]| -> Vec<i64> {
            indices.iter().map(|&index| labels[index].into()).collect()
        };
        let train_labels = pick(&split.train, &noisy);
        let mut class_counts = vec![0; classes];
        for &label in &train_labels {
            class_counts[label as usize] += 1;
        }
        let changed = |&&index: &&usize| clean[index] != noisy[index];
        let changed_labels = split.train.iter().filter(changed).count();
        let validation = match val_set {
            Some(val_set) => {
                let labels = labels(&val_set)?.into_iter().map(i64::from).collect();
                Source {
                    indices: (0..val_set.len()).collect(),
                    labels,
                    set: Arc::new(val_set),
                }
            }
            // Their labels stay clean, as in the seed code.
            None => Source {
                labels: pick(&split.validation, &clean),
                indices: split.validation,
                set: Arc::clone(&set),
            },
        };
        let evaluation = wanted(Preparation::Evaluate(preprocessing));
        Ok(Self {
            class_names: (0..classes as u32)
                .map(|class| set.classes().name(class).into_owned())
                .collect(),
            description: set.description().to_string(),
            training: Arc::new(Images::new(
                Source {
                    set,
                    indices: split.train,
                    labels: train_labels,
                },
                training,
            )?),
            validation: Arc::new(Images::new(validation, evaluation)?),
            test,
            shape,
            normalization,
            test_resize: config.test_resize.or(val_resize),
            augmentation,
            class_counts,
            changed_labels,
        })
    }

    /// A word for where models come from.
    pub(crate) fn name(path: &Path) -> String {
        let name = path.file_name().unwrap_or(path.as_os_str());
        name.to_string_lossy().into_owned()
    }
}

fn is_cifar(set: &ImageSet) -> bool {
    matches!(set.format(), Format::Cifar10 | Format::Cifar100)
}

fn name(set: &ImageSet) -> String {
    set.description().path.display().to_string()
}

fn open(path: &Path, format: Option<Format>, split: Split) -> Result<ImageSet, TrainingDataError> {
    let options = Options {
        format,
        split,
        ..Options::default()
    };
    let set = ImageSet::open(path, &options)?;
    match set.is_empty() {
        true => Err(TrainingDataError::Empty { set: name(&set) }),
        false => Ok(set),
    }
}

fn labels(set: &ImageSet) -> Result<Vec<u32>, TrainingDataError> {
    let label = |sample: &topk_data::Sample| {
        sample.label.ok_or_else(|| TrainingDataError::Unlabelled {
            set: name(set),
            image: sample.name.clone(),
        })
    };
    set.samples().iter().map(label).collect()
}

/// The paper's splits: CIFAR's regardless of classes, others class by class.
fn split(
    set: &ImageSet,
    config: &Config,
    validation_elsewhere: bool,
) -> Result<Holdout, TrainingDataError> {
    let images = set.len();
    if is_cifar(set) {
        let validation = match validation_elsewhere {
            true => 0,
            false => config.val_size.unwrap_or(images / 10),
        };
        let train = config
            .train_size
            .unwrap_or(images.saturating_sub(validation));
        return Ok(holdout(images, train, validation, SPLIT_SEED)?);
    }
    let classes = set.classes().len().max(1);
    let validation_per_class = match (validation_elsewhere, config.val_size) {
        (true, _) => 0,
        (false, Some(size)) => size.div_ceil(classes),
        (false, None) if *set.classes() == Classes::Imagenet => IMAGENET_HOLDOUT,
        (false, None) => (images / 10 / classes).max(1),
    };
    let holdout = ClassHoldout {
        validation_per_class,
        train: config.train_size,
        split_seed: SPLIT_SEED,
        run_seed: config.seed,
    };
    Ok(holdout.split(set)?)
}
