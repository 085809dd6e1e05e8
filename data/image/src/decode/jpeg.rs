//! JPEG, as libjpeg-turbo decodes it for Pillow: the accurate integer DCT, smooth upsampling.

use libjpeg_turbo_rs::{DecodeLimits, Decoder, JpegError, PixelFormat, ScalingFactor};

use super::RgbImage;
use crate::{ImageError, Limits};

const FORMAT: &str = "JPEG";

pub(super) fn decode(
    encoded: &[u8],
    limits: &Limits,
    at_least: Option<[u32; 2]>,
    image: &mut RgbImage,
) -> Result<(), ImageError> {
    let mut decoder = Decoder::new(encoded).map_err(error)?;
    let header = decoder.header();
    let (width, height) = (u32::from(header.width), u32::from(header.height));
    let components = header.components.len();
    // Memory per pixel: one byte per sample, two more for its coefficient, and three values.
    limits.check(width, height, components as u64 * 3 + 3)?;
    if header.precision != 8 {
        let reason = format!("has {} bits per sample", header.precision);
        return Err(unsupported(reason));
    }
    if !is_ended(encoded, decoder.has_multiple_scans()) {
        return Err(ImageError::Truncated { format: FORMAT });
    }
    decoder.set_limits(DecodeLimits {
        max_pixels: limits.max_pixels,
        max_memory: Some(limits.max_bytes),
        // More scans than any encoder writes, but few enough to stop decompression bombs of empty scans.
        max_scans: 1000,
        ..DecodeLimits::default()
    });
    // Damaged data is decoded as far as possible; the rest is grey, as in libjpeg.
    decoder.set_lenient(true);
    decoder.set_block_smoothing(true);
    if let Some(at_least) = at_least {
        decoder.set_scale(scale([width, height], at_least));
    }
    let (width, height) = (decoder.output_width(), decoder.output_height());
    let (width, height) = (width as u32, height as u32);
    match components {
        1 | 3 => {
            decoder.set_output_format(PixelFormat::Rgb);
            decoder
                .decode_image_into(image.clear(width, height))
                .map_err(error)?;
        }
        4 => {
            decoder.set_output_format(PixelFormat::Cmyk);
            let cmyk = decoder.decode_image().map_err(error)?;
            let pixels = image.clear(width, height).as_chunks_mut().0;
            for (rgb, &cmyk) in pixels.iter_mut().zip(cmyk.data.as_chunks().0) {
                *rgb = rgb_of_inverted(cmyk);
            }
        }
        _ => return Err(unsupported(format!("has {components} components"))),
    }
    Ok(())
}

/// Whether a marker ends the data: of the scan if there is only one, otherwise of the image.
///
/// Data without it is truncated, even if only the marker is missing: Pillow rejects nearly all such files.
/// An early marker only leaves the rest grey.
fn is_ended(encoded: &[u8], several_scans: bool) -> bool {
    if encoded.ends_with(&[0xff, END_OF_IMAGE]) {
        return true;
    }
    let mut at = 2;
    let mut in_scan = false;
    while let Some(skipped) = encoded
        .get(at..)
        .and_then(|rest| memchr::memchr(0xff, rest))
    {
        at += skipped + 1;
        match encoded.get(at) {
            None => return false,
            // An escaped 0xff, a restart marker, or padding before a marker.
            Some(0 | 0xd0..=0xd7) if in_scan => at += 1,
            Some(0xff) => {}
            Some(&END_OF_IMAGE) => return true,
            Some(_) if in_scan && !several_scans => return true,
            Some(&marker) => {
                let Some(&[high, low]) = encoded.get(at + 1..at + 3) else {
                    return false;
                };
                at += 1 + usize::from(u16::from_be_bytes([high, low]));
                in_scan = marker == START_OF_SCAN;
            }
        }
    }
    false
}

const END_OF_IMAGE: u8 = 0xd9;
const START_OF_SCAN: u8 = 0xda;

/// The scale that Pillow's `draft` chooses: the smallest of ⅛, ¼ and ½ that leaves `at_least` pixels, or
/// full size.
fn scale(size: [u32; 2], at_least: [u32; 2]) -> ScalingFactor {
    let factor = std::iter::zip(size, at_least)
        .map(|(size, at_least)| size / at_least.max(1))
        .min()
        .unwrap_or(1);
    let denominator = match factor {
        8.. => 8,
        4.. => 4,
        2.. => 2,
        _ => return ScalingFactor::default(),
    };
    ScalingFactor::try_new(1, denominator).expect("the decoder has these scales")
}

/// CMYK is stored inverted, with or without Adobe's marker, as in Pillow.
fn rgb_of_inverted([c, m, y, k]: [u8; 4]) -> [u8; 3] {
    // The light that passes black and then the other ink: k · ink / 255, rounded.
    [c, m, y].map(|ink| {
        let taken = u32::from(255 - ink) * u32::from(k) + 128;
        let taken = (taken + (taken >> 8)) >> 8;
        (u32::from(k) - taken) as u8
    })
}

fn unsupported(reason: String) -> ImageError {
    ImageError::Unsupported {
        format: FORMAT,
        reason,
    }
}

fn error(error: JpegError) -> ImageError {
    match error {
        JpegError::UnexpectedEof => ImageError::Truncated { format: FORMAT },
        JpegError::Unsupported(feature) => unsupported(format!("has {feature}")),
        error => ImageError::Corrupt {
            format: FORMAT,
            reason: error.to_string(),
        },
    }
}
