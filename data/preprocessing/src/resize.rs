use std::fmt;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Size of the image before crops are taken. Sizes are width and height in pixels.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Resize {
    /// The original size.
    None,
    /// Shorter side in pixels; the longer one keeps the aspect ratio, rounded down: torchvision's
    /// `Resize(256)`.
    ShorterSide(u32),
    /// This size, ignoring the aspect ratio: torchvision's `Resize((height, width))`.
    Exact([u32; 2]),
    /// The smallest size that covers this one, keeping the aspect ratio: timm's `ResizeKeepRatio`.
    Cover([u32; 2]),
    /// The largest size that fits into this one, keeping the aspect ratio: timm's `ResizeKeepRatio`
    /// with `longest=1`.
    Contain([u32; 2]),
}

impl Resize {
    /// Width and height of an image of this width and height after resizing.
    ///
    /// # Errors
    ///
    /// If the resized image would have no pixels, or a side over 2^31 - 1.
    pub fn apply(self, size: [u32; 2]) -> Result<[u32; 2], ResizeError> {
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
            Err(ResizeError {
                width,
                height,
                to: format!("{} x {}", resized[0], resized[1]),
            })
        }
    }

    /// The size below which an image must not be reduced before this resizing.
    pub fn at_least(self) -> Option<[u32; 2]> {
        match self {
            Self::None => None,
            Self::ShorterSide(side) => Some([side; 2]),
            Self::Exact(size) | Self::Cover(size) | Self::Contain(size) => Some(size),
        }
    }
}

/// An image that cannot be resized: the result would be empty or too large.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
#[error("{width} x {height} pixels cannot be resized to {to}")]
pub struct ResizeError {
    /// Width before.
    pub width: u32,
    /// Height before.
    pub height: u32,
    /// Width x height afterwards.
    pub to: String,
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
