use rand::{Rng, RngExt};
use serde::{Deserialize, Serialize};

use super::error::{MAX_SIDE, check, check_probability, check_size};
use super::{AugmentationError, Operation};
use crate::ImageError;

/// torchvision's `RandomCrop`: a random part of the image after padding with black.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct RandomCrop {
    /// Pixels added on each side.
    #[serde(default)]
    pub padding: u32,
    /// Width and height of the crop; by default those of the image.
    #[serde(default)]
    pub size: Option<[u32; 2]>,
}

impl RandomCrop {
    pub(super) fn check(&self) -> Result<(), AugmentationError> {
        check_size("the size of crop", self.size.unwrap_or([1; 2]))?;
        let padding = self.padding;
        check(
            "the padding of crop",
            padding,
            "at most 65536 pixels",
            padding <= MAX_SIDE,
        )
    }

    /// Draws a position, uniformly.
    pub(super) fn draw(
        &self,
        image: [u32; 2],
        generator: &mut (impl Rng + ?Sized),
    ) -> Result<Operation, ImageError> {
        let size = self.size.unwrap_or(image);
        let padding = i64::from(self.padding);
        let room = [0, 1].map(|axis| i64::from(image[axis]) + 2 * padding - i64::from(size[axis]));
        if room.iter().any(|&room| room < 0) {
            return Err(ImageError::RandomCrop {
                size,
                image,
                padding: self.padding,
            });
        }
        let [x, y] = room.map(|room| generator.random_range(0..=room) - padding);
        Ok(Operation::Crop { x, y, size })
    }
}

/// torchvision's `RandomHorizontalFlip`.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct RandomHorizontalFlip {
    /// Probability of mirroring an image.
    pub p: f64,
}

/// torchvision's default: half of the images.
impl Default for RandomHorizontalFlip {
    fn default() -> Self {
        Self { p: 0.5 }
    }
}

impl RandomHorizontalFlip {
    pub(super) fn check(&self) -> Result<(), AugmentationError> {
        check_probability("p of flip", self.p)
    }

    pub(super) fn draw(&self, generator: &mut (impl Rng + ?Sized)) -> Option<Operation> {
        generator.random_bool(self.p).then_some(Operation::Flip)
    }
}

/// torchvision's `RandomVerticalFlip`.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct RandomVerticalFlip {
    /// Probability of mirroring an image.
    pub p: f64,
}

/// torchvision's default: half of the images.
impl Default for RandomVerticalFlip {
    fn default() -> Self {
        Self { p: 0.5 }
    }
}

impl RandomVerticalFlip {
    pub(super) fn check(&self) -> Result<(), AugmentationError> {
        check_probability("p of vflip", self.p)
    }

    pub(super) fn draw(&self, generator: &mut (impl Rng + ?Sized)) -> Option<Operation> {
        let flips = generator.random_bool(self.p);
        flips.then_some(Operation::FlipVertical)
    }
}

/// torchvision's `RandomGrayscale`.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct RandomGrey {
    /// Probability of taking the colour from an image.
    pub p: f64,
}

/// torchvision's default: a tenth of the images.
impl Default for RandomGrey {
    fn default() -> Self {
        Self { p: 0.1 }
    }
}

impl RandomGrey {
    pub(super) fn check(&self) -> Result<(), AugmentationError> {
        check_probability("p of grey", self.p)
    }

    pub(super) fn draw(&self, generator: &mut (impl Rng + ?Sized)) -> Option<Operation> {
        let grey = generator.random_bool(self.p);
        grey.then_some(Operation::Saturation(0.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::augment::statistics::{assert_equally_likely, generator};

    #[test]
    fn positions_in_the_padded_image_are_equally_likely() {
        let mut generator = generator();
        let crop = RandomCrop {
            padding: 4,
            size: Some([32, 30]),
        };
        let mut counts = [0; 9 * 11];
        for _ in 0..20_000 {
            let operation = crop.draw([32, 32], &mut generator).unwrap();
            let Operation::Crop { x, y, size } = operation else {
                panic!("{operation:?}");
            };
            assert_eq!(size, [32, 30]);
            counts[((x + 4) * 11 + y + 4) as usize] += 1;
        }
        assert_equally_likely(&counts);
    }

    #[test]
    fn a_crop_that_does_not_fit_is_an_error() {
        let crop = RandomCrop {
            padding: 1,
            size: Some([32, 35]),
        };
        let error = crop.draw([40, 32], &mut generator()).unwrap_err();
        assert_eq!(
            error.to_string(),
            "a crop of 32 x 35 pixels does not fit into the image of 40 x 32 with 1 pixels of padding: \
             use a smaller crop, more padding, or resized-crop"
        );
    }

    #[test]
    fn images_are_flipped_with_the_probability() {
        let mut generator = generator();
        for (p, expected) in [(0.0, 0), (0.5, 5000), (0.25, 2500), (1.0, 10_000)] {
            let flip = RandomHorizontalFlip { p };
            let flipped = (0..10_000).filter(|_| flip.draw(&mut generator).is_some());
            assert!(flipped.count().abs_diff(expected) < 300, "{p}");
            let flip = RandomVerticalFlip { p };
            let flipped = (0..10_000).filter(|_| flip.draw(&mut generator).is_some());
            assert!(flipped.count().abs_diff(expected) < 300, "{p}");
            let grey = RandomGrey { p };
            let changed = (0..10_000).filter(|_| grey.draw(&mut generator).is_some());
            assert!(changed.count().abs_diff(expected) < 300, "{p}");
        }
    }
}
