//! Encoded images to RGB.

mod bmp;
mod bytes;
mod gif;
mod jpeg;
mod png;
mod pnm;
mod tiff;
mod webp;

use topk_files::Placeholder;
use topk_preprocessing::ImageMode;

use crate::augment::to_grey;
use crate::limits::Reserved;
use crate::resize::Region;
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

    /// Converts pixels to a mode; grey pixels have the same value in all channels.
    ///
    /// Except for files with YCbCr or Lab pixels, which are not read as such, that is `Image.open(file).convert(mode)`:
    /// Pillow computes the luma of red, green and blue, also of palettes and of CMYK.
    pub fn convert(&mut self, mode: ImageMode) {
        match mode {
            ImageMode::Rgb => {}
            ImageMode::L => to_grey(&mut self.pixels),
        }
    }

    /// Sets the size, and returns the buffer of pixels, filled with black.
    pub(crate) fn clear(&mut self, width: u32, height: u32) -> &mut [u8] {
        self.pixels.clear();
        self.resize(width, height)
    }

    /// Sets the size, and returns the buffer of pixels, whose values are arbitrary.
    pub(crate) fn resize(&mut self, width: u32, height: u32) -> &mut [u8] {
        (self.width, self.height) = (width, height);
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
    Bmp,
    Tiff,
    Pnm,
}

impl Format {
    fn of(encoded: &[u8]) -> Result<Self, ImageError> {
        Ok(match encoded {
            [0xff, 0xd8, 0xff, ..] => Self::Jpeg,
            [0x89, b'P', b'N', b'G', b'\r', b'\n', 0x1a, b'\n', ..] => Self::Png,
            [b'G', b'I', b'F', b'8', b'7' | b'9', b'a', ..] => Self::Gif,
            [b'B', b'M', ..] => Self::Bmp,
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
            [b'I', b'I', 42 | 43, 0, ..] | [b'M', b'M', 0, 42 | 43, ..] => Self::Tiff,
            _ if pnm::is_signature(encoded) => Self::Pnm,
            _ => {
                if let Some(placeholder) = Placeholder::of(encoded) {
                    return Err(ImageError::Placeholder(placeholder));
                }
                if let Some(format) = known(encoded) {
                    return Err(ImageError::UnsupportedFormat(format));
                }
                let first = &encoded[..encoded.len().min(8)];
                return Err(ImageError::UnknownFormat(first.to_vec()));
            }
        })
    }
}

/// Formats that are not read, by their first bytes.
fn known(encoded: &[u8]) -> Option<&'static str> {
    Some(match encoded {
        [_, _, _, _, b'f', b't', b'y', b'p', brand @ ..] => match brand {
            [b'a', b'v', b'i', ..] => "AVIF",
            [b'h', b'e', ..] | [b'm', b'i', b'f', b'1', ..] => "HEIC",
            _ => "video",
        },
        [0, 0, 0, 12, b'j', b'P', b' ', b' ', ..] | [0xff, 0x4f, 0xff, 0x51, ..] => "JPEG 2000",
        [0, 0, 0, 12, b'J', b'X', b'L', b' ', ..] | [0xff, 0x0a, ..] => "JPEG XL",
        [b'8', b'B', b'P', b'S', ..] => "Photoshop",
        [b'%', b'P', b'D', b'F', b'-', ..] => "PDF",
        [b'P', b'K', 3, 4, ..] => "ZIP",
        [0x1f, 0x8b, 8, ..] => "gzip",
        [b'<', b's', b'v', b'g', ..] => "SVG",
        [0, 0, 1 | 2, 0, _, 0, ..] => "icon",
        [0x93, b'N', b'U', b'M', b'P', b'Y', ..] => "NumPy",
        _ => return None,
    })
}

/// Decodes an image like Pillow's `Image.open(file).convert("RGB")`: the first frame; transparency is
/// dropped, and colour profiles are ignored. Only TIFF files are turned by their orientation.
///
/// # Errors
///
/// If the format is unknown, the data is damaged or truncated, or the image is over the `limits`.
pub fn decode(encoded: &[u8], limits: &Limits) -> Result<RgbImage, ImageError> {
    let mut image = RgbImage::default();
    let mut buffers = Buffers::default();
    let _reserved = decode_into(encoded, limits, Request::WHOLE, &mut buffers, &mut image)?;
    Ok(image)
}

/// Buffers of decoders that are reused from image to image.
#[derive(Debug, Default)]
pub(crate) struct Buffers {
    jpeg: jpeg::Baseline,
}

/// What is needed of an image.
pub(crate) struct Request<'a> {
    /// JPEGs of at least twice this width and height are decoded at ½, ¼ or ⅛ of their size, but not below it,
    /// like Pillow's `draft`.
    pub(crate) at_least: Option<[u32; 2]>,
    /// The part that is needed of an image of a certain size. Other pixels may have any value.
    pub(crate) part: &'a dyn Fn([u32; 2]) -> Region,
}

impl Request<'_> {
    /// The whole image, at its size.
    pub(crate) const WHOLE: Request<'static> = Request {
        at_least: None,
        part: &Region::whole,
    };
}

/// Like [`decode`], what is needed of an image, whose memory is reused. The memory is reserved until the result is
/// dropped.
pub(crate) fn decode_into(
    encoded: &[u8],
    limits: &Limits,
    request: Request<'_>,
    buffers: &mut Buffers,
    image: &mut RgbImage,
) -> Result<Reserved, ImageError> {
    match Format::of(encoded)? {
        Format::Jpeg => jpeg::decode(encoded, limits, request, &mut buffers.jpeg, image),
        Format::Png => png::decode(encoded, limits, image),
        Format::Gif => gif::decode(encoded, limits, image),
        Format::WebP => webp::decode(encoded, limits, image),
        Format::Bmp => bmp::decode(encoded, limits, image),
        Format::Tiff => tiff::decode(encoded, limits, image),
        Format::Pnm => pnm::decode(encoded, limits, image),
    }
}
