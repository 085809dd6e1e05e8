//! Conversion to grey, and blending with grey.

use multiversion::multiversion;

/// Number of pixels that are processed together.
pub(super) const LANES: usize = 64;

/// The values of each channel for [`LANES`] pixels.
pub(super) type Lanes = [[u8; LANES]; 3];

/// Changes all pixels, [`LANES`] at a time; the padding of the last block is ignored.
#[inline(always)]
pub(super) fn change(pixels: &mut [u8], change: impl Fn(Lanes) -> Lanes) {
    let (blocks, rest) = pixels.as_chunks_mut::<3>().0.as_chunks_mut::<LANES>();
    for block in blocks {
        interleaved(&change(lanes(block)), block);
    }
    let mut block = [[0; 3]; LANES];
    block[..rest.len()].copy_from_slice(rest);
    interleaved(&change(lanes(&block)), &mut block);
    rest.copy_from_slice(&block[..rest.len()]);
}

#[inline(always)]
fn lanes(block: &[[u8; 3]; LANES]) -> Lanes {
    let mut lanes = [[0; LANES]; 3];
    for i in 0..LANES {
        for channel in 0..3 {
            lanes[channel][i] = block[i][channel];
        }
    }
    lanes
}

#[inline(always)]
fn interleaved(lanes: &Lanes, block: &mut [[u8; 3]; LANES]) {
    for i in 0..LANES {
        for channel in 0..3 {
            block[i][channel] = lanes[channel][i];
        }
    }
}

/// Interpolates or extrapolates like Pillow's `Image.blend`: in single precision, truncated.
#[inline(always)]
pub(in crate::augment) fn blend(from: u8, to: u8, factor: f32) -> u8 {
    let difference = f32::from(i16::from(to) - i16::from(from));
    // Pillow clips only if the factor is not from 0 to 1.
    let blended = (f32::from(from) + factor * difference).clamp(0.0, 255.0);
    // Same as `as u8`, which would prevent vectorisation: the integer is in the lowest bits.
    (blended.trunc() + (1 << 23) as f32).to_bits() as u8
}

/// Luma according to ITU-R 601, with 16 fractional bits.
#[inline(always)]
pub(crate) fn grey([r, g, b]: [u8; 3]) -> u8 {
    let sum = 19_595 * u32::from(r) + 38_470 * u32::from(g) + 7_471 * u32::from(b);
    ((sum + 0x8000) >> 16) as u8
}

/// Sum of the grey values of all pixels.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512vl", "x86_64+avx2", "aarch64+neon"))]
pub(super) fn sum_of_greys(pixels: &[u8]) -> u64 {
    let (blocks, rest) = pixels.as_chunks::<3>().0.as_chunks::<LANES>();
    let of_blocks = blocks.iter().map(|block| {
        let [r, g, b] = lanes(block);
        let mut sum = 0;
        for i in 0..LANES {
            sum += u32::from(grey([r[i], g[i], b[i]]));
        }
        u64::from(sum)
    });
    let of_rest = rest.iter().map(|&pixel| u64::from(grey(pixel)));
    of_blocks.sum::<u64>() + of_rest.sum::<u64>()
}

/// Sets all channels of each pixel to its grey value, as `Image.convert("L")` computes it.
pub(crate) fn to_grey(pixels: &mut [u8]) {
    saturate(pixels, 0.0);
}

/// Blends each pixel with its grey value.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512vl", "x86_64+avx2", "aarch64+neon"))]
pub(super) fn saturate(pixels: &mut [u8], factor: f32) {
    change(pixels, |[r, g, b]| {
        let mut grey_of = [0; LANES];
        for i in 0..LANES {
            grey_of[i] = grey([r[i], g[i], b[i]]);
        }
        [r, g, b].map(|mut channel| {
            for i in 0..LANES {
                channel[i] = blend(grey_of[i], channel[i], factor);
            }
            channel
        })
    });
}
