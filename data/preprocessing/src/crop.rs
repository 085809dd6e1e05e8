use std::fmt;

use serde::{Deserialize, Serialize};

/// Crops evaluated per image.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(feature = "clap", derive(clap::ValueEnum))]
#[serde(rename_all = "lowercase")]
pub enum Crops {
    /// The centre
    #[default]
    Center,
    /// The four corners and the centre
    Five,
    /// Those five, and the same crops of the mirrored image
    Ten,
}

impl Crops {
    /// Number of crops per image.
    pub const fn count(self) -> usize {
        match self {
            Self::Center => 1,
            Self::Five => 5,
            Self::Ten => 10,
        }
    }
}

/// timm's `crop_mode`.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(feature = "clap", derive(clap::ValueEnum))]
#[serde(rename_all = "lowercase")]
pub enum CropMode {
    /// Resize to cover the crop, keeping the aspect ratio
    Center,
    /// Resize to the target size, ignoring the aspect ratio
    Squash,
    /// Resize to fit into the crop, keeping the aspect ratio, and fill the border
    Border,
}

/// Which parts of the resized image are taken, with torchvision's rounding.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Crop {
    /// The whole image, whatever its size.
    None,
    /// The centre, as `CenterCrop` takes it.
    Center {
        /// Width and height.
        size: [u32; 2],
        /// The colour around an image that is smaller.
        #[serde(default)]
        fill: [u8; 3],
        /// Which of the two middle positions is taken where they are half a pixel from the centre.
        #[serde(default, skip_serializing_if = "Halves::is_default")]
        halves: Halves,
    },
    /// The corners, upper left and right, lower left and right, then the centre, as `FiveCrop` takes
    /// them.
    Five {
        /// Width and height.
        size: [u32; 2],
    },
    /// Those five, then those of the mirrored image, as `TenCrop` takes them.
    Ten {
        /// Width and height.
        size: [u32; 2],
    },
}

/// How the position of a centre crop is rounded where it is halfway between two pixels.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Halves {
    /// To the even position, as in torchvision's `CenterCrop`, which timm uses too.
    #[default]
    Even,
    /// Down, to the left or the top, as in the image processors of transformers.
    Down,
}

impl Halves {
    #[expect(
        clippy::trivially_copy_pass_by_ref,
        reason = "serde passes a reference"
    )]
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

impl Crop {
    /// Number of crops per image.
    pub fn count(self) -> usize {
        match self {
            Self::None | Self::Center { .. } => 1,
            Self::Five { .. } => 5,
            Self::Ten { .. } => 10,
        }
    }

    /// Width and height of each crop, where they do not depend on the image.
    pub fn size(self) -> Option<[u32; 2]> {
        match self {
            Self::None => None,
            Self::Center { size, .. } | Self::Five { size } | Self::Ten { size } => Some(size),
        }
    }
}

impl fmt::Display for Crop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, [width, height]) = match *self {
            Self::None => return f.write_str("no crop"),
            Self::Center { size, .. } => ("centre crop", size),
            Self::Five { size } => ("five crops", size),
            Self::Ten { size } => ("ten crops", size),
        };
        write!(f, "{name} of {width}x{height}")
    }
}
