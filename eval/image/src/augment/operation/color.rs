//! Grey, and blending with it.

use multiversion::multiversion;

/// Between two values, or beyond them, as Pillow's `Image.blend` has it: in single precision, cut off.
#[inline(always)]
pub(super) fn blend(from: u8, to: u8, factor: f32) -> u8 {
    let difference = f32::from(i16::from(to) - i16::from(from));
    // Casts saturate, as Pillow clips where the factor is not from 0 to 1.
    (f32::from(from) + factor * difference) as u8
}

/// The luma of ITU-R 601 in 16 bits after the point.
#[inline(always)]
pub(super) fn grey([r, g, b]: [u8; 3]) -> u8 {
    let sum = 19_595 * u32::from(r) + 38_470 * u32::from(g) + 7_471 * u32::from(b);
    ((sum + 0x8000) >> 16) as u8
}

/// The sum of the greys of all pixels.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512vl", "x86_64+avx2", "aarch64+neon"))]
pub(super) fn sum_of_greys(pixels: &[u8]) -> u64 {
    let pixels = pixels.as_chunks::<3>().0;
    // Blocks that cannot overflow 32 bits.
    let blocks = pixels.chunks(1 << 16);
    blocks
        .map(|block| {
            let greys = block.iter().map(|&pixel| u32::from(grey(pixel)));
            u64::from(greys.sum::<u32>())
        })
        .sum()
}

/// Blends each pixel with its grey.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512vl", "x86_64+avx2", "aarch64+neon"))]
pub(super) fn saturate(pixels: &mut [u8], factor: f32) {
    for pixel in pixels.as_chunks_mut::<3>().0 {
        let grey = grey(*pixel);
        *pixel = pixel.map(|value| blend(grey, value, factor));
    }
}
