//! The passes over columns and rows, vectorised.
//!
//! A pass sums pixels times weights in 32 bits, exactly: weights sum up to 2²², and negative weights never
//! move a partial sum out of range. The order of summation therefore does not matter.

use multiversion::multiversion;

use super::weights::{PRECISION, Weights};

const HALF: i32 = 1 << (PRECISION - 1);

/// Number of values of a row that are summed together.
const LANES: usize = 32;

/// Number of rows that the horizontal pass processes together.
const ROWS: usize = 4;

/// The pixels of one column in a group of rows, each padded with an unused byte.
pub(super) type Column = [u8; 4 * ROWS];

/// Resizes rows of RGB pixels horizontally.
///
/// `source` starts with the first row and has `stride` bytes per row; weights count pixels from `first`,
/// where a row starts. `out` has rows with one pixel per set of weights. `from` and `to` are buffers.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512vl", "x86_64+avx2", "aarch64+neon"))]
pub(super) fn columns(
    source: &[u8],
    stride: usize,
    first: u32,
    weights: &Weights,
    [from, to]: &mut [Vec<Column>; 2],
    out: &mut [u8],
) {
    let width = 3 * weights.iter().len();
    let inputs = weights.inputs();
    from.resize(inputs.len(), [0; 4 * ROWS]);
    to.resize(weights.iter().len(), [0; 4 * ROWS]);
    for (rows, out) in out.chunks_mut(ROWS * width).enumerate() {
        let last = out.len() / width - 1;
        let source: [&[u8]; ROWS] = std::array::from_fn(|row| {
            let row = rows * ROWS + row.min(last);
            let begin = row * stride + 3 * (inputs.start - first) as usize;
            &source[begin..begin + 3 * inputs.len()]
        });
        gather(source, from);
        // All lanes are stored: otherwise LLVM would omit the fourth, and not vectorise.
        for (to, (begin, weights)) in to.iter_mut().zip(weights.iter()) {
            let columns = &from[(begin - inputs.start) as usize..][..weights.len()];
            let mut sums = [HALF; 4 * ROWS];
            for (column, &weight) in columns.iter().zip(weights) {
                for lane in 0..4 * ROWS {
                    sums[lane] = add(sums[lane], column[lane], weight);
                }
            }
            *to = sums.map(rounded);
        }
        for (row, out) in out.chunks_exact_mut(width).enumerate() {
            for (pixel, column) in out.as_chunks_mut::<3>().0.iter_mut().zip(&*to) {
                pixel.copy_from_slice(&column[4 * row..4 * row + 3]);
            }
        }
    }
}

/// Interleaves the pixels of a group of rows.
#[inline(always)]
fn gather(rows: [&[u8]; ROWS], group: &mut [Column]) {
    const BLOCK: usize = 4;
    let (blocks, rest) = group.as_chunks_mut::<BLOCK>();
    let done = BLOCK * blocks.len();
    let mut sources = rows.map(|row| row.as_chunks::<{ 3 * BLOCK }>().0.iter());
    for block in blocks {
        for (row, source) in sources.iter_mut().enumerate() {
            let Some(source) = source.next() else { return };
            for x in 0..BLOCK {
                block[x][4 * row..4 * row + 3].copy_from_slice(&source[3 * x..3 * x + 3]);
            }
        }
    }
    for (row, source) in rows.iter().enumerate() {
        let pixels = source.as_chunks::<3>().0;
        for (column, pixel) in rest.iter_mut().zip(&pixels[done..]) {
            column[4 * row..4 * row + 3].copy_from_slice(pixel);
        }
    }
}

/// Resizes an image vertically; all values of a row have the same weights.
///
/// `source` starts with the first value and has `stride` bytes per row; weights count rows from `first`.
/// `out` has one row of `width` values per set of weights.
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
        let (blocks, rest) = out.as_chunks_mut::<LANES>();
        let done = LANES * blocks.len();
        for (i, block) in blocks.iter_mut().enumerate() {
            let mut sums = [HALF; LANES];
            let mut values = &source[LANES * i..];
            for (row, &weight) in weights.iter().enumerate() {
                if row > 0 {
                    values = &values[stride..];
                }
                let values: &[u8; LANES] = values.first_chunk().expect("a row has them");
                for lane in 0..LANES {
                    sums[lane] = add(sums[lane], values[lane], weight);
                }
            }
            *block = sums.map(rounded);
        }
        for (i, out) in rest.iter_mut().enumerate() {
            let values = source[done + i..].iter().step_by(stride);
            let products = values.zip(weights);
            *out = rounded(products.fold(HALF, |sum, (&value, &weight)| add(sum, value, weight)));
        }
    }
}

/// Adds a pixel times its weight. Overflow is impossible, and checks for it would prevent vectorisation.
#[inline(always)]
fn add(sum: i32, value: u8, weight: i32) -> i32 {
    sum.wrapping_add(i32::from(value).wrapping_mul(weight))
}

#[inline(always)]
fn rounded(sum: i32) -> u8 {
    (sum >> PRECISION).clamp(0, 255) as u8
}
