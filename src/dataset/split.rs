//! Which images are trained on, and which are held out for validation.

use topk_data::{ClassHoldout, ClassShare, Holdout, ImageSet, SPLIT_SEED, holdout};
use topk_labels::Classes;

use super::{DatasetError, is_cifar, name};
use crate::config::Config;

/// Images per class of ImageNet that the paper holds out for validation.
const IMAGENET_HOLDOUT: usize = 50;

/// Part of the images that is held out of other data sets: one in this many.
const HOLDOUT_PART: usize = 10;

/// Checks that training and validation have images.
pub(super) fn check_split(
    set: &ImageSet,
    split: &Holdout,
    has_val_data: bool,
) -> Result<(), DatasetError> {
    let part = match (split.train.is_empty(), split.validation.is_empty()) {
        (true, _) => "training",
        (false, true) if !has_val_data => {
            if set.class_counts().iter().all(|&count| count <= 1) {
                return Err(DatasetError::OneEach { set: name(set) });
            }
            "validation"
        }
        _ => return Ok(()),
    };
    Err(DatasetError::NoneLeft {
        part,
        images: set.len(),
        set: name(set),
    })
}

/// The paper's splits: of CIFAR regardless of classes, of other data sets class by class.
pub(super) fn split(
    set: &ImageSet,
    config: &Config,
    has_val_data: bool,
) -> Result<Holdout, DatasetError> {
    let images = set.len();
    if is_cifar(set) {
        let validation = match has_val_data {
            true => 0,
            false => config.val_size.unwrap_or(images / HOLDOUT_PART),
        };
        let train = config
            .train_size
            .unwrap_or(images.saturating_sub(validation));
        return Ok(holdout(images, train, validation, SPLIT_SEED)?);
    }
    let holdout = ClassHoldout {
        validation: match (has_val_data, config.val_size) {
            (true, _) => ClassShare::Same(0),
            (false, Some(size)) => ClassShare::Total(size),
            (false, None) if is_whole_imagenet(set) => ClassShare::Same(IMAGENET_HOLDOUT),
            (false, None) => ClassShare::Tenth,
        },
        train: config.train_size.map(ClassShare::Total),
        split_seed: SPLIT_SEED,
        run_seed: config.seed,
    };
    Ok(holdout.split(set)?)
}

/// Whether a set has all classes of ImageNet, and so many images that those which the paper holds out are a
/// tenth at most: ImageNet has 732 or more of each class.
fn is_whole_imagenet(set: &ImageSet) -> bool {
    let enough = |count: usize| count >= HOLDOUT_PART * IMAGENET_HOLDOUT;
    *set.classes() == Classes::Imagenet && set.class_counts().into_iter().all(enough)
}

/// What was decided about the split of class folders where it is not the authors', who take the same number of
/// images of each class.
pub(super) fn split_decisions(
    set: &ImageSet,
    split: &Holdout,
    config: &Config,
    has_val_data: bool,
) -> Vec<String> {
    if is_cifar(set) {
        return Vec::new();
    }
    let mut decisions = Vec::new();
    if !has_val_data {
        let held_out = Counts::of(set, &split.validation);
        if let Some(range) = held_out.range() {
            let images = images(split.validation.len());
            decisions.push(match config.val_size {
                Some(size) => format!(
                    "--val-size {size}: {images} held out for validation, in proportion to the images of \
                     the classes, {range}"
                ),
                None => format!("{images} held out for validation, a tenth of each class, {range}"),
            });
        }
        let single = held_out.classes(|held_out, images| held_out == 0 && images == 1);
        if let Some(classes) = single {
            decisions.push(format!(
                "{classes} with only one image, which is trained on: none is held out for validation"
            ));
        }
        let others = held_out.classes(|held_out, images| held_out == 0 && images > 1);
        if let Some(classes) = others {
            decisions.push(format!(
                "{classes} without an image held out for validation"
            ));
        }
    }
    if let (Some(size), Some(range)) = (config.train_size, Counts::of(set, &split.train).range()) {
        decisions.push(format!(
            "--train-size {size}: {} to train on, in proportion to the images of the classes, {range}",
            images(split.train.len())
        ));
    }
    decisions
}

/// What is trained on with --imbalance-factor, of this many images.
pub(super) fn imbalance_decision(
    set: &ImageSet,
    split: &Holdout,
    factor: f64,
    all: usize,
) -> String {
    let range = Counts::of(set, &split.train).range();
    let range = range.unwrap_or_else(|| "the same number of each class".to_owned());
    format!(
        "--imbalance-factor {factor}: {} of {all} to train on, {range}",
        images(split.train.len())
    )
}

/// For each class with images: how many of them are in a part of the split, and how many there are.
struct Counts(Vec<(usize, usize)>);

impl Counts {
    fn of(set: &ImageSet, part: &[usize]) -> Self {
        let mut counts = vec![0; set.classes().len()];
        for label in part.iter().filter_map(|&index| set.samples()[index].label) {
            counts[label as usize] += 1;
        }
        let counts = counts.into_iter().zip(set.class_counts());
        Self(counts.filter(|&(_, images)| images > 0).collect())
    }

    /// The smallest and the largest number of images of a class, if they differ.
    fn range(&self) -> Option<String> {
        let counts = self.0.iter().map(|&(count, _)| count);
        let (fewest, most) = (counts.clone().min()?, counts.max()?);
        (fewest < most).then(|| format!("{fewest} to {most} of each"))
    }

    /// The number of classes of this kind, in words.
    fn classes(&self, is_counted: impl Fn(usize, usize) -> bool) -> Option<String> {
        let counted = self
            .0
            .iter()
            .filter(|&&(count, images)| is_counted(count, images));
        match counted.count() {
            0 => None,
            1 => Some("1 class".to_owned()),
            count => Some(format!("{count} classes")),
        }
    }
}

fn images(count: usize) -> String {
    match count {
        1 => "1 image".to_owned(),
        count => format!("{count} images"),
    }
}
