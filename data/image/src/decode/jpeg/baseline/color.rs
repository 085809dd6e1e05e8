//! Samples to pixels.

use multiversion::multiversion;

/// Fractional bits of the factors.
const BITS: u32 = 16;

/// Luma and chroma to red, green and blue, as libjpeg rounds them.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512vl", "x86_64+avx2", "aarch64+neon"))]
pub(super) fn ycbcr([y, cb, cr]: [&[u8]; 3], out: &mut [[u8; 3]]) {
    const HALF: i32 = 1 << (BITS - 1);
    for (((out, &y), &cb), &cr) in out.iter_mut().zip(y).zip(cb).zip(cr) {
        let y = i32::from(y);
        let [cb, cr] = [cb, cr].map(|chroma| i32::from(chroma) - 128);
        let red = y + ((91_881 * cr + HALF) >> BITS);
        let green = y + ((-22_554 * cb - 46_802 * cr + HALF) >> BITS);
        let blue = y + ((116_130 * cb + HALF) >> BITS);
        *out = [red, green, blue].map(|value| value.clamp(0, 255) as u8);
    }
}

/// Interleaves red, green and blue.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512vl", "x86_64+avx2", "aarch64+neon"))]
pub(super) fn rgb([red, green, blue]: [&[u8]; 3], out: &mut [[u8; 3]]) {
    for (((out, &red), &green), &blue) in out.iter_mut().zip(red).zip(green).zip(blue) {
        *out = [red, green, blue];
    }
}

/// The same value for red, green and blue.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512vl", "x86_64+avx2", "aarch64+neon"))]
pub(super) fn grey(samples: &[u8], out: &mut [[u8; 3]]) {
    for (out, &sample) in out.iter_mut().zip(samples) {
        *out = [sample; 3];
    }
}
