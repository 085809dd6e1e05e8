//! The passes over columns and rows, vectorised.
//!
//! A pass sums pixels times weights in 32 bits, exactly: weights sum up to 2²², and at no place do those
//! below 0 take the sum out of range. So the order of summation does not matter.

use multiversion::multiversion;

use super::weights::{PRECISION, Weights};

const HALF: i32 = 1 << (PRECISION - 1);

/// Values of a row that are summed side by side.
const LANES: usize = 32;

/// Rows that the pass over columns takes side by side.
const ROWS: usize = 4;

/// Resizes the columns of rows of RGB pixels.
///
/// `source` begins with the first row, has `stride` bytes a row, and one more than its pixels; weights
/// count pixels from `first`, where a row begins. `out` has rows of as many pixels as there are weights.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512vl", "x86_64+avx2", "aarch64+neon"))]
pub(super) fn columns(source: &[u8], stride: usize, first: u32, weights: &Weights, out: &mut [u8]) {
    let width = 3 * weights.iter().len();
    for (rows, out) in out.chunks_mut(ROWS * width).enumerate() {
        // The last rows are taken again where they do not make up a group.
        let source: [&[u8]; ROWS] = std::array::from_fn(|row| {
            let row = (rows * ROWS + row).min(rows * ROWS + out.len() / width - 1);
            &source[row * stride..]
        });
        for (x, (begin, weights)) in weights.iter().enumerate() {
            let mut begin = 3 * (begin - first) as usize;
            let mut sums = [HALF; 4 * ROWS];
            for &weight in weights {
                // Four bytes of each row: a pixel and one that nobody looks at.
                let mut pixels = [0; 4 * ROWS];
                for row in 0..ROWS {
                    pixels[4 * row..4 * row + 4].copy_from_slice(&source[row][begin..begin + 4]);
                }
                for lane in 0..4 * ROWS {
                    sums[lane] = add(sums[lane], pixels[lane], weight);
                }
                begin += 3;
            }
            let pixels = sums.map(rounded);
            for (row, out) in out.chunks_exact_mut(width).enumerate() {
                out[3 * x..3 * x + 3].copy_from_slice(&pixels[4 * row..4 * row + 3]);
            }
        }
    }
}

/// Resizes the rows of an image, all values of a row alike.
///
/// `source` begins with the first value, has `stride` bytes a row; weights count rows from `first`.
/// `out` has rows of `width` values, as many as there are weights.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512vl", "x86_64+avx2", "aarch64+neon"))]
pub(super) fn rows(
    source: &[u8],
    stride: usize,
    first: u32,
    weights: &Weights,
    out: &mut [u8],
    width: usize,
) {
    for (out, (begin, weights)) in out.chunks_exact_mut(width).zip(weights.iter()) {
        let source = &source[(begin - first) as usize * stride..];
        let mut at = 0;
        while at < width {
            if width - at < LANES && at > 0 {
                // The last ones again, with some before them.
                at = width.saturating_sub(LANES);
            }
            let lanes = LANES.min(width - at);
            let mut sums = [HALF; LANES];
            for (row, &weight) in weights.iter().enumerate() {
                let values = &source[row * stride + at..];
                if let Some(values) = values.first_chunk::<LANES>() {
                    for lane in 0..LANES {
                        sums[lane] = add(sums[lane], values[lane], weight);
                    }
                } else {
                    for (sum, &value) in sums.iter_mut().zip(values) {
                        *sum = add(*sum, value, weight);
                    }
                }
            }
            out[at..at + lanes].copy_from_slice(&sums.map(rounded)[..lanes]);
            at += lanes;
        }
    }
}

/// Adds a pixel times its weight. Nothing overflows, but checks for it would stop the vectorisation.
#[inline(always)]
fn add(sum: i32, value: u8, weight: i32) -> i32 {
    sum.wrapping_add(i32::from(value).wrapping_mul(weight))
}

#[inline(always)]
fn rounded(sum: i32) -> u8 {
    (sum >> PRECISION).clamp(0, 255) as u8
}
