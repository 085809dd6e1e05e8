//! Training images that are held out for validation, and subsets of those that remain: bit for bit the
//! ones that the seed code of the paper draws, with the random numbers of numpy.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use topk_files::excerpt;

use thiserror::Error;

use crate::random_state::RandomState;
use crate::walk::image_folder_order;
use crate::{ImageSet, Sample};

/// The seed of the splits of the paper's experiments, whatever the seed of a run is.
pub const SPLIT_SEED: u32 = 1234;

/// Most images of a set that is split.
const MAX_IMAGES: usize = 1 << 30;

/// Indices of images of a training set.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Holdout {
    /// Those to train on.
    pub train: Vec<usize>,
    /// Those that are held out for validation.
    pub validation: Vec<usize>,
}

/// Why a training set cannot be split.
#[derive(Clone, Debug, Error, Eq, PartialEq)]
#[non_exhaustive]
pub enum SplitError {
    /// There are not so many images.
    #[error(
        "{train} images to train on and {validation} for validation were asked for, but the set has \
         {images}: ask for fewer"
    )]
    TooFew {
        /// Images in the set.
        images: usize,
        /// Images to train on.
        train: usize,
        /// Images to hold out.
        validation: usize,
    },
    /// There are more images than are split.
    #[error("{0} images are too many to split: at most {MAX_IMAGES} can be")]
    TooMany(usize),
    /// A class has not so many images.
    #[error(
        "the class {class} has {images} images, so {validation} cannot be held out for validation with \
         one left to train on: hold out fewer of each class, or leave the class out"
    )]
    Class {
        /// Name of the class.
        class: String,
        /// Images that it has.
        images: usize,
        /// Images to hold out of each class.
        validation: usize,
    },
    /// The training subset is smaller than the number of classes.
    #[error(
        "{train} images to train on are less than one for each of {classes} classes: ask for more"
    )]
    Subset {
        /// Images to train on.
        train: usize,
        /// Classes with images.
        classes: usize,
    },
    /// An image cannot be counted to a class.
    #[error("the image {0} has no label, so it cannot be held out or trained on by class")]
    Unlabelled(String),
    /// The seeds of the classes do not fit.
    #[error(
        "the split seed {0} and a class's number must be below 2³² together: take a smaller seed"
    )]
    Seed(u32),
}

/// Holds out images at random, whatever their classes are: the seed code's split of CIFAR, for which
/// it has 45,000 images to train on, 5,000 for validation and [`SPLIT_SEED`].
///
/// Bit for bit `permutation(permutation(images)[:train + validation])` of `numpy.random.RandomState`,
/// the indices to train on first.
///
/// # Errors
/// If there are fewer images, or more than 2³⁰.
pub fn holdout(
    images: usize,
    train: usize,
    validation: usize,
    seed: u32,
) -> Result<Holdout, SplitError> {
    if images > MAX_IMAGES {
        return Err(SplitError::TooMany(images));
    }
    let total = train.checked_add(validation);
    let total = total.filter(|&total| total <= images);
    let total = total.ok_or(SplitError::TooFew {
        images,
        train,
        validation,
    })?;
    let mut train_indices = subset(images, total, seed);
    let validation = train_indices.split_off(train);
    Ok(Holdout {
        train: train_indices,
        validation,
    })
}

/// How images of each class are held out: the seed code's split of ImageNet.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ClassHoldout {
    /// Images of each class that are held out: 50 of ImageNet in the paper.
    pub validation_per_class: usize,
    /// Images to train on of what remains, as many of each class: 64,000 and so on in the paper. A class
    /// that has fewer gives all that it has. `None` for all.
    pub train: Option<usize>,
    /// To which a class's number is added for the seed of its images: [`SPLIT_SEED`] in the paper.
    pub split_seed: u32,
    /// Seed of the run, on which only the order of the training images depends.
    pub run_seed: u32,
}

/// Images of a class, as indices of samples.
type ByClass = BTreeMap<u32, Vec<usize>>;

impl ClassHoldout {
    /// Splits a training set. Validation images come in the order of torchvision's `ImageFolder`:
    /// by class, folder and name.
    ///
    /// Bit for bit the images and the order of the seed code on class folders whose `ImageFolder`
    /// labels are those of the set, as they are of the whole of ImageNet. The order in which the set
    /// lists its images does not matter, only their names do.
    ///
    /// # Errors
    /// If an image has no label, or there are too few images in a class or in all.
    pub fn split(&self, set: &ImageSet) -> Result<Holdout, SplitError> {
        let name = |class| set.classes().key(class).into_owned();
        self.split_samples(set.samples(), name)
    }

    fn split_samples(
        &self,
        samples: &[Sample],
        class_name: impl Fn(u32) -> String,
    ) -> Result<Holdout, SplitError> {
        if samples.len() > MAX_IMAGES {
            return Err(SplitError::TooMany(samples.len()));
        }
        let mut classes = by_class(samples)?;
        let mut validation = Vec::new();
        for (&class, images) in &mut classes {
            if images.len() <= self.validation_per_class {
                return Err(SplitError::Class {
                    class: excerpt(&class_name(class)),
                    images: images.len(),
                    validation: self.validation_per_class,
                });
            }
            validation.extend(self.hold_out(samples, class, images)?);
        }
        let train = self.draw_train(&classes, validation.len())?;
        Ok(Holdout { train, validation })
    }

    /// Takes those for validation from the images of a class. Both are then in the order of
    /// `ImageFolder`.
    fn hold_out(
        &self,
        samples: &[Sample],
        class: u32,
        images: &mut Vec<usize>,
    ) -> Result<Vec<usize>, SplitError> {
        let name = |index: usize| samples[index].name.as_str();
        // Whole paths are sorted to hold out, in which `/` counts as any other character.
        images.sort_unstable_by(|&a, &b| name(a).cmp(name(b)));
        let seed = self.class_seed(class)?;
        let drawn = subset(images.len(), self.validation_per_class, seed);
        let mut validation: Vec<usize> = drawn.iter().map(|&place| images[place]).collect();
        let mut is_drawn = vec![false; images.len()];
        for place in drawn {
            is_drawn[place] = true;
        }
        let mut is_drawn = is_drawn.into_iter();
        images.retain(|_| is_drawn.next() == Some(false));
        for images in [images, &mut validation] {
            images.sort_unstable_by(|&a, &b| {
                image_folder_order(name(a)).cmp(&image_folder_order(name(b)))
            });
        }
        Ok(validation)
    }

    /// The images to train on, of those that remain.
    fn draw_train(&self, classes: &ByClass, held_out: usize) -> Result<Vec<usize>, SplitError> {
        let remaining: usize = classes.values().map(Vec::len).sum();
        let per_class = match self.train {
            Some(train) if train > remaining => {
                return Err(SplitError::TooFew {
                    images: remaining + held_out,
                    train,
                    validation: held_out,
                });
            }
            Some(train) if train < remaining => {
                let classes = classes.len();
                let per_class = train.checked_div(classes).filter(|&count| count > 0);
                per_class.ok_or(SplitError::Subset { train, classes })?
            }
            _ => usize::MAX,
        };
        let mut train = Vec::new();
        for (&class, images) in classes {
            let count = per_class.min(images.len());
            let drawn = subset(images.len(), count, self.class_seed(class)?);
            train.extend(drawn.into_iter().map(|place| images[place]));
        }
        RandomState::new(self.run_seed).shuffle(&mut train);
        Ok(train)
    }

    fn class_seed(&self, class: u32) -> Result<u32, SplitError> {
        let seed = self.split_seed.checked_add(class);
        seed.ok_or(SplitError::Seed(self.split_seed))
    }
}

/// Some of the numbers below `count`, in random order: `permutation(choice(count, drawn,
/// replace=False))`.
fn subset(count: usize, drawn: usize, seed: u32) -> Vec<usize> {
    let mut random = RandomState::new(seed);
    let mut subset = random.permutation(count);
    subset.truncate(drawn);
    random.shuffle(&mut subset);
    subset
}

fn by_class(samples: &[Sample]) -> Result<ByClass, SplitError> {
    let mut classes = ByClass::new();
    for (index, sample) in samples.iter().enumerate() {
        let unlabelled = || SplitError::Unlabelled(excerpt(&sample.name));
        let class = sample.label.ok_or_else(unlabelled)?;
        classes.entry(class).or_default().push(index);
    }
    Ok(classes)
}
