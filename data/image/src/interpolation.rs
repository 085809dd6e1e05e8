use std::f64::consts::PI;
use std::fmt;

use serde::{Deserialize, Serialize};

/// How the pixels of a resized image are made, named as in Pillow and timm. All but [`Nearest`](Self::Nearest)
/// are antialiased: their support grows with the reduction.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Interpolation {
    /// The pixel under the centre of one.
    Nearest,
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
            Self::Nearest => "nearest",
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
            Self::Nearest,
            Self::Box,
            Self::Bilinear,
            Self::Hamming,
            Self::Bicubic,
            Self::Lanczos,
        ];
        all.into_iter().find(|kind| kind.to_string() == name)
    }

    /// What weights pixels; none if one pixel is taken as it is.
    pub(crate) fn filter(self) -> Option<Filter> {
        let (support, weight): (f64, fn(f64) -> f64) = match self {
            Self::Nearest => return None,
            Self::Box => (0.5, square),
            Self::Bilinear => (1.0, triangle),
            Self::Hamming => (1.0, hamming),
            Self::Bicubic => (2.0, cubic),
            Self::Lanczos => (3.0, lanczos),
        };
        Some(Filter { support, weight })
    }
}

/// A filter of Pillow.
///
/// The operations are those of Pillow, one by one: others round differently.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Filter {
    /// How far from the centre weights reach, in pixels of the smaller image.
    pub(crate) support: f64,
    /// The weight at a distance from the centre.
    pub(crate) weight: fn(f64) -> f64,
}

fn square(x: f64) -> f64 {
    f64::from(x > -0.5 && x <= 0.5)
}

fn triangle(x: f64) -> f64 {
    let x = x.abs();
    if x < 1.0 { 1.0 - x } else { 0.0 }
}

fn hamming(x: f64) -> f64 {
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

fn cubic(x: f64) -> f64 {
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

fn lanczos(x: f64) -> f64 {
    if (-3.0..3.0).contains(&x) {
        sinc(x) * sinc(x / 3.0)
    } else {
        0.0
    }
}

fn sinc(x: f64) -> f64 {
    if x == 0.0 {
        return 1.0;
    }
    let x = x * PI;
    x.sin() / x
}
