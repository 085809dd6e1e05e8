//! Input size, normalisation, resizing and augmentation of a run's images, and their way to the device.

use std::sync::Arc;

use tch::Device;
use topk_image::NormalizationTable;
use topk_image::augment::{Augmentation, Step};
use topk_preprocessing::{
    Crop, Halves, ImageMode, Interpolation, Normalization, Preprocessing, Resize,
};

use super::DatasetError;
use crate::config::Config;
use crate::delivery::{Delivery, Form};
use crate::images::Preparation;

/// The augmentation of CIFAR's images in their own size, or of others, as text.
pub(crate) fn default_augmentation(is_cifar_sized: bool, [_, height, width]: [usize; 3]) -> String {
    match is_cifar_sized {
        true => "crop:4,flip".to_owned(),
        false if height == width => format!("resized-crop:{height},flip"),
        false => format!("resized-crop:{width}x{height},flip"),
    }
}

/// Input size, normalisation, resizing and augmentation.
pub(super) struct Transforms {
    pub(super) shape: [usize; 3],
    /// What images are converted to.
    pub(super) mode: ImageMode,
    pub(super) normalization: Normalization,
    /// How validation images are resized.
    pub(super) resize: Resize,
    /// Preprocessing of validation images; `None` if they have the input size already.
    pub(super) evaluation: Option<Preprocessing>,
    pub(super) augmentation: Augmentation,
}

impl Transforms {
    pub(super) fn new(config: &Config, is_cifar: bool) -> Result<Self, DatasetError> {
        let cifar = is_cifar.then_some([32, 32]);
        let sides = config.input_sides().or(cifar).unwrap_or([224, 224]);
        let mode = config.image_mode();
        let shape = [mode.channels(), sides[0], sides[1]];
        let [height, width] = sides.map(|side| side as u32);
        let larger = |side: u32| (side * 8).div_ceil(7);
        let resize = match config.val_resize {
            Some(side) => Resize::ShorterSide(side),
            None if cifar == Some(sides) => Resize::None,
            None if height == width => Resize::ShorterSide(larger(height)),
            None => Resize::Cover([width, height].map(larger)),
        };
        let normalization = match is_cifar {
            true => Normalization::CIFAR100,
            false => Normalization::IMAGENET,
        };
        let normalization = match mode {
            ImageMode::Rgb => normalization,
            ImageMode::L => normalization.grey(),
        };
        let is_cifar_sized = cifar == Some(sides);
        let evaluation = Preprocessing {
            mode,
            resize,
            crop: Crop::Center {
                size: [width, height],
                fill: [0; 3],
                halves: Halves::Even,
            },
            ..Preprocessing::torchvision(height, width)
        };
        Ok(Self {
            shape,
            mode,
            normalization,
            resize,
            evaluation: (resize != Resize::None).then_some(evaluation),
            augmentation: match &config.augment {
                Some(augmentation) => augmentation.clone(),
                None if config.augmenting.are_given() => config.augmenting.augmentation(
                    is_cifar_sized,
                    [height, width],
                    &normalization,
                )?,
                None => default_augmentation(is_cifar_sized, shape).parse()?,
            },
        })
    }

    /// What follows from the settings: one line each.
    pub(super) fn decisions(&self, config: &Config) -> Vec<String> {
        let mut lines = Vec::new();
        if config.augmenting.are_given() {
            lines.push(format!("--augment {}", self.augmentation));
        }
        if !self.mode.is_rgb() {
            let Normalization { mean, std } = self.normalization;
            lines.push(format!(
                "--in-chans 1: images are converted to grey like Pillow's convert(\"{}\"); mean {} and std {} are the averages \
                 over red, green and blue",
                self.mode, mean[0], std[0]
            ));
        }
        if let Resize::Cover([width, height]) = self.resize {
            lines.push(format!(
                "validation images are resized to cover {height}x{width} pixels (height x width) before the centre crop; \
                 --val-resize N resizes their shorter side"
            ));
        }
        lines
    }

    /// Preparation of training images.
    pub(super) fn training(&self, config: &Config) -> Preparation {
        let resize = config.train_resize.map(|shorter_side| Preprocessing {
            mode: self.mode,
            trim: 0,
            resize: Resize::ShorterSide(shorter_side),
            interpolation: Interpolation::Bilinear,
            crop: Crop::None,
            pillow: self.augmentation.pillow,
            fast: false,
        });
        Preparation::Augment {
            // Without augmentation, training images are prepared as for evaluation.
            resize: match self.augmentation.steps.is_empty() {
                true => self.evaluation.or(resize),
                false => resize,
            },
            augmentation: self.augmentation.clone(),
            mixing: config.mix,
        }
    }

    /// How prepared images get to the device; `None` if they are there, because the loader normalises them for the CPU.
    pub(super) fn delivery(
        &self,
        config: &Config,
        device: Device,
        preparation: &Preparation,
        table: &NormalizationTable,
    ) -> Result<Option<Arc<Delivery>>, DatasetError> {
        let form = match preparation {
            Preparation::Augment { augmentation, .. } if config.machine.augment_on_device => {
                Form::Cropped {
                    padding: self.padding(augmentation)?,
                }
            }
            _ if device == Device::Cpu => return Ok(None),
            // A device that normalises gets pixels of three channels.
            _ if !self.mode.is_rgb() => Form::Normalized,
            Preparation::Augment { augmentation, .. } if augmentation.erasing.is_some() => {
                Form::Normalized
            }
            _ => Form::Pixels,
        };
        let delivery = Delivery::new(device, self.shape, table, form);
        Ok(Some(Arc::new(delivery?)))
    }

    /// The padding of a crop that the device can do.
    fn padding(&self, augmentation: &Augmentation) -> Result<u32, DatasetError> {
        let [_, height, width] = self.shape.map(|side| side as u32);
        let input = [width, height];
        let crop = augmentation.steps.iter().find_map(|step| match step {
            Step::Crop(crop) => Some(*crop),
            _ => None,
        });
        let crop = crop.unwrap_or_default();
        if !augmentation.is_crop_and_flip() || crop.size.is_some_and(|size| size != input) {
            return Err(DatasetError::AugmentOnDevice {
                augmentation: augmentation.to_string(),
                height,
                width,
            });
        }
        Ok(crop.padding)
    }
}
