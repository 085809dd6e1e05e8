//! BMP and TIFF, with 8 bits per sample.

use std::io::Cursor;

use image::error::ImageError as DecoderError;
use image::{ColorType, ImageDecoder, ImageFormat, ImageReader};

use super::RgbImage;
use crate::{ImageError, Limits};

pub(super) fn decode(
    encoded: &[u8],
    format: ImageFormat,
    limits: &Limits,
    image: &mut RgbImage,
) -> Result<(), ImageError> {
    let name = name(format);
    let error = |error| error_of(name, error);
    let mut reader = ImageReader::with_format(Cursor::new(encoded), format);
    let mut allocation = image::Limits::no_limits();
    allocation.max_alloc = Some(limits.max_bytes);
    reader.limits(allocation);
    let decoder = reader.into_decoder().map_err(error)?;
    let (width, height) = decoder.dimensions();
    let color = decoder.color_type();
    let samples = usize::from(color.channel_count());
    // Memory per pixel: the decoder's buffer, the samples, and three values.
    limits.check(width, height, 2 * u64::from(color.bytes_per_pixel()) + 3)?;
    match color {
        ColorType::L8 | ColorType::La8 | ColorType::Rgb8 | ColorType::Rgba8 => {}
        _ => {
            return Err(ImageError::Unsupported {
                format: name,
                reason: format!("has pixels of type {color:?}"),
            });
        }
    }
    let mut stored = vec![0; width as usize * height as usize * samples];
    decoder.read_image(&mut stored).map_err(error)?;
    let pixels = image.clear(width, height).as_chunks_mut::<3>().0;
    for (pixel, samples) in pixels.iter_mut().zip(stored.chunks_exact(samples)) {
        *pixel = match *samples {
            [r, g, b] | [r, g, b, _] => [r, g, b],
            _ => [samples[0]; 3],
        };
    }
    Ok(())
}

fn name(format: ImageFormat) -> &'static str {
    match format {
        ImageFormat::Bmp => "BMP",
        _ => "TIFF",
    }
}

fn error_of(format: &'static str, error: DecoderError) -> ImageError {
    match error {
        DecoderError::IoError(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => {
            ImageError::Truncated { format }
        }
        DecoderError::Unsupported(error) => ImageError::Unsupported {
            format,
            reason: format!("has {error}"),
        },
        error => ImageError::Corrupt {
            format,
            reason: error.to_string(),
        },
    }
}
