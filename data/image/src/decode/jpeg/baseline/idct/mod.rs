//! The inverse discrete cosine transform, with the results of libjpeg's accurate integer version.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(test)]
mod tests;

use multiversion::{multiversion, target::match_target};

use super::block::Coefficients;
use super::header::ZIGZAG;

/// Fractional bits of the factors.
const BITS: i32 = 13;

/// Additional fractional bits between the passes.
const BETWEEN: i32 = 2;

/// By how many bits the results of the passes are too large: the second one also divides by 8.
const SHIFTS: [i32; 2] = [BITS - BETWEEN, BITS + BETWEEN + 3];

/// Factors of inputs 0 and 4, and of inputs 2 and 6, in sums for the even part. They are those of the algorithm
/// of Loeffler, Ligtenberg and Moschytz, multiplied out: without overflow, the sums are equal.
const EVEN: [[[i16; 2]; 2]; 2] = [
    [[1 << BITS, 1 << BITS], [1 << BITS, -1 << BITS]],
    [[10_703, 4_433], [4_433, -10_704]],
];

/// Factors of inputs 1 and 3, and of inputs 5 and 7, in sums for the odd part.
const ODD: [[[i16; 2]; 4]; 2] = [
    [
        [11_363, 9_633],
        [9_633, -2_259],
        [6_437, -11_362],
        [2_260, -6_436],
    ],
    [
        [6_437, 2_260],
        [-11_362, -6_436],
        [2_261, 9_633],
        [9_633, -11_363],
    ],
];

/// Largest absolute value of coefficients and of values between the passes. Sums of two then fit into 16 bits, and
/// all implementations, which overflow in different ways, agree.
const LARGEST: i32 = i16::MAX as i32 / 2;

/// Largest sum of absolute coefficients with which no value is too large: those between the passes are at most
/// 4 × 1.39 times the sum.
const SAFE: u32 = 2900;

/// Eight values side by side.
type Lanes = [i32; 8];

/// The factors of the coefficients, row by row.
#[derive(Debug)]
pub(super) struct Quantization([i16; 64]);

impl Quantization {
    /// `stored` are the factors in the order in which they are stored.
    pub(super) fn new(stored: &[u8; 64]) -> Self {
        let mut factors = [0; 64];
        for (&factor, &index) in stored.iter().zip(&ZIGZAG) {
            factors[usize::from(index)] = i16::from(factor);
        }
        Self(factors)
    }
}

/// Transforms a block whose last coefficient is at position `last` to 8 × 8 samples. `out` starts with the first
/// one, and has `stride` samples per row. `None` if coefficients are too large, which they never are in an image.
#[inline(always)]
pub(super) fn transform(
    last: usize,
    coefficients: &Coefficients,
    quantization: &Quantization,
    out: &mut [u8],
    stride: usize,
) -> Option<()> {
    let rows = if last == 0 {
        let dc = i32::from(coefficients[0]) * i32::from(quantization.0[0]);
        if dc.unsigned_abs() > SAFE {
            return None;
        }
        [u64::from(sample((dc + 4) >> 3)) * 0x0101_0101_0101_0101; 8]
    } else {
        samples(coefficients, quantization)?
    };
    let mut at = 0;
    for row in rows {
        out[at..at + 8].copy_from_slice(&row.to_le_bytes());
        at += stride;
    }
    Some(())
}

/// Whether no value is too large, if the sum of all coefficients is.
#[cold]
fn is_small(coefficients: &Coefficients, quantization: &Quantization) -> bool {
    let rows = rows(coefficients, quantization);
    let between = pass(&rows, SHIFTS[0]);
    let mut all = rows.iter().chain(&between).flatten();
    all.all(|value| (-LARGEST..=LARGEST).contains(value))
}

/// The samples of each row, the first one in the lowest byte.
#[multiversion(targets("x86_64+avx2", "aarch64+neon"))]
fn samples(coefficients: &Coefficients, quantization: &Quantization) -> Option<[u64; 8]> {
    match_target! {
        "x86_64+avx2" => avx2::samples(coefficients, quantization),
        _ => portable(coefficients, quantization),
    }
}

#[inline(always)]
fn portable(coefficients: &Coefficients, quantization: &Quantization) -> Option<[u64; 8]> {
    let rows = rows(coefficients, quantization);
    let sum: u32 = rows
        .as_flattened()
        .iter()
        .map(|value| value.unsigned_abs())
        .sum();
    if sum > SAFE && !is_small(coefficients, quantization) {
        return None;
    }
    let columns = transposed(&pass(&rows, SHIFTS[0]));
    let rows = transposed(&pass(&columns, SHIFTS[1]));
    Some(rows.map(|row| u64::from_le_bytes(row.map(sample))))
}

/// The rows of coefficients.
#[inline(always)]
fn rows(coefficients: &Coefficients, quantization: &Quantization) -> [Lanes; 8] {
    let mut rows = [[0; 8]; 8];
    for ((value, &coefficient), &factor) in rows
        .as_flattened_mut()
        .iter_mut()
        .zip(coefficients)
        .zip(&quantization.0)
    {
        *value = i32::from(coefficient) * i32::from(factor);
    }
    rows
}

/// A difference from grey as a sample.
#[inline(always)]
fn sample(value: i32) -> u8 {
    (value + 128).clamp(0, 255) as u8
}

#[inline(always)]
fn transposed(rows: &[Lanes; 8]) -> [Lanes; 8] {
    let mut columns = [[0; 8]; 8];
    for (y, row) in rows.iter().enumerate() {
        for (x, &value) in row.iter().enumerate() {
            columns[x][y] = value;
        }
    }
    columns
}

/// Eight one-dimensional transforms side by side, whose results are divided by 2^`shift` and rounded.
#[inline(always)]
fn pass(input: &[Lanes; 8], shift: i32) -> [Lanes; 8] {
    let mut output = [[0; 8]; 8];
    for lane in 0..8 {
        let sum = |a: usize, b: usize, factors: [i16; 2]| {
            // Overflow is impossible, and checks for it would prevent vectorisation.
            let [a, b] = [(a, factors[0]), (b, factors[1])]
                .map(|(row, factor)| input[row][lane].wrapping_mul(i32::from(factor)));
            a.wrapping_add(b)
        };
        let half = 1 << (shift - 1);
        for i in 0..4 {
            let outer = sum(0, 4, EVEN[0][i.min(3 - i)]).wrapping_add(half);
            let inner = sum(2, 6, EVEN[1][i.min(3 - i)]);
            let even = if i < 2 {
                outer.wrapping_add(inner)
            } else {
                outer.wrapping_sub(inner)
            };
            let odd = sum(1, 3, ODD[0][i]).wrapping_add(sum(5, 7, ODD[1][i]));
            output[i][lane] = even.wrapping_add(odd) >> shift;
            output[7 - i][lane] = even.wrapping_sub(odd) >> shift;
        }
    }
    output
}
