use std::fmt;

use serde::{Deserialize, Serialize};

/// Pillow's mode of a decoded image, under Pillow's name; timm's `input_img_mode`.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, Hash, PartialEq, Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum ImageMode {
    /// Red, green and blue.
    #[default]
    Rgb,
    /// Grey: luma according to ITU-R 601, as `Image.convert("L")` computes it.
    L,
}

impl ImageMode {
    /// The mode of images with this number of channels, if there is one.
    pub const fn of_channels(channels: usize) -> Option<Self> {
        match channels {
            1 => Some(Self::L),
            3 => Some(Self::Rgb),
            _ => None,
        }
    }

    /// Number of channels.
    pub const fn channels(self) -> usize {
        match self {
            Self::Rgb => 3,
            Self::L => 1,
        }
    }

    /// Whether it is red, green and blue.
    pub fn is_rgb(&self) -> bool {
        *self == Self::Rgb
    }
}

impl fmt::Display for ImageMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Rgb => "RGB",
            Self::L => "L",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_have_pillows_names() {
        for (mode, name, channels) in [(ImageMode::Rgb, "RGB", 3), (ImageMode::L, "L", 1)] {
            assert_eq!(mode.to_string(), name);
            assert_eq!(serde_json::to_value(mode).unwrap(), name);
            assert_eq!(mode.channels(), channels);
            assert_eq!(ImageMode::of_channels(channels), Some(mode));
        }
        assert_eq!(ImageMode::of_channels(4), None);
    }
}
