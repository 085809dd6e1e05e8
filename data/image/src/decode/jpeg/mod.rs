//! JPEG, as libjpeg-turbo decodes it for Pillow: the accurate integer DCT, smooth upsampling.

mod baseline;
#[cfg(test)]
mod tests;

use libjpeg_turbo_rs::{
    ColorSpace, ComponentInfo, DecodeLimits, Decoder, JpegError, PixelFormat, ScalingFactor,
};

use super::{Request, RgbImage};
use crate::limits::Reserved;
use crate::{ImageError, Limits};
pub(crate) use baseline::Baseline;
use baseline::Colors;

const FORMAT: &str = "JPEG";

/// Decodes with `baseline` what it can, and everything else with the library.
pub(super) fn decode(
    encoded: &[u8],
    limits: &Limits,
    request: Request<'_>,
    baseline: &mut Baseline,
    image: &mut RgbImage,
) -> Result<Reserved, ImageError> {
    let mut decoder = Decoder::new(encoded).map_err(error)?;
    let header = decoder.header();
    let size @ [width, height] = [header.width, header.height].map(u32::from);
    let bytes = prepare(&mut decoder, encoded, limits)?;
    let reserved = limits.reserve(width, height, bytes)?;
    if let Some(at_least) = request.at_least {
        decoder.set_scale(scale(size, at_least));
    }
    if output_size(&decoder) == size {
        let colors = match decoder.jpeg_color_space() {
            ColorSpace::Rgb => Colors::Rgb,
            _ => Colors::YCbCr,
        };
        let part = (request.part)(size);
        let decoded = baseline.decode(encoded, size, colors, &part, image);
        baseline.release();
        if decoded.is_some() {
            return Ok(reserved);
        }
    }
    with_library(&mut decoder, image)?;
    Ok(reserved)
}

/// The size of the image, after scaling.
fn output_size(decoder: &Decoder<'_>) -> [u32; 2] {
    [decoder.output_width(), decoder.output_height()].map(|side| side as u32)
}

fn with_library(decoder: &mut Decoder<'_>, image: &mut RgbImage) -> Result<(), ImageError> {
    let [width, height] = output_size(decoder);
    let components = decoder.header().components.len();
    match components {
        1 | 3 => {
            decoder.set_output_format(PixelFormat::Rgb);
            decoder
                .decode_image_into(image.clear(width, height))
                .map_err(error)?;
        }
        4 => {
            // The decoder expects black, and the first ink or luma, in every pixel.
            let sampling = |component: &ComponentInfo| {
                [component.horizontal_sampling, component.vertical_sampling]
            };
            let all = &decoder.header().components;
            let most = all.iter().map(sampling).fold([0, 0], |most, found| {
                [most[0].max(found[0]), most[1].max(found[1])]
            });
            if sampling(&all[0]) != most || sampling(&all[3]) != most {
                return Err(ImageError::unsupported(
                    FORMAT,
                    "has subsampled inks".to_owned(),
                ));
            }
            decoder.set_output_format(PixelFormat::Cmyk);
            let cmyk = decoder.decode_image().map_err(error)?;
            let pixels = image.clear(width, height).as_chunks_mut().0;
            for (rgb, &cmyk) in pixels.iter_mut().zip(cmyk.data.as_chunks().0) {
                *rgb = rgb_of_inverted(cmyk);
            }
        }
        _ => {
            return Err(ImageError::unsupported(
                FORMAT,
                format!("has {components} components"),
            ));
        }
    }
    Ok(())
}

/// Checks the header, and sets limits and what libjpeg does by default. Returns the memory per pixel.
fn prepare(decoder: &mut Decoder<'_>, encoded: &[u8], limits: &Limits) -> Result<u64, ImageError> {
    let header = decoder.header();
    let (width, height) = (u32::from(header.width), u32::from(header.height));
    let components = header.components.len() as u64;
    // Memory per pixel: one byte per sample, two more for its coefficient, and three values.
    limits.check(width, height, components * 3 + 3)?;
    if header.precision != 8 {
        let reason = format!("has {} bits per sample", header.precision);
        return Err(ImageError::unsupported(FORMAT, reason));
    }
    let several_scans = decoder.has_multiple_scans();
    if !is_ended(encoded, several_scans) {
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
    // Coefficients are only kept between scans.
    let each = if several_scans { 3 } else { 1 };
    Ok(components * each + 3)
}

/// What the channels of a JPEG in another file are.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Stored {
    /// Luma and chroma, to be converted to RGB.
    YCbCr,
    /// Red, green and blue, inks, or greys: not converted.
    AsIs,
}

/// Decodes a JPEG of a TIFF file, whose tables may be stored once for all strips, with the colours that the
/// file has rather than those that the JPEG's own markers name: `height × width × channels` values. `fits`
/// decides whether its width, height and number of channels are those of the file.
pub(super) fn decode_abbreviated(
    tables: &[u8],
    encoded: &[u8],
    colors: Stored,
    fits: impl FnOnce([usize; 3]) -> bool,
    limits: &Limits,
) -> Result<Vec<u8>, ImageError> {
    const START: [u8; 2] = [0xff, 0xd8];
    // Adobe's marker, whose last byte decides whether colours are converted.
    let adobe = b"\xff\xee\x00\x0eAdobe\x00\x64\x00\x00\x00\x00";
    let transform = u8::from(colors == Stored::YCbCr);
    let mut whole = Vec::with_capacity(tables.len() + encoded.len() + 18);
    whole.extend_from_slice(&START);
    whole.extend_from_slice(adobe);
    whole.push(transform);
    for stream in [tables, encoded] {
        let mut rest = stream.strip_prefix(&START).unwrap_or(stream);
        // Segments up to the first scan, without markers of applications.
        while let &[0xff, marker, high, low, ..] = rest {
            if matches!(marker, END_OF_IMAGE | START_OF_SCAN) {
                break;
            }
            let len = 2 + usize::from(u16::from_be_bytes([high, low]));
            let (segment, after) = rest
                .split_at_checked(len)
                .ok_or(ImageError::Truncated { format: FORMAT })?;
            if !matches!(marker, 0xe0..=0xef) {
                whole.extend_from_slice(segment);
            }
            rest = after;
        }
        if !std::ptr::eq(stream, tables) {
            whole.extend_from_slice(rest);
        }
    }
    let mut decoder = Decoder::new(&whole).map_err(error)?;
    let header = decoder.header();
    let channels = header.components.len();
    let whole_size = |component: &ComponentInfo| {
        (component.horizontal_sampling, component.vertical_sampling) == (1, 1)
    };
    let subsampled = match colors {
        Stored::YCbCr => !header.components.iter().skip(1).all(whole_size),
        Stored::AsIs => channels > 1 && !header.components.iter().all(whole_size),
    };
    if subsampled {
        return Err(ImageError::unsupported(
            FORMAT,
            "has unusual subsampling inside a TIFF file".to_owned(),
        ));
    }
    let [width, height] = [header.width, header.height].map(usize::from);
    if !fits([width, height, channels]) {
        let reason = format!(
            "it has {width} x {height} pixels and {channels} channels, unlike the TIFF file around it"
        );
        return Err(ImageError::Corrupt {
            format: FORMAT,
            reason,
        });
    }
    // The TIFF file has reserved its memory.
    prepare(&mut decoder, &whole, limits)?;
    decoder.set_output_format(match channels {
        1 => PixelFormat::Grayscale,
        3 => PixelFormat::Rgb,
        4 => PixelFormat::Cmyk,
        _ => {
            return Err(ImageError::unsupported(
                FORMAT,
                format!("has {channels} components"),
            ));
        }
    });
    Ok(decoder.decode_image().map_err(error)?.data)
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
pub(super) fn rgb_of_inverted([c, m, y, k]: [u8; 4]) -> [u8; 3] {
    // The light that passes black and then the other ink: k · ink / 255, rounded.
    [c, m, y].map(|ink| {
        let taken = u32::from(255 - ink) * u32::from(k) + 128;
        let taken = (taken + (taken >> 8)) >> 8;
        (u32::from(k) - taken) as u8
    })
}

fn error(error: JpegError) -> ImageError {
    match error {
        JpegError::UnexpectedEof => ImageError::Truncated { format: FORMAT },
        JpegError::Unsupported(feature) => {
            ImageError::unsupported(FORMAT, format!("has {feature}"))
        }
        error => ImageError::Corrupt {
            format: FORMAT,
            reason: error.to_string(),
        },
    }
}
