//! Bytes and bits of uncompressed pixels.

use crate::ImageError;

/// `len` bytes from a position.
///
/// # Errors
/// If the data ends before.
pub(super) fn fit<'a>(
    data: &'a [u8],
    at: usize,
    len: usize,
    format: &'static str,
) -> Result<&'a [u8], ImageError> {
    at.checked_add(len)
        .and_then(|end| data.get(at..end))
        .ok_or(ImageError::Truncated { format })
}

/// The colours of indices of 1, 2, 4 or 8 bits, the first in the highest bits of a byte.
pub(super) fn unpack(row: &[u8], bits: u32, pixels: &mut [[u8; 3]], colors: &[[u8; 3]; 256]) {
    let each = (8 / bits) as usize;
    let mask = 0xff >> (8 - bits);
    for (pixels, &byte) in pixels.chunks_mut(each).zip(row) {
        for (i, pixel) in pixels.iter_mut().enumerate() {
            let index = byte >> (8 - bits * (i as u32 + 1)) & mask;
            *pixel = colors[usize::from(index)];
        }
    }
}
