use std::fmt;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::{Crop, ImageError, Interpolation, Pillow};

/// To which size an image is brought before crops are taken. Sizes are columns and rows.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Resize {
    /// To none: it stays as it is.
    None,
    /// The shorter side to so many pixels, the longer in proportion, cut off to whole pixels:
    /// torchvision's `Resize(256)`.
    ShorterSide(u32),
    /// To this size, whatever the proportions: torchvision's `Resize((height, width))`.
    Exact([u32; 2]),
    /// In proportion, so that it just covers this size: timm's `ResizeKeepRatio`.
    Cover([u32; 2]),
    /// In proportion, so that it just fits into this size: timm's `ResizeKeepRatio` with `longest=1`.
    Contain([u32; 2]),
}

impl Resize {
    /// Columns and rows of an image after it.
    ///
    /// # Errors
    ///
    /// If the image would have no pixels, or more columns or rows than can be counted.
    pub fn apply(self, size: [u32; 2]) -> Result<[u32; 2], ImageError> {
        let [width, height] = size;
        let in_proportion = |to: [u32; 2], choose: fn(f64, f64) -> f64| {
            let ratio = |axis: usize| f64::from(size[axis]) / f64::from(to[axis]);
            let ratio = choose(ratio(0), ratio(1));
            size.map(|side| (f64::from(side) / ratio).round_ties_even())
        };
        let resized = match self {
            Self::None => return Ok(size),
            Self::Exact(to) => to.map(f64::from),
            Self::ShorterSide(shorter) => {
                let [short, long] = [width.min(height), width.max(height)];
                // Python divides the integers; their product is exact here too.
                let long = (f64::from(shorter) * f64::from(long) / f64::from(short)).trunc();
                let short = f64::from(shorter);
                if width <= height {
                    [short, long]
                } else {
                    [long, short]
                }
            }
            Self::Cover(to) => in_proportion(to, f64::min),
            Self::Contain(to) => in_proportion(to, f64::max),
        };
        // Pillow counts in 32 bits with sign.
        let countable = 1.0..=f64::from(i32::MAX);
        if resized.iter().all(|side| countable.contains(side)) {
            Ok(resized.map(|side| side as u32))
        } else {
            Err(ImageError::Resize {
                width,
                height,
                to: format!("{} x {}", resized[0], resized[1]),
            })
        }
    }

    /// A size that an image may be decoded at, if smaller than its own, before it.
    pub(crate) fn at_least(self) -> Option<[u32; 2]> {
        match self {
            Self::None => None,
            Self::ShorterSide(side) => Some([side; 2]),
            Self::Exact(size) | Self::Cover(size) | Self::Contain(size) => Some(size),
        }
    }
}

impl fmt::Display for Resize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::None => f.write_str("no resizing"),
            Self::ShorterSide(side) => write!(f, "shorter side to {side}"),
            Self::Exact([width, height]) => write!(f, "to {width}x{height}"),
            Self::Cover([width, height]) => write!(f, "to cover {width}x{height}"),
            Self::Contain([width, height]) => write!(f, "to fit into {width}x{height}"),
        }
    }
}

/// How an encoded image becomes the input of a network, up to normalisation.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Preprocessing {
    /// The size before crops are taken.
    pub resize: Resize,
    /// How the pixels of the resized image are made.
    pub interpolation: Interpolation,
    /// The parts that are taken.
    pub crop: Crop,
    /// Whose pixels they are.
    #[serde(default)]
    pub pillow: Pillow,
    /// Whether JPEGs of at least twice the size are decoded at a fraction of it, as after Pillow's
    /// `draft`: faster for large images, but other pixels.
    #[serde(default)]
    pub fast: bool,
}

/// What timm's `create_transform` is told for evaluation, under its names.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TimmConfig {
    /// Columns and rows of the network's input.
    pub input_size: [u32; 2],
    /// Part of the resized image that is taken; timm's default is 0.875.
    pub crop_pct: f64,
    /// What the crop is taken from.
    pub crop_mode: CropMode,
    /// How the pixels of the resized image are made.
    pub interpolation: Interpolation,
    /// Mean of each channel of pixels / 255; the colour around images in [`CropMode::Border`].
    pub mean: [f64; 3],
}

/// timm's `crop_mode`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum CropMode {
    /// The image is resized in proportion to cover the crop.
    Center,
    /// Its sides are resized each to its own.
    Squash,
    /// It is resized in proportion to fit into the crop, with a border around it.
    Border,
}

/// Numbers that no preprocessing can be made of.
#[derive(Clone, Debug, Error, PartialEq)]
#[error("{what} is {value}, it must be {expected}")]
pub struct PreprocessingError {
    what: &'static str,
    value: String,
    expected: &'static str,
}

/// The largest side of a crop or a resized image that can be asked for.
const MAX_SIDE: u32 = 1 << 16;

impl Preprocessing {
    /// torchvision's transforms for evaluation: `Resize(resize)`, bilinear, and `CenterCrop(crop)`.
    pub fn torchvision(resize: u32, crop: u32) -> Self {
        Self {
            resize: Resize::ShorterSide(resize),
            interpolation: Interpolation::Bilinear,
            crop: Crop::Center {
                size: [crop; 2],
                fill: [0; 3],
            },
            pillow: Pillow::default(),
            fast: false,
        }
    }

    /// timm's transforms for evaluation.
    ///
    /// # Errors
    ///
    /// If `crop_pct` or a mean is no part of 1, or a side is 0 or far too large.
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
            resize,
            interpolation: config.interpolation,
            crop: Crop::Center { size, fill },
            pillow: Pillow::default(),
            fast: false,
        }
        .check()
    }

    /// Checks that all sides are there and of a size that images can have.
    ///
    /// # Errors
    ///
    /// If one is not from 1 to 65,536.
    pub fn check(self) -> Result<Self, PreprocessingError> {
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

impl fmt::Display for Preprocessing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
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
