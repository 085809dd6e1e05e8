use std::fmt;

use serde::{Deserialize, Serialize};

/// Version of Pillow whose pixels are reproduced.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(feature = "clap", derive(clap::ValueEnum))]
pub enum Pillow {
    /// Pillow 12 and older: the width is always resized before the height
    #[serde(rename = "12")]
    #[cfg_attr(feature = "clap", value(name = "12"))]
    V12,
    /// Pillow 13: the height is resized first if it shrinks by more than twice as many pixels as the width
    #[default]
    #[serde(rename = "13")]
    #[cfg_attr(feature = "clap", value(name = "13"))]
    V13,
}

impl fmt::Display for Pillow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::V12 => "Pillow 12",
            Self::V13 => "Pillow 13",
        })
    }
}
