//! Encoded images to RGB.

mod gif;
mod jpeg;
mod others;
mod png;
mod webp;

use crate::{ImageError, Limits};

/// A decoded image.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct RgbImage {
    /// Width.
    pub width: u32,
    /// Height.
    pub height: u32,
    /// `height × width × 3` values: rows from the top, red first.
    pub pixels: Vec<u8>,
}

impl RgbImage {
    /// Converts pixels from three planes (channels, height, width), red first.
    ///
    /// # Panics
    /// If the number of pixels does not match the shape.
    pub fn of_planes([channels, height, width]: [usize; 3], planes: &[u8]) -> Self {
        let plane = height * width;
        assert_eq!((channels, planes.len()), (3, 3 * plane));
        let mut pixels = Vec::with_capacity(planes.len());
        for pixel in 0..plane {
            pixels.extend((0..channels).map(|channel| planes[channel * plane + pixel]));
        }
        Self {
            width: width as u32,
            height: height as u32,
            pixels,
        }
    }

    /// Sets the size, and returns the buffer of pixels, filled with black.
    pub(crate) fn clear(&mut self, width: u32, height: u32) -> &mut [u8] {
        (self.width, self.height) = (width, height);
        self.pixels.clear();
        self.pixels.resize(width as usize * height as usize * 3, 0);
        &mut self.pixels
    }
}

/// A format, detected from the first bytes. Extensions are unreliable: ImageNet has a PNG named `.JPEG`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Format {
    Jpeg,
    Png,
    Gif,
    WebP,
    Other(image::ImageFormat),
}

impl Format {
    fn of(encoded: &[u8]) -> Result<Self, ImageError> {
        Ok(match encoded {
            [] => return Err(ImageError::Empty),
            [0xff, 0xd8, 0xff, ..] => Self::Jpeg,
            [0x89, b'P', b'N', b'G', b'\r', b'\n', 0x1a, b'\n', ..] => Self::Png,
            [b'G', b'I', b'F', b'8', b'7' | b'9', b'a', ..] => Self::Gif,
            [b'B', b'M', ..] => Self::Other(image::ImageFormat::Bmp),
            [
                b'R',
                b'I',
                b'F',
                b'F',
                _,
                _,
                _,
                _,
                b'W',
                b'E',
                b'B',
                b'P',
                ..,
            ] => Self::WebP,
            [b'I', b'I', 42, 0, ..] | [b'M', b'M', 0, 42, ..] => {
                Self::Other(image::ImageFormat::Tiff)
            }
            _ => {
                let first = &encoded[..encoded.len().min(8)];
                return Err(ImageError::UnknownFormat(first.to_vec()));
            }
        })
    }
}

/// Decodes an image like Pillow's `Image.open(file).convert("RGB")`: the first frame; transparency is
/// dropped, colour profiles and EXIF orientation are ignored.
///
/// # Errors
///
/// If the format is unknown, the data is damaged or truncated, or the image is over the `limits`.
pub fn decode(encoded: &[u8], limits: &Limits) -> Result<RgbImage, ImageError> {
    let mut image = RgbImage::default();
    decode_into(encoded, limits, None, &mut image)?;
    Ok(image)
}

/// Like [`decode`], into an image whose memory is reused. JPEGs of at least twice the width and height
/// `at_least` are decoded at ½, ¼ or ⅛ of their size, but not below it, like Pillow's
/// `draft`.
pub(crate) fn decode_into(
    encoded: &[u8],
    limits: &Limits,
    at_least: Option<[u32; 2]>,
    image: &mut RgbImage,
) -> Result<(), ImageError> {
    match Format::of(encoded)? {
        Format::Jpeg => jpeg::decode(encoded, limits, at_least, image),
        Format::Png => png::decode(encoded, limits, image),
        Format::Gif => gif::decode(encoded, limits, image),
        Format::WebP => webp::decode(encoded, limits, image),
        Format::Other(format) => others::decode(encoded, format, limits, image),
    }
}
