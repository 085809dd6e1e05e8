use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Mean and standard deviation per channel (red, green, blue), in units of pixels divided by 255.
///
/// A pixel p becomes (p / 255 − mean) / std, each step rounded to `f32`: what torchvision's `ToTensor`
/// and `Normalize` compute.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Normalization {
    /// Subtracted from p / 255.
    pub mean: [f32; 3],
    /// Divides the difference.
    pub std: [f32; 3],
}

/// A mean or standard deviation that cannot be used.
#[derive(Clone, Debug, Error, PartialEq)]
#[error("mean {:?} and std {:?} must be finite and each std above 0, in units of pixels / 255", .0.mean, .0.std)]
pub struct NormalizationError(Normalization);

impl Normalization {
    /// Leaves pixels as they are.
    pub const NONE: Self = Self {
        mean: [0.0; 3],
        std: [1.0; 3],
    };

    /// ImageNet's training images, with the values of torchvision and timm.
    pub const IMAGENET: Self = Self {
        mean: [0.485, 0.456, 0.406],
        std: [0.229, 0.224, 0.225],
    };

    /// The training images of OpenAI's CLIP.
    pub const CLIP: Self = Self {
        mean: [0.481_454_66, 0.457_827_5, 0.408_210_73],
        std: [0.268_629_54, 0.261_302_6, 0.275_777_1],
    };

    /// CIFAR-100's training images, with the values of the authors' code and most of the literature.
    pub const CIFAR100: Self = Self {
        mean: [125.3 / 255.0, 123.0 / 255.0, 113.9 / 255.0],
        std: [63.0 / 255.0, 62.1 / 255.0, 66.7 / 255.0],
    };

    /// The normalization of grey images: the averages over the channels, as timm uses them for networks of one channel.
    ///
    /// The averages are computed in `f64` from the shortest decimals of the values, which are those that Python has.
    pub fn grey(self) -> Self {
        let average = |values: [f32; 3]| {
            let decimal = |value: f32| {
                let text = value.to_string();
                text.parse().unwrap_or_else(|_| f64::from(value))
            };
            let sum: f64 = values.into_iter().map(decimal).sum();
            [(sum / 3.0) as f32; 3]
        };
        Self {
            mean: average(self.mean),
            std: average(self.std),
        }
    }

    /// Whether all channels have the same mean and the same standard deviation, as those of grey images must.
    pub fn is_grey(&self) -> bool {
        [self.mean, self.std]
            .iter()
            .all(|values| values.iter().all(|value| value == &values[0]))
    }

    /// Checks that pixels can be normalized with these values.
    ///
    /// # Errors
    /// If one is not finite, or a standard deviation is not above 0.
    pub fn check(self) -> Result<Self, NormalizationError> {
        let finite = self
            .mean
            .iter()
            .chain(&self.std)
            .all(|value| value.is_finite());
        if finite && self.std.iter().all(|&std| std > 0.0) {
            Ok(self)
        } else {
            Err(NormalizationError(self))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `numpy.mean` of the three values, in `f32`.
    #[test]
    fn grey_images_have_the_averages_of_the_channels() {
        let grey = Normalization::IMAGENET.grey();
        assert_eq!((grey.mean, grey.std), ([0.449; 3], [0.226; 3]));
        assert!(grey.is_grey() && !Normalization::IMAGENET.is_grey());
        let again = grey.grey();
        assert_eq!(again, grey);
    }

    #[test]
    fn unusable_numbers_are_rejected() {
        let good = Normalization {
            mean: [0.5; 3],
            std: [0.2; 3],
        };
        assert_eq!(good.check(), Ok(good));
        assert!(
            Normalization {
                std: [0.2, 0.0, 0.2],
                ..good
            }
            .check()
            .is_err()
        );
        assert!(
            Normalization {
                mean: [f32::NAN; 3],
                ..good
            }
            .check()
            .is_err()
        );
    }
}
