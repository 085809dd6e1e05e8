use rand::seq::SliceRandom;
use thiserror::Error;

use crate::random::{Purpose, generator};

/// Splits do not follow a run's seed: runs are compared on the same images.
const SEED: u64 = 1234;

/// The images cannot be split as asked.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
#[error(
    "{validation} of {images} images for validation leave {} for training: choose a --val-size \
     from 1 to {}",
    images.saturating_sub(*validation),
    images.saturating_sub(1)
)]
pub struct SplitError {
    /// Images there are.
    images: usize,
    /// Images asked for.
    validation: usize,
}

/// Indices of the images to train on, and of those held out for validation.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Split {
    pub(crate) train: Vec<usize>,
    pub(crate) validation: Vec<usize>,
}

/// Holds out `validation` of `images` images at random, always the same ones.
pub(crate) fn split(images: usize, validation: usize) -> Result<Split, SplitError> {
    if !(1..images).contains(&validation) {
        return Err(SplitError { images, validation });
    }
    let mut order: Vec<usize> = (0..images).collect();
    order.shuffle(&mut generator(SEED, Purpose::Split));
    let validation = order.split_off(images - validation);
    Ok(Split {
        train: order,
        validation,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_image_is_in_one_part() {
        let Split { train, validation } = split(100, 30).unwrap();
        assert_eq!((train.len(), validation.len()), (70, 30));
        let mut all = [train, validation].concat();
        all.sort_unstable();
        assert_eq!(all, (0..100).collect::<Vec<_>>());
        assert_eq!(split(100, 30), split(100, 30));
    }

    #[test]
    fn both_parts_need_an_image() {
        for validation in [0, 100, 101] {
            assert!(split(100, validation).is_err());
        }
        let message = split(100, 100).unwrap_err().to_string();
        assert!(message.contains("leave 0 for training"), "{message}");
    }
}
