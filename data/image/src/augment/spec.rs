use rand::Rng;
use serde::{Deserialize, Serialize};

use super::{
    AugmentationError, ColorJitter, KeepRatioCrop, Operation, RandAugment, RandomCrop,
    RandomErasing, RandomGaussianBlur, RandomGrey, RandomHorizontalFlip, RandomResizedCrop,
    RandomVerticalFlip, TimmAugment, TrivialAugmentWide,
};
use crate::ImageError;
use topk_preprocessing::Pillow;

/// Random transforms of an image, from decoded pixels to normalised values.
///
/// The text form is a list of steps separated by commas, such as `crop:4,flip`, or `none`. Options follow a
/// step after colons, in order or by name; sizes are width × height:
///
/// | step | options and their defaults |
/// | --- | --- |
/// | `crop` | `padding=0`, `size` of the image |
/// | `flip` | `p=0.5` |
/// | `vflip` | `p=0.5` |
/// | `resized-crop` | `size`, `scale=0.08..1`, `ratio=0.75..1.3333333333333333`, `interpolation=bilinear`, or `random` for bilinear or bicubic |
/// | `keep-ratio-crop` | `size`, `scale=0.8..1`, `ratio=0.9..1.1111111111111112`, `interpolation=bilinear` or `random`, `place=random` or `center` |
/// | `color-jitter` | `brightness=0`, `contrast=0`, `saturation=0`, `hue=0`: distances, or ranges such as `0.5..1`; `p=1` |
/// | `grey` | `p=0.1` |
/// | `gaussian-blur` | `p=0.5`, `kernel=23`, `sigma=0.1..2` |
/// | `aa` | `policy`: a [policy of timm](super::TimmPolicy); `fill=124-116-104`, `interpolation=random` |
/// | `rand-augment` | `ops=2`, `magnitude=9`, `bins=31` |
/// | `trivial-augment` | `bins=31` |
/// | `random-erasing` | `p=0.5`, `scale=0.02..0.33`, `ratio=0.3..3.3`, `value=zero`, `random` or `color`, `count=1` |
///
/// For example `resized-crop:224:scale=0.2..1,flip,color-jitter:0.4:0.4:0.4:0.1,random-erasing:0.25`.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Augmentation {
    /// Transforms of pixels, in this order.
    pub steps: Vec<Step>,
    /// Transform of normalised values.
    #[serde(default)]
    pub erasing: Option<RandomErasing>,
    /// The version of Pillow to reproduce; not part of the text form.
    #[serde(default)]
    pub pillow: Pillow,
}

/// A step of an [`Augmentation`].
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Step {
    /// A random part of the padded image.
    Crop(RandomCrop),
    /// Random horizontal flip.
    Flip(RandomHorizontalFlip),
    /// A random part of the image, resized.
    ResizedCrop(RandomResizedCrop),
    /// Random changes of colours.
    ColorJitter(ColorJitter),
    /// Operations of the same magnitude.
    RandAugment(RandAugment),
    /// One operation of random magnitude.
    TrivialAugment(TrivialAugmentWide),
    /// Random vertical flip.
    VerticalFlip(RandomVerticalFlip),
    /// Random loss of colour.
    Grey(RandomGrey),
    /// A policy of timm.
    Timm(TimmAugment),
    /// The whole image, resized, and a part of it.
    KeepRatioCrop(KeepRatioCrop),
    /// Random blur.
    GaussianBlur(RandomGaussianBlur),
}

impl Augmentation {
    /// Checks all values.
    ///
    /// # Errors
    ///
    /// If one is out of range.
    pub fn check(self) -> Result<Self, AugmentationError> {
        for step in &self.steps {
            match step {
                Step::Crop(step) => step.check(),
                Step::Flip(step) => step.check(),
                Step::ResizedCrop(step) => step.check(),
                Step::ColorJitter(step) => step.check(),
                Step::RandAugment(step) => step.check(),
                Step::TrivialAugment(step) => step.check(),
                Step::VerticalFlip(step) => step.check(),
                Step::Grey(step) => step.check(),
                Step::Timm(step) => step.check(),
                Step::KeepRatioCrop(step) => step.check(),
                Step::GaussianBlur(step) => step.check(),
            }?;
        }
        if let Some(erasing) = &self.erasing {
            erasing.check()?;
        }
        Ok(self)
    }

    /// Width and height of the result for an image of this size.
    pub fn size(&self, image: [u32; 2]) -> [u32; 2] {
        self.steps.iter().fold(image, |image, step| match step {
            Step::Crop(crop) => crop.size.unwrap_or(image),
            Step::ResizedCrop(crop) => crop.size,
            Step::KeepRatioCrop(crop) => crop.size,
            _ => image,
        })
    }

    /// Whether there is nothing but a crop or none, followed by flips.
    pub fn is_crop_and_flip(&self) -> bool {
        let flips = match &self.steps[..] {
            [Step::Crop(_), flips @ ..] | flips => flips,
        };
        self.erasing.is_none() && flips.iter().all(|step| matches!(step, Step::Flip(_)))
    }

    /// Draws the operations for an image of this width and height.
    pub(super) fn draw(
        &self,
        mut image: [u32; 2],
        generator: &mut (impl Rng + ?Sized),
        out: &mut Vec<Operation>,
    ) -> Result<(), ImageError> {
        out.clear();
        for step in &self.steps {
            let before = out.len();
            match step {
                Step::Crop(step) => out.push(step.draw(image, generator)?),
                Step::Flip(step) => out.extend(step.draw(generator)),
                Step::ResizedCrop(step) => out.push(step.draw(image, generator)),
                Step::ColorJitter(step) => step.draw(generator, out),
                Step::RandAugment(step) => step.draw(image, generator, out),
                Step::TrivialAugment(step) => out.extend(step.draw(generator)),
                Step::VerticalFlip(step) => out.extend(step.draw(generator)),
                Step::Grey(step) => out.extend(step.draw(generator)),
                Step::Timm(step) => step.draw(image, generator, out),
                Step::KeepRatioCrop(step) => out.extend(step.draw(image, generator)),
                Step::GaussianBlur(step) => out.extend(step.draw(generator)),
            }
            for operation in &out[before..] {
                image = operation.size(image);
            }
        }
        Ok(())
    }
}
