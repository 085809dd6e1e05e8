//! Training images held out for validation, and subsets of the remaining ones: bit for bit those of the
//! authors' code, with the random numbers of numpy.

mod shares;
#[cfg(test)]
mod tests;

pub use shares::ClassShare;

use std::collections::BTreeMap;
use topk_files::excerpt;

use thiserror::Error;

use crate::random_state::RandomState;
use crate::walk::image_folder_order;
use crate::{ImageSet, Sample};

/// Seed of the splits in the paper, independent of the seed of a run.
pub const SPLIT_SEED: u32 = 1234;

/// Largest number of images that can be split.
const MAX_IMAGES: usize = 1 << 30;

/// Indices of images of a training set.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Holdout {
    /// Images to train on.
    pub train: Vec<usize>,
    /// Images held out for validation.
    pub validation: Vec<usize>,
}

/// Why a training set cannot be split.
#[derive(Clone, Debug, Error, Eq, PartialEq)]
#[non_exhaustive]
pub enum SplitError {
    /// There are too few images.
    #[error(
        "cannot take {train} training and {validation} validation images from a set of {images}"
    )]
    TooFew {
        /// Images in the set.
        images: usize,
        /// Images to train on.
        train: usize,
        /// Images to hold out.
        validation: usize,
    },
    /// There are too many images.
    #[error("cannot split {0} images; the limit is {MAX_IMAGES}")]
    TooMany(usize),
    /// A class has too few images.
    #[error(
        "class {class} has {images} images, so {validation} cannot be held out for validation with at \
         least one left to train on"
    )]
    Class {
        /// Name of the class.
        class: String,
        /// Its number of images.
        images: usize,
        /// Number of images to hold out per class.
        validation: usize,
    },
    /// There are too few images beside one of each class.
    #[error(
        "{validation} of {images} images cannot be held out for validation with at least one of each of \
         {classes} classes left to train on"
    )]
    AllClasses {
        /// Images in the set.
        images: usize,
        /// Classes with images.
        classes: usize,
        /// Images to hold out.
        validation: usize,
    },
    /// The training subset is smaller than the number of classes.
    #[error("{train} training images are fewer than one per class for {classes} classes")]
    Subset {
        /// Images to train on.
        train: usize,
        /// Classes with images.
        classes: usize,
    },
    /// An image has no class.
    #[error("the image {0} has no label, so the data cannot be split by class")]
    Unlabelled(String),
    /// The seed of a class is too large.
    #[error("the split seed {0} plus the class index must be below 2³²")]
    Seed(u32),
}

/// Holds out images at random, regardless of their classes: the authors' split of CIFAR, which has 45,000
/// training images, 5,000 for validation and the seed [`SPLIT_SEED`].
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

/// Holds out images of each class: the authors' split of ImageNet.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ClassHoldout {
    /// Images to hold out: in the paper, 50 of each class. With [`ClassShare::Same`] every class must have
    /// more; otherwise a class of one image is left as it is.
    pub validation: ClassShare,
    /// Remaining images to train on: in the paper, for example, 64 of each class. With [`ClassShare::Same`], a
    /// class with fewer images contributes all of them. `None` for all images.
    pub train: Option<ClassShare>,
    /// Seed to which the index of each class is added: [`SPLIT_SEED`] in the paper.
    pub split_seed: u32,
    /// Seed of the run, which determines only the order of the training images.
    pub run_seed: u32,
}

/// Images of each class, as indices of samples.
type ByClass = BTreeMap<u32, Vec<usize>>;

impl ClassHoldout {
    /// Splits a training set. Validation images are in the order of torchvision's `ImageFolder`: by class,
    /// folder and name.
    ///
    /// Where the same number of each class is taken, bit for bit the images and the order of the authors' code on
    /// class folders whose `ImageFolder` labels are those of the set, as for the whole of ImageNet. Only the names of the images matter, not
    /// their order in the set.
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
        let counts = self.validation_counts(&classes, class_name)?;
        let mut validation = Vec::new();
        for ((&class, images), count) in classes.iter_mut().zip(counts) {
            validation.extend(self.hold_out(samples, class, images, count)?);
        }
        let train = self.draw_train(&classes, validation.len())?;
        Ok(Holdout { train, validation })
    }

    /// Number of images to hold out of each class.
    fn validation_counts(
        &self,
        classes: &ByClass,
        class_name: impl Fn(u32) -> String,
    ) -> Result<Vec<usize>, SplitError> {
        let sizes: Vec<usize> = classes.values().map(Vec::len).collect();
        let most: Vec<usize> = sizes.iter().map(|size| size - 1).collect();
        match self.validation {
            ClassShare::Same(count) => {
                let small = classes.iter().find(|(_, images)| images.len() <= count);
                match small {
                    None => Ok(vec![count; sizes.len()]),
                    Some((&class, images)) => Err(SplitError::Class {
                        class: excerpt(&class_name(class)),
                        images: images.len(),
                        validation: count,
                    }),
                }
            }
            ClassShare::Tenth => Ok(sizes.into_iter().map(shares::tenth).collect()),
            ClassShare::Total(total) => match shares::same(total, &most) {
                Some(count) => Ok(vec![count; sizes.len()]),
                None => {
                    let order = self.order(sizes.len());
                    let counts = shares::proportional(total, &sizes, 0, &most, &order);
                    counts.ok_or_else(|| SplitError::AllClasses {
                        images: sizes.iter().sum(),
                        classes: sizes.len(),
                        validation: total,
                    })
                }
            },
        }
    }

    /// Number of images to train on of each class, of these remaining ones.
    fn train_counts(&self, sizes: Vec<usize>, held_out: usize) -> Result<Vec<usize>, SplitError> {
        let remaining: usize = sizes.iter().sum();
        match self.train {
            None => Ok(sizes),
            Some(ClassShare::Same(count)) => {
                Ok(sizes.into_iter().map(|size| size.min(count)).collect())
            }
            Some(ClassShare::Tenth) => Ok(sizes.into_iter().map(shares::tenth).collect()),
            Some(ClassShare::Total(train)) if train > remaining => Err(SplitError::TooFew {
                images: remaining + held_out,
                train,
                validation: held_out,
            }),
            Some(ClassShare::Total(train)) => match shares::same(train, &sizes) {
                Some(count) => Ok(vec![count; sizes.len()]),
                None => {
                    let (order, classes) = (self.order(sizes.len()), sizes.len());
                    let counts = shares::proportional(train, &sizes, 1, &sizes, &order);
                    counts.ok_or(SplitError::Subset { train, classes })
                }
            },
        }
    }

    /// The classes in random order, so that those with equal remainders are not the first ones.
    fn order(&self, classes: usize) -> Vec<usize> {
        RandomState::new(self.split_seed).permutation(classes)
    }

    /// Removes the validation images from the images of a class and returns them. Both are then in the
    /// order of `ImageFolder`.
    fn hold_out(
        &self,
        samples: &[Sample],
        class: u32,
        images: &mut Vec<usize>,
        count: usize,
    ) -> Result<Vec<usize>, SplitError> {
        let name = |index: usize| samples[index].name.as_str();
        // The authors' code sorts whole paths here, in which `/` is an ordinary character.
        images.sort_unstable_by(|&a, &b| name(a).cmp(name(b)));
        let seed = self.class_seed(class)?;
        let drawn = subset(images.len(), count, seed);
        let mut validation: Vec<usize> = drawn.iter().map(|&index| images[index]).collect();
        let mut is_drawn = vec![false; images.len()];
        for index in drawn {
            is_drawn[index] = true;
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

    /// Draws the training images from the remaining ones.
    fn draw_train(&self, classes: &ByClass, held_out: usize) -> Result<Vec<usize>, SplitError> {
        let counts = self.train_counts(classes.values().map(Vec::len).collect(), held_out)?;
        let mut train = Vec::new();
        for ((&class, images), count) in classes.iter().zip(counts) {
            let drawn = subset(images.len(), count, self.class_seed(class)?);
            train.extend(drawn.into_iter().map(|index| images[index]));
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
