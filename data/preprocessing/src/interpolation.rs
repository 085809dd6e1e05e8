use std::fmt;

use serde::{Deserialize, Serialize};

/// Resampling filter, named as in Pillow and timm. All but [`Nearest`](Self::Nearest) are antialiased:
/// their support grows as the image shrinks.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(feature = "clap", derive(clap::ValueEnum))]
#[serde(rename_all = "lowercase")]
pub enum Interpolation {
    /// Nearest pixel, without antialiasing
    Nearest,
    /// Mean of the covered pixels
    Box,
    /// Triangle filter; torchvision's default
    Bilinear,
    /// Hamming window with the support of a triangle
    Hamming,
    /// Cubic convolution with a = -0.5; timm's default
    Bicubic,
    /// Sinc window of three lobes
    Lanczos,
}

impl Interpolation {
    /// All filters, in the order of their definition.
    pub const ALL: [Self; 6] = [
        Self::Nearest,
        Self::Box,
        Self::Bilinear,
        Self::Hamming,
        Self::Bicubic,
        Self::Lanczos,
    ];

    /// The name, as in files and on command lines.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Nearest => "nearest",
            Self::Box => "box",
            Self::Bilinear => "bilinear",
            Self::Hamming => "hamming",
            Self::Bicubic => "bicubic",
            Self::Lanczos => "lanczos",
        }
    }

    /// The filter with this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|filter| filter.name() == name)
    }
}

impl fmt::Display for Interpolation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_use_the_displayed_names() {
        for filter in Interpolation::ALL {
            let json = serde_json::to_value(filter).unwrap();
            assert_eq!(json, filter.to_string());
            assert_eq!(Interpolation::from_name(filter.name()), Some(filter));
        }
        assert_eq!(Interpolation::from_name("cubic"), None);
    }

    #[cfg(feature = "clap")]
    #[test]
    fn flags_use_the_displayed_names() {
        use clap::ValueEnum;

        assert_eq!(Interpolation::value_variants(), Interpolation::ALL);
        for filter in Interpolation::ALL {
            let value = filter.to_possible_value().unwrap();
            assert_eq!(value.get_name(), filter.name());
        }
    }
}
