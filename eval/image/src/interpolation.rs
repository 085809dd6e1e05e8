use std::f64::consts::PI;
use std::fmt;

use serde::{Deserialize, Serialize};

/// How pixels are weighted in resizing, named as in Pillow and timm. All are antialiased: their support
/// grows with the reduction.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Interpolation {
    /// The mean of the pixels under one.
    Box,
    /// A triangle; torchvision's default.
    Bilinear,
    /// A Hamming window with the support of a triangle.
    Hamming,
    /// Cubic convolution with a = −½.
    Bicubic,
    /// A sinc of three lobes.
    Lanczos,
}

impl fmt::Display for Interpolation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Box => "box",
            Self::Bilinear => "bilinear",
            Self::Hamming => "hamming",
            Self::Bicubic => "bicubic",
            Self::Lanczos => "lanczos",
        })
    }
}

impl Interpolation {
    /// The one that is displayed so.
    pub(crate) fn named(name: &str) -> Option<Self> {
        let all = [
            Self::Box,
            Self::Bilinear,
            Self::Hamming,
            Self::Bicubic,
            Self::Lanczos,
        ];
        all.into_iter().find(|kind| kind.to_string() == name)
    }

    /// How far from the centre weights reach, in pixels of the smaller image.
    pub(crate) fn support(self) -> f64 {
        match self {
            Self::Box => 0.5,
            Self::Bilinear | Self::Hamming => 1.0,
            Self::Bicubic => 2.0,
            Self::Lanczos => 3.0,
        }
    }

    /// The weight at this distance from the centre.
    ///
    /// The operations are those of Pillow, one by one: others round differently.
    pub(crate) fn weight(self, x: f64) -> f64 {
        match self {
            Self::Box => f64::from(x > -0.5 && x <= 0.5),
            Self::Bilinear => {
                let x = x.abs();
                if x < 1.0 { 1.0 - x } else { 0.0 }
            }
            Self::Hamming => {
                let x = x.abs();
                if x == 0.0 {
                    1.0
                } else if x >= 1.0 {
                    0.0
                } else {
                    // Pillow's constants have single precision.
                    let x = x * PI;
                    x.sin() / x * (f64::from(0.54f32) + f64::from(0.46f32) * x.cos())
                }
            }
            Self::Bicubic => {
                const A: f64 = -0.5;
                let x = x.abs();
                if x < 1.0 {
                    ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0
                } else if x < 2.0 {
                    (((x - 5.0) * x + 8.0) * x - 4.0) * A
                } else {
                    0.0
                }
            }
            Self::Lanczos => {
                if (-3.0..3.0).contains(&x) {
                    sinc(x) * sinc(x / 3.0)
                } else {
                    0.0
                }
            }
        }
    }
}

fn sinc(x: f64) -> f64 {
    if x == 0.0 {
        return 1.0;
    }
    let x = x * PI;
    x.sin() / x
}
