//! The distance to the smoothed image.

use multiversion::multiversion;

use super::color::blend;
use crate::RgbImage;

/// Blends an image with the same after Pillow's `ImageFilter.SMOOTH`: the weighted mean of 3×3 pixels,
/// the middle five times; pixels at the border stay as they are.
pub(super) fn sharpen(image: &RgbImage, factor: f32, out: &mut RgbImage) {
    out.pixels.copy_from_slice(&image.pixels);
    let stride = 3 * image.width as usize;
    if image.width < 3 || image.height < 3 {
        return;
    }
    let rows = out.pixels.chunks_exact_mut(stride).skip(1);
    // Three rows, from each but the last two on.
    for (out, above) in rows.zip(image.pixels.windows(3 * stride).step_by(stride)) {
        let (above, others) = above.split_at(stride);
        let (row, below) = others.split_at(stride);
        sharpen_row([above, row, below], factor, &mut out[3..stride - 3]);
    }
}

/// `out` lacks the pixels at the border, which the rows have.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512vl", "x86_64+avx2", "aarch64+neon"))]
fn sharpen_row<'a>([above, row, below]: [&'a [u8]; 3], factor: f32, out: &mut [u8]) {
    let len = out.len();
    // What is to the left, in the middle and to the right of the pixels.
    let parts = |row: &'a [u8]| [0, 3, 6].map(|begin| &row[begin..begin + len]);
    let [above, row, below] = [above, row, below].map(parts);
    for i in 0..len {
        let sum = |[left, middle, right]: [&[u8]; 3]| {
            u16::from(left[i]) + u16::from(middle[i]) + u16::from(right[i])
        };
        let middle = row[1][i];
        let sum = sum(above) + sum(row) + sum(below) + 4 * u16::from(middle);
        // Pillow adds thirteenths in single precision. No sum is near a half, so that its errors do not
        // show.
        let smooth = ((sum + 6) / 13) as u8;
        out[i] = blend(smooth, middle, factor);
    }
}
