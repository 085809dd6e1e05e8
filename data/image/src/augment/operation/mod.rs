//! Operations on pixels, with all parameters.

mod affine;
mod blur;
mod color;
mod geometry;
mod hue;
mod kernel_blur;
mod sharpness;
mod tables;
mod warp;

pub(super) use color::blend;
pub(crate) use color::{grey, to_grey};
pub(super) use geometry::{Overlap, overlap};

use serde::{Deserialize, Serialize};

use crate::resize::{Region, Resampler, Source};
use crate::{ImageError, Limits, RgbImage};
use topk_preprocessing::{Interpolation, Pillow};

/// A part of an image, in pixels.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Rect {
    /// First column.
    pub x: u32,
    /// First row.
    pub y: u32,
    /// Number of columns.
    pub width: u32,
    /// Number of rows.
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

/// An operation of torchvision's functional transforms on a Pillow image.
///
/// Parameters must be finite. Factors and the hue are those of `torchvision.transforms.functional`; the
/// magnitudes of shears, translations and rotations, and of `Posterize` and `Solarize`, are those of
/// `RandAugment`. New pixels are black.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
#[non_exhaustive]
pub enum Operation {
    /// Crops a part, which may extend beyond the image.
    Crop {
        /// First column.
        x: i64,
        /// First row.
        y: i64,
        /// Width and height.
        size: [u32; 2],
    },
    /// Crops a part, which may extend beyond the image: pixels there are reflected, like `F.pad` of torchvision with
    /// `reflect`.
    CropReflected {
        /// First column.
        x: i64,
        /// First row.
        y: i64,
        /// Width and height.
        size: [u32; 2],
    },
    /// Resizes a part.
    ResizedCrop {
        /// The part, which must be inside the image.
        part: Rect,
        /// Width and height of the result.
        size: [u32; 2],
        /// Resampling filter.
        interpolation: Interpolation,
    },
    /// Mirrors left to right.
    Flip,
    /// Mirrors top to bottom.
    FlipVertical,
    /// Multiplies the brightness by a factor.
    Brightness(f64),
    /// Multiplies the contrast with the mean grey by a factor.
    Contrast(f64),
    /// Multiplies the distance of colours from grey by a factor.
    Saturation(f64),
    /// Rotates the hue by −½ to ½ of the circle.
    Hue(f64),
    /// Multiplies the distance from the smoothed image by a factor.
    Sharpness(f64),
    /// Moves each row to the left by its index times the magnitude.
    ShearX(f64),
    /// Moves each column up by its index times the magnitude.
    ShearY(f64),
    /// Moves columns to the right by this number of pixels.
    TranslateX(i32),
    /// Moves rows down by this number of pixels.
    TranslateY(i32),
    /// Rotates the image counter-clockwise by this number of degrees.
    Rotate(f64),
    /// Keeps this number of bits of each value, from 1 to 8.
    Posterize(u32),
    /// Inverts values at or above a threshold.
    Solarize(f64),
    /// Stretches each channel to 0 to 255.
    AutoContrast,
    /// Equalizes the histogram of each channel.
    Equalize,
    /// Inverts all values.
    Invert,
    /// Adds to values below 128.
    SolarizeAdd(u8),
    /// Blurs with this standard deviation in pixels, like Pillow's `GaussianBlur`.
    GaussianBlur(f64),
    /// Convolves with a sampled Gaussian, like torchvision's `gaussian_blur`. Values that torchvision computes in `f32`
    /// are computed in `f64`: those within 0.0002 of a half may be rounded to the other side.
    GaussianKernel {
        /// Width and height of the kernel, an odd number.
        kernel: u32,
        /// Standard deviation in pixels.
        sigma: f64,
    },
    /// Takes each pixel from a·x + b·y + c and d·x + e·y + f, like `Image.transform` of Pillow.
    Affine {
        /// `[a, b, c, d, e, f]`.
        matrix: [f64; 6],
        /// Bilinear or bicubic.
        interpolation: Interpolation,
        /// Colour of pixels from outside of the image.
        fill: [u8; 3],
    },
    /// Rotates the image counter-clockwise, like `Image.rotate` of Pillow.
    RotateFilled {
        /// Degrees.
        degrees: f64,
        /// Bilinear or bicubic.
        interpolation: Interpolation,
        /// Colour of pixels from outside of the image.
        fill: [u8; 3],
    },
    /// Begins a mixture of this image with what chains of operations make of it.
    BeginMix,
    /// Ends a chain: adds its result to the mixture with this weight, and returns to the image.
    AddToMix(f32),
    /// Ends the mixture: interpolates from the image (0) to the mixture (1).
    EndMix(f32),
    /// Ends a chain: interpolates from the blended mixture so far, at first the image (0), to its result (1), and returns
    /// to the image.
    BlendIntoMix(f32),
    /// Ends a blended mixture, which is the result.
    EndBlendedMix,
}

impl Operation {
    /// Width and height of the result for an image of this size.
    pub fn size(&self, image: [u32; 2]) -> [u32; 2] {
        match *self {
            Self::Crop { size, .. }
            | Self::CropReflected { size, .. }
            | Self::ResizedCrop { size, .. } => size,
            _ => image,
        }
    }

    /// Applies the operation in place. Returns whether it can be applied in place.
    pub(super) fn apply_in_place(&self, image: &mut RgbImage) -> bool {
        match *self {
            Self::Flip => geometry::flip(image),
            Self::FlipVertical => geometry::flip_vertical(image),
            Self::Brightness(factor) => tables::brightness(image, factor),
            Self::Contrast(factor) => tables::contrast(image, factor),
            Self::Saturation(factor) => color::saturate(&mut image.pixels, factor as f32),
            Self::Hue(turn) => hue::turn(&mut image.pixels, turn),
            Self::Posterize(bits) => tables::posterize(image, bits),
            Self::Solarize(threshold) => tables::solarize(image, threshold),
            Self::AutoContrast => tables::auto_contrast(image),
            Self::Equalize => tables::equalize(image),
            Self::Invert => tables::invert(image),
            Self::SolarizeAdd(add) => tables::solarize_add(image, add),
            Self::GaussianBlur(std) => blur::gaussian_blur(image, std),
            Self::GaussianKernel { kernel, sigma } => {
                kernel_blur::gaussian_kernel(image, kernel, sigma);
            }
            _ => return false,
        }
        true
    }

    /// Writes the result for an image to `out`. Returns whether the operation can be applied this way; if not,
    /// it can be applied in place.
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
        limits.check_bytes("augmenting the image", bytes.saturating_mul(3))?;
        out.clear(width, height);
        match *self {
            Self::Crop { x, y, .. } => geometry::crop(image, [x, y], out),
            Self::CropReflected { x, y, .. } => geometry::crop_reflected(image, [x, y], out),
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
            Self::Affine {
                matrix,
                interpolation,
                fill,
            } => warp::warp(image, matrix, interpolation, fill, out),
            Self::RotateFilled {
                degrees,
                interpolation,
                fill,
            } => affine::rotate_filled(image, degrees, interpolation, fill, out),
            _ => return Ok(false),
        }
        Ok(true)
    }
}
