//! Sharpness: the distance from the smoothed image.

use multiversion::multiversion;

use super::color::blend;
use crate::RgbImage;

/// Blends an image with the result of Pillow's `ImageFilter.SMOOTH`: the weighted mean of 3×3 pixels, with
/// weight 5 for the middle; pixels at the border are unchanged.
pub(super) fn sharpen(image: &RgbImage, factor: f32, out: &mut RgbImage) {
    out.pixels.copy_from_slice(&image.pixels);
    let stride = 3 * image.width as usize;
    if image.width < 3 || image.height < 3 {
        return;
    }
    let rows = out.pixels.chunks_exact_mut(stride).skip(1);
    // Groups of three rows.
    for (out, above) in rows.zip(image.pixels.windows(3 * stride).step_by(stride)) {
        let (above, others) = above.split_at(stride);
        let (row, below) = others.split_at(stride);
        sharpen_row([above, row, below], factor, &mut out[3..stride - 3]);
    }
}

/// `out` is the row without its two border pixels.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512vl", "x86_64+avx2", "aarch64+neon"))]
fn sharpen_row<'a>([above, row, below]: [&'a [u8]; 3], factor: f32, out: &mut [u8]) {
    let len = out.len();
    // The pixels to the left, in the middle and to the right.
    let parts = |row: &'a [u8]| [0, 3, 6].map(|begin| &row[begin..begin + len]);
    let [above, row, below] = [above, row, below].map(parts);
    for i in 0..len {
        let sum = |[left, middle, right]: [&[u8]; 3]| {
            u16::from(left[i]) + u16::from(middle[i]) + u16::from(right[i])
        };
        let middle = row[1][i];
        let sum = sum(above) + sum(row) + sum(below) + 4 * u16::from(middle);
        // Pillow sums thirteenths in single precision. No sum is close to a half, so its rounding errors do
        // not matter.
        let smooth = ((sum + 6) / 13) as u8;
        out[i] = blend(smooth, middle, factor);
    }
}
