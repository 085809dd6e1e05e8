//! GIF: the first frame, at its position on the canvas.

use std::io::Cursor;

use ::gif::{ColorOutput, DecodeOptions, DecodingError, MemoryLimit};

use super::RgbImage;
use crate::limits::Reserved;
use crate::{ImageError, Limits};

const FORMAT: &str = "GIF";

pub(super) fn decode(
    encoded: &[u8],
    limits: &Limits,
    image: &mut RgbImage,
) -> Result<Reserved, ImageError> {
    let mut options = DecodeOptions::new();
    options.set_color_output(ColorOutput::Indexed);
    // Sizes are checked below, together with the canvas size.
    options.set_memory_limit(MemoryLimit::Unlimited);
    let mut decoder = options.read_info(Cursor::new(encoded)).map_err(error)?;
    let screen = [decoder.width(), decoder.height()].map(u32::from);
    let frame = decoder
        .next_frame_info()
        .map_err(error)?
        .ok_or(ImageError::Truncated { format: FORMAT })?;
    let [left, top] = [frame.left, frame.top].map(u32::from);
    let [columns, rows] = [frame.width, frame.height].map(u32::from);
    let background = frame.transparent.unwrap_or(0);
    let own = frame.palette.clone();
    // A frame that extends beyond the canvas enlarges it.
    let width = screen[0].max(left + columns);
    let height = screen[1].max(top + rows);
    // Memory per pixel: an index of the frame, and three values; the frame may be as large as the canvas.
    limits.check(columns, rows, 4)?;
    let reserved = limits.reserve(width, height, 4)?;
    let mut indices = vec![0; columns as usize * rows as usize];
    let colors = colors(own.as_deref().or(decoder.global_palette()));
    decoder.read_into_buffer(&mut indices).map_err(error)?;

    let pixels = image.clear(width, height).as_chunks_mut::<3>().0;
    pixels.fill(colors[usize::from(background)]);
    let (left, columns) = (left as usize, columns as usize);
    let lines = pixels.chunks_exact_mut(width as usize).skip(top as usize);
    for (pixels, indices) in lines.zip(indices.chunks_exact(columns)) {
        for (pixel, &index) in pixels[left..].iter_mut().zip(indices) {
            *pixel = colors[usize::from(index)];
        }
    }
    Ok(reserved)
}

/// The colours of all indices: black beyond the palette. Without a palette, or with one of ascending greys,
/// indices are grey values.
fn colors(palette: Option<&[u8]>) -> [[u8; 3]; 256] {
    let greys: [[u8; 3]; 256] = std::array::from_fn(|i| [i as u8; 3]);
    let stored = palette.unwrap_or_default().as_chunks::<3>().0;
    if stored.iter().zip(&greys).all(|(color, grey)| color == grey) {
        return greys;
    }
    let mut colors = [[0; 3]; 256];
    for (color, &stored) in colors.iter_mut().zip(stored) {
        *color = stored;
    }
    colors
}

fn error(error: DecodingError) -> ImageError {
    match error {
        DecodingError::Io(_) => ImageError::Truncated { format: FORMAT },
        error => ImageError::Corrupt {
            format: FORMAT,
            reason: error.to_string(),
        },
    }
}
