//! WebP: the first frame of an animation.

use std::io::{Cursor, ErrorKind};

use image_webp::{DecodingError, WebPDecoder};

use super::RgbImage;
use crate::limits::Reserved;
use crate::{ImageError, Limits};

const FORMAT: &str = "WebP";

pub(super) fn decode(
    encoded: &[u8],
    limits: &Limits,
    image: &mut RgbImage,
) -> Result<Reserved, ImageError> {
    let mut decoder = WebPDecoder::new(Cursor::new(encoded)).map_err(error)?;
    let (width, height) = decoder.dimensions();
    let samples = if decoder.has_alpha() { 4 } else { 3 };
    // Memory per pixel: the decoder's buffer, and three values.
    let reserved = limits.reserve(width, height, 8 + samples as u64 + 3)?;
    // The file stores the size of the canvas and of each frame; the decoder allocates frames before it
    // compares the sizes.
    check_frames(encoded.get(12..).unwrap_or_default(), [width, height])?;
    let mut stored = vec![0; width as usize * height as usize * samples];
    decoder.read_image(&mut stored).map_err(error)?;
    let pixels = image.clear(width, height).as_chunks_mut::<3>().0;
    for (pixel, samples) in pixels.iter_mut().zip(stored.chunks_exact(samples)) {
        pixel.copy_from_slice(&samples[..3]);
    }
    Ok(reserved)
}

/// Checks that frames are not larger than the canvas.
fn check_frames(mut chunks: &[u8], [width, height]: [u32; 2]) -> Result<(), ImageError> {
    while let Some((header, rest)) = chunks.split_first_chunk::<8>() {
        let [a, b, c, d, len @ ..] = *header;
        let len = u32::from_le_bytes(len) as usize;
        let content = &rest[..len.min(rest.len())];
        match &[a, b, c, d] {
            b"VP8 " => {
                if let Some(&[w0, w1, h0, h1]) = content.get(6..10) {
                    let [w, h] = [[w0, w1], [h0, h1]].map(|side| u16::from_le_bytes(side) & 0x3fff);
                    if u32::from(w) > width || u32::from(h) > height {
                        let reason = format!(
                            "a frame of {w} x {h} pixels in an image of {width} x {height}"
                        );
                        return Err(ImageError::corrupt(FORMAT, reason));
                    }
                }
            }
            // The position and duration of a frame, then its chunks.
            b"ANMF" => check_frames(content.get(16..).unwrap_or_default(), [width, height])?,
            _ => {}
        }
        chunks = rest.get(len.next_multiple_of(2)..).unwrap_or_default();
    }
    Ok(())
}

fn error(error: DecodingError) -> ImageError {
    match error {
        DecodingError::IoError(error) if error.kind() == ErrorKind::UnexpectedEof => {
            ImageError::Truncated { format: FORMAT }
        }
        error => ImageError::corrupt(FORMAT, error.to_string()),
    }
}
