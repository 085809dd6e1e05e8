//! PNG: the samples that Pillow keeps for each pixel type.

use std::io::Cursor;

use png::{BitDepth, ColorType, DecodingError, Transformations};

use super::RgbImage;
use crate::limits::Reserved;
use crate::{ImageError, Limits};

const FORMAT: &str = "PNG";

pub(super) fn decode(
    encoded: &[u8],
    limits: &Limits,
    image: &mut RgbImage,
) -> Result<Reserved, ImageError> {
    let mut decoder = png::Decoder::new_with_limits(
        Cursor::new(encoded),
        png::Limits {
            bytes: usize::try_from(limits.max_bytes).unwrap_or(usize::MAX),
        },
    );
    decoder.set_transformations(Transformations::IDENTITY);
    let header = decoder.read_header_info().map_err(error)?;
    let (width, height) = (header.width, header.height);
    let (color, depth) = (header.color_type, header.bit_depth);
    let row_bytes = header.color_type.samples() * header.bit_depth as usize;
    // Memory per pixel: the stored samples, and three values.
    let reserved = limits.reserve(width, height, row_bytes.div_ceil(8) as u64 + 3)?;
    let mut reader = decoder.read_info().map_err(error)?;
    let stored = reader.output_buffer_size().ok_or(ImageError::TooLarge {
        what: "decoding the image",
        bytes: u64::MAX,
        limit: limits.max_bytes,
    })?;
    let palette = palette(reader.info().palette.as_deref());
    let mut samples = vec![0; stored];
    let frame = reader.next_frame(&mut samples).map_err(error)?;

    let pixels = image.clear(width, height).as_chunks_mut::<3>().0;
    let rows = pixels.chunks_exact_mut(width as usize);
    for (pixels, samples) in rows.zip(samples.chunks_exact(frame.line_size)) {
        match (color, depth) {
            (ColorType::Indexed, _) => {
                unpack(samples, depth, pixels, |index| palette[usize::from(index)]);
            }
            (ColorType::Grayscale, BitDepth::Sixteen) => {
                // Pillow does not scale these, but treats values above 255 as white.
                for (pixel, &[high, low]) in pixels.iter_mut().zip(samples.as_chunks().0) {
                    *pixel = [if high == 0 { low } else { 255 }; 3];
                }
            }
            (ColorType::Grayscale, _) => {
                let white = ((1u16 << depth as u8) - 1) as u8;
                unpack(samples, depth, pixels, |grey| [grey * (255 / white); 3]);
            }
            (ColorType::GrayscaleAlpha, BitDepth::Sixteen) => {
                for (pixel, &[grey, _, _, _]) in pixels.iter_mut().zip(samples.as_chunks().0) {
                    *pixel = [grey; 3];
                }
            }
            (ColorType::GrayscaleAlpha, _) => {
                for (pixel, &[grey, _]) in pixels.iter_mut().zip(samples.as_chunks().0) {
                    *pixel = [grey; 3];
                }
            }
            (ColorType::Rgb, BitDepth::Sixteen) => {
                for (pixel, &[r, _, g, _, b, _]) in pixels.iter_mut().zip(samples.as_chunks().0) {
                    *pixel = [r, g, b];
                }
            }
            (ColorType::Rgb, _) => pixels.as_flattened_mut().copy_from_slice(samples),
            (ColorType::Rgba, BitDepth::Sixteen) => {
                for (pixel, samples) in pixels.iter_mut().zip(samples.as_chunks::<8>().0) {
                    *pixel = [samples[0], samples[2], samples[4]];
                }
            }
            (ColorType::Rgba, _) => {
                for (pixel, &[r, g, b, _]) in pixels.iter_mut().zip(samples.as_chunks().0) {
                    *pixel = [r, g, b];
                }
            }
        }
    }
    Ok(reserved)
}

/// The colours of all indices; indices beyond the palette are black.
fn palette(stored: Option<&[u8]>) -> [[u8; 3]; 256] {
    let mut palette = [[0; 3]; 256];
    for (color, &stored) in palette
        .iter_mut()
        .zip(stored.unwrap_or_default().as_chunks().0)
    {
        *color = stored;
    }
    palette
}

/// Unpacks samples of at most 8 bits, the first in the highest bits of a byte.
fn unpack(samples: &[u8], depth: BitDepth, pixels: &mut [[u8; 3]], color: impl Fn(u8) -> [u8; 3]) {
    let bits = depth as usize;
    let each = 8 / bits;
    let mask = ((1u16 << bits) - 1) as u8;
    for (pixels, &byte) in pixels.chunks_mut(each).zip(samples) {
        for (i, pixel) in pixels.iter_mut().enumerate() {
            *pixel = color((byte >> (8 - bits * (i + 1))) & mask);
        }
    }
}

fn error(error: DecodingError) -> ImageError {
    match error {
        DecodingError::IoError(_) => ImageError::Truncated { format: FORMAT },
        error => ImageError::Corrupt {
            format: FORMAT,
            reason: error.to_string(),
        },
    }
}
