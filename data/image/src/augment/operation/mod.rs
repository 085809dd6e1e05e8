//! What is done to pixels, with all its numbers.

mod affine;
mod color;
mod geometry;
mod hue;
mod sharpness;
mod tables;

pub(super) use geometry::{Overlap, overlap};

use serde::{Deserialize, Serialize};

use crate::resize::{Region, Resampler, Source};
use crate::{ImageError, Limits, RgbImage};
use topk_preprocessing::{Interpolation, Pillow};

/// A part of an image, in pixels.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Rect {
    /// The first column.
    pub x: u32,
    /// The first row.
    pub y: u32,
    /// Columns.
    pub width: u32,
    /// Rows.
    pub height: u32,
}

impl Rect {
    fn region(self) -> Region {
        Region {
            columns: self.x..self.x.saturating_add(self.width),
            rows: self.y..self.y.saturating_add(self.height),
        }
    }
}

/// What torchvision does to a Pillow image in one of its functional transforms.
///
/// Numbers must be finite. Factors and the hue are those of `torchvision.transforms.functional`; the
/// magnitudes of shears, translations and rotations, and of `Posterize` and `Solarize`, those of
/// `RandAugment`. New pixels are black.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
#[non_exhaustive]
pub enum Operation {
    /// A part that may begin or end outside of the image.
    Crop {
        /// The first column.
        x: i64,
        /// The first row.
        y: i64,
        /// Columns and rows.
        size: [u32; 2],
    },
    /// A part, resized.
    ResizedCrop {
        /// Which part; it must lie in the image.
        part: Rect,
        /// Columns and rows after it.
        size: [u32; 2],
        /// How pixels are weighted.
        interpolation: Interpolation,
    },
    /// Left and right change places.
    Flip,
    /// Brightness times a factor.
    Brightness(f64),
    /// Contrast to the mean grey times a factor.
    Contrast(f64),
    /// Distance of the colours to grey times a factor.
    Saturation(f64),
    /// The hue is turned, by −½ to ½ of the circle.
    Hue(f64),
    /// Distance to the smoothed image times a factor.
    Sharpness(f64),
    /// Each row moves to the left by its number times the magnitude.
    ShearX(f64),
    /// Each column moves up by its number times the magnitude.
    ShearY(f64),
    /// Columns move to the right by so many pixels.
    TranslateX(i32),
    /// Rows move down by so many pixels.
    TranslateY(i32),
    /// The image is turned by so many degrees counter-clockwise.
    Rotate(f64),
    /// So many bits of each value are kept, of 1 to 8.
    Posterize(u32),
    /// Values from a threshold on are inverted.
    Solarize(f64),
    /// Each channel is stretched to 0 to 255.
    AutoContrast,
    /// The histogram of each channel is levelled.
    Equalize,
}

impl Operation {
    /// Columns and rows of an image after it.
    pub fn size(&self, image: [u32; 2]) -> [u32; 2] {
        match *self {
            Self::Crop { size, .. } | Self::ResizedCrop { size, .. } => size,
            _ => image,
        }
    }

    /// Does it to an image in its place, if it can be done there.
    pub(super) fn apply_in_place(&self, image: &mut RgbImage) -> bool {
        match *self {
            Self::Flip => geometry::flip(image),
            Self::Brightness(factor) => tables::brightness(image, factor),
            Self::Contrast(factor) => tables::contrast(image, factor),
            Self::Saturation(factor) => color::saturate(&mut image.pixels, factor as f32),
            Self::Hue(turn) => hue::turn(&mut image.pixels, turn),
            Self::Posterize(bits) => tables::posterize(image, bits),
            Self::Solarize(threshold) => tables::solarize(image, threshold),
            Self::AutoContrast => tables::auto_contrast(image),
            Self::Equalize => tables::equalize(image),
            _ => return false,
        }
        true
    }

    /// Writes what it makes of an image into another, if it can be done so.
    pub(super) fn apply(
        &self,
        image: &RgbImage,
        resampler: &mut Resampler,
        pillow: Pillow,
        limits: &Limits,
        out: &mut RgbImage,
    ) -> Result<bool, ImageError> {
        let [width, height] = self.size([image.width, image.height]);
        assert!(width > 0 && height > 0, "{self:?}");
        let bytes = u64::from(width) * u64::from(height);
        limits.check_bytes("augmenting it", bytes.saturating_mul(3))?;
        out.clear(width, height);
        match *self {
            Self::Crop { x, y, .. } => geometry::crop(image, [x, y], out),
            Self::ResizedCrop {
                part,
                size,
                interpolation,
            } => {
                let Region { columns, rows } = part.region();
                assert!(
                    !columns.is_empty() && columns.end <= image.width,
                    "{part:?}"
                );
                assert!(!rows.is_empty() && rows.end <= image.height, "{part:?}");
                let all = Region {
                    columns: 0..width,
                    rows: 0..height,
                };
                let kind = (interpolation, pillow);
                let source = Source::of(image).part(&part.region());
                resampler.resize(source, size, &all, kind, limits, &mut out.pixels)?;
            }
            Self::ShearX(magnitude) => affine::shear_x(image, magnitude, out),
            Self::ShearY(magnitude) => affine::shear_y(image, magnitude, out),
            Self::TranslateX(pixels) => affine::translate(image, [pixels, 0], out),
            Self::TranslateY(pixels) => affine::translate(image, [0, pixels], out),
            Self::Rotate(degrees) => affine::rotate(image, degrees, out),
            Self::Sharpness(factor) => sharpness::sharpen(image, factor as f32, out),
            _ => return Ok(false),
        }
        Ok(true)
    }
}
