use std::fmt;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::{Crop, CropMode, Halves, ImageMode, Interpolation, Pillow, Resize};

/// How an encoded image becomes the input of a network, up to normalization.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Preprocessing {
    /// The mode that images are converted to after decoding. Grey images have the same value in all three channels
    /// until they are normalized.
    #[serde(default, skip_serializing_if = "ImageMode::is_rgb")]
    pub mode: ImageMode,
    /// Number of pixels that are removed from each side first, such as the frame of ObjectNet's images.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub trim: u32,
    /// The resizing before crops are taken.
    pub resize: Resize,
    /// The resampling filter.
    pub interpolation: Interpolation,
    /// The crops of the resized image.
    pub crop: Crop,
    /// The version of Pillow whose pixels are reproduced.
    #[serde(default)]
    pub pillow: Pillow,
    /// Whether JPEGs of at least twice the required size are decoded at reduced size, as after Pillow's
    /// `draft`: faster for large images, but with different pixels.
    #[serde(default)]
    pub fast: bool,
}

/// Arguments of timm's `create_transform` for evaluation, under its names.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TimmConfig {
    /// Width and height of the network's input.
    pub input_size: [u32; 2],
    /// Input size / size after resizing; timm's default is 0.875.
    pub crop_pct: f64,
    /// How the image is resized for the crop.
    pub crop_mode: CropMode,
    /// The resampling filter.
    pub interpolation: Interpolation,
    /// Mean of each channel of pixels / 255: the border colour of [`CropMode::Border`].
    pub mean: [f64; 3],
}

/// A preprocessing setting outside its range.
#[derive(Clone, Debug, Error, PartialEq)]
#[error("{what} must be {expected}, got {value}")]
pub struct PreprocessingError {
    what: &'static str,
    value: String,
    expected: &'static str,
}

/// The largest side of a crop or a resized image.
const MAX_SIDE: u32 = 1 << 16;

impl Preprocessing {
    /// torchvision's transforms for evaluation: `Resize(resize)`, bilinear, and `CenterCrop(crop)`.
    pub fn torchvision(resize: u32, crop: u32) -> Self {
        Self {
            mode: ImageMode::Rgb,
            trim: 0,
            resize: Resize::ShorterSide(resize),
            interpolation: Interpolation::Bilinear,
            crop: Crop::Center {
                size: [crop; 2],
                fill: [0; 3],
                halves: Halves::Even,
            },
            pillow: Pillow::default(),
            fast: false,
        }
    }

    /// timm's transforms for evaluation.
    ///
    /// # Errors
    ///
    /// If `crop_pct` is not above 0, a mean is not from 0 to 1, or a side is not from 1 to 65,536.
    pub fn timm(config: &TimmConfig) -> Result<Self, PreprocessingError> {
        if !(config.crop_pct > 0.0 && config.crop_pct.is_finite()) {
            return Err(PreprocessingError {
                what: "crop_pct",
                value: config.crop_pct.to_string(),
                expected: "above 0",
            });
        }
        if let Some(mean) = config.mean.iter().find(|mean| !(0.0..=1.0).contains(*mean)) {
            return Err(PreprocessingError {
                what: "a mean of timm's configuration",
                value: mean.to_string(),
                expected: "from 0 to 1",
            });
        }
        let size = config.input_size;
        let scaled = size.map(|side| (f64::from(side) / config.crop_pct).floor() as u32);
        let fill = match config.crop_mode {
            CropMode::Border => config
                .mean
                .map(|mean| (255.0 * mean).round_ties_even() as u8),
            CropMode::Center | CropMode::Squash => [0; 3],
        };
        let resize = match config.crop_mode {
            CropMode::Center if scaled[0] == scaled[1] => Resize::ShorterSide(scaled[0]),
            CropMode::Center => Resize::Cover(scaled),
            CropMode::Squash => Resize::Exact(scaled),
            CropMode::Border => Resize::Contain(scaled),
        };
        Self {
            mode: ImageMode::Rgb,
            trim: 0,
            resize,
            interpolation: config.interpolation,
            crop: Crop::Center {
                size,
                fill,
                halves: Halves::Even,
            },
            pillow: Pillow::default(),
            fast: false,
        }
        .check()
    }

    /// Checks that all sides are sizes that images can have.
    ///
    /// # Errors
    ///
    /// If one is not from 1 to 65,536, or images are to be trimmed and decoded at reduced size.
    pub fn check(self) -> Result<Self, PreprocessingError> {
        if self.trim > 0 && self.fast {
            return Err(PreprocessingError {
                what: "trim",
                value: self.trim.to_string(),
                expected: "0 for images that are decoded at reduced size",
            });
        }
        let resized = self.resize.at_least().map(|size| ("a resized side", size));
        let cropped = self.crop.size().map(|size| ("a crop's side", size));
        for (what, size) in [resized, cropped].into_iter().flatten() {
            if let Some(side) = size.iter().find(|side| !(1..=MAX_SIDE).contains(*side)) {
                return Err(PreprocessingError {
                    what,
                    value: side.to_string(),
                    expected: "from 1 to 65536 pixels",
                });
            }
        }
        Ok(self)
    }
}

fn is_zero(number: &u32) -> bool {
    *number == 0
}

impl fmt::Display for Preprocessing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.mode.is_rgb() {
            write!(f, "convert to {}, ", self.mode)?;
        }
        if self.trim > 0 {
            write!(f, "trim {} pixels from each side, ", self.trim)?;
        }
        match self.resize {
            Resize::None => write!(f, "{}", self.resize)?,
            resize => write!(f, "resize {resize} ({})", self.interpolation)?,
        }
        write!(f, ", {}, as {}", self.crop, self.pillow)?;
        if self.fast {
            write!(f, ", large JPEGs decoded at a fraction of their size")?;
        }
        Ok(())
    }
}
