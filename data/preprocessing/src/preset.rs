use serde::{Deserialize, Serialize};

use crate::Interpolation;

/// Preprocessing defaults of a model library.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(feature = "clap", derive(clap::ValueEnum))]
#[serde(rename_all = "lowercase")]
pub enum Preset {
    /// Shorter side resized to 8/7 of the input size, bilinear, ImageNet mean and std
    Torchvision,
    /// crop_pct 0.875, bicubic, ImageNet mean and std
    Timm,
}

impl Preset {
    /// The library's default filter.
    pub const fn interpolation(self) -> Interpolation {
        match self {
            Self::Torchvision => Interpolation::Bilinear,
            Self::Timm => Interpolation::Bicubic,
        }
    }
}
