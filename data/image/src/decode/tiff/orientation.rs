//! Turning by the orientation that a file names.

use memchr::memmem;

use super::directory::Directory;
use super::tags;
use crate::{ImageError, RgbImage};

/// The orientation: from its tag, else from the XMP data. 1 if it is absent or unknown.
pub(super) fn of(directory: &Directory<'_>) -> Result<u64, ImageError> {
    let orientation = match directory.number(tags::ORIENTATION)? {
        Some(orientation) => orientation,
        None => directory.bytes(tags::XMP).and_then(in_xmp).unwrap_or(1),
    };
    Ok(if matches!(orientation, 1..=8) {
        orientation
    } else {
        1
    })
}

/// The first `tiff:Orientation="6"` or `<tiff:Orientation>6`.
fn in_xmp(xmp: &[u8]) -> Option<u64> {
    const NAME: &[u8] = b"tiff:Orientation";
    memmem::find_iter(xmp, NAME).find_map(|at| {
        let value = &xmp[at + NAME.len()..];
        let digit = value
            .strip_prefix(b"=\"")
            .or_else(|| value.strip_prefix(b">"))?;
        let digit = digit.first().filter(|digit| digit.is_ascii_digit())?;
        Some(u64::from(digit - b'0'))
    })
}

/// Turns or mirrors an image so that it is upright.
pub(super) fn turn(image: &mut RgbImage, orientation: u64) {
    let [width, height] = [image.width as usize, image.height as usize];
    let transposed = orientation >= 5;
    let [columns, rows] = if transposed {
        [height, width]
    } else {
        [width, height]
    };
    let pixels = image.pixels.as_chunks_mut::<3>().0;
    match orientation {
        2 => pixels.chunks_exact_mut(width).for_each(<[_]>::reverse),
        3 => pixels.reverse(),
        4 => {
            for y in 0..height / 2 {
                let (upper, lower) = pixels.split_at_mut((height - 1 - y) * width);
                upper[y * width..][..width].swap_with_slice(&mut lower[..width]);
            }
        }
        5..=8 => {
            let mut turned = Vec::with_capacity(image.pixels.len());
            let pixels = image.pixels.as_chunks::<3>().0;
            for y in 0..rows {
                // The column of the stored image that becomes this row.
                let from = if matches!(orientation, 5 | 6) {
                    y
                } else {
                    width - 1 - y
                };
                for x in 0..columns {
                    let row = if matches!(orientation, 5 | 8) {
                        x
                    } else {
                        height - 1 - x
                    };
                    turned.extend_from_slice(&pixels[row * width + from]);
                }
            }
            image.pixels = turned;
        }
        _ => {}
    }
    (image.width, image.height) = (columns as u32, rows as u32);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orientations_in_xmp() {
        assert_eq!(in_xmp(b"<x tiff:Orientation=\"6\"/>"), Some(6));
        assert_eq!(in_xmp(b"<tiff:Orientation>3</tiff:Orientation>"), Some(3));
        assert_eq!(in_xmp(b"tiff:Orientation='3'"), None);
    }

    #[test]
    fn each_orientation_puts_the_first_pixel_into_its_corner() {
        // Width 2, height 3; the first pixel is 1.
        let corner = |orientation: u64| {
            let mut image = RgbImage {
                width: 2,
                height: 3,
                pixels: (1..=6).flat_map(|value| [value; 3]).collect(),
            };
            turn(&mut image, orientation);
            let at = image.pixels.iter().position(|&value| value == 1).unwrap() / 3;
            let width = image.width as usize;
            (width, at % width, at / width)
        };
        let found: Vec<_> = (1..=8).map(corner).collect();
        let expected = [
            (2, 0, 0),
            (2, 1, 0),
            (2, 1, 2),
            (2, 0, 2),
            (3, 0, 0),
            (3, 2, 0),
            (3, 2, 1),
            (3, 0, 1),
        ];
        assert_eq!(found, expected);
    }
}
