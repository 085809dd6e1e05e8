//! The order of channels, and the range of pixels.

use std::fmt;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Order of the channels in the input of a network.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ChannelOrder {
    /// Red, green, blue.
    #[default]
    Rgb,
    /// Blue, green, red: networks of Caffe and OpenCV.
    Bgr,
}

impl ChannelOrder {
    /// For each channel of the input, the channel of the image: 0 red, 1 green, 2 blue.
    pub const fn channels(self) -> [usize; 3] {
        match self {
            Self::Rgb => [0, 1, 2],
            Self::Bgr => [2, 1, 0],
        }
    }

    /// Whether it is red, green, blue.
    pub fn is_rgb(&self) -> bool {
        *self == Self::Rgb
    }
}

/// What white is before mean and standard deviation, which are in units of pixels / 255 in both cases.
///
/// A pixel p becomes (p / 255 − mean) / std, or 255 times that.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(into = "u16", try_from = "u16")]
pub enum PixelRange {
    /// Pixels are from 0 to 1.
    #[default]
    One,
    /// Pixels are from 0 to 255: networks of Caffe and Keras that subtract a mean and do not divide.
    Byte,
}

/// A number that is not the end of a range of pixels.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
#[error("expected the value of white, 1 or 255")]
pub struct PixelRangeError;

impl PixelRange {
    /// Whether pixels are from 0 to 1.
    pub fn is_one(&self) -> bool {
        *self == Self::One
    }

    /// Parses `1` or `255`.
    ///
    /// # Errors
    /// If the text is neither.
    pub fn parse(text: &str) -> Result<Self, PixelRangeError> {
        text.parse()
            .ok()
            .map_or(Err(PixelRangeError), |white: u16| white.try_into())
    }
}

impl From<PixelRange> for u16 {
    fn from(range: PixelRange) -> Self {
        match range {
            PixelRange::One => 1,
            PixelRange::Byte => 255,
        }
    }
}

impl TryFrom<u16> for PixelRange {
    type Error = PixelRangeError;

    fn try_from(white: u16) -> Result<Self, Self::Error> {
        match white {
            1 => Ok(Self::One),
            255 => Ok(Self::Byte),
            _ => Err(PixelRangeError),
        }
    }
}

impl fmt::Display for PixelRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", u16::from(*self))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_numbers_in_files_and_flags() {
        for (range, text) in [(PixelRange::One, "1"), (PixelRange::Byte, "255")] {
            assert_eq!(serde_json::to_string(&range).unwrap(), text);
            assert_eq!(serde_json::from_str::<PixelRange>(text).unwrap(), range);
            assert_eq!(PixelRange::parse(text), Ok(range));
        }
        assert!(serde_json::from_str::<PixelRange>("2").is_err());
        for text in ["", "-1", "256", "1.0"] {
            assert_eq!(PixelRange::parse(text), Err(PixelRangeError), "{text}");
        }
    }
}
